"""The configuration of ``factory doctor``."""

from dataclasses import dataclass

from jobs.config import Common, option


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorConfig(Common):
    """Check this machine, its GPUs, Ray, store and catalog, and say what to do.

    Nothing is changed: a scratch object in the store is removed again, no catalog is made or
    migrated. The exit status is 1 where there is a problem, 0 where there are warnings at most.
    """

    start_ray: bool = option(
        "Also start a private Ray, or join the one of --ray, and stop it again; takes seconds.",
        False,
    )
    deadline_s: float = option(
        "A part that does not answer within this is a problem, seconds.", 30.0, minimum=1
    )

"""The configuration of ``factory status``."""

from dataclasses import dataclass, field

from jobs.config import Common, option


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusConfig(Common):
    """What runs now, how fast, what it has cost, what waits and what went wrong.

    All of it is read from the catalog, from any machine that reaches it: the store and Ray are not
    asked, and nothing is changed. Without names: whatever runs, waits, or ended within an hour.
    """

    names: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Only these label sets, sources and models (default: all that is unfinished).",
            "argument": True,
        },
    )
    watch: bool = option(
        "Look again and again until Ctrl-C; with --json one object per line each time.", False
    )
    interval_s: float = option(
        "With --watch: time between two looks, seconds.", 5.0, minimum=0.2, alias="--interval"
    )
    cost_per_gpu_hour: float | None = option(
        "Price of one device for an hour, in any currency.", minimum=0
    )

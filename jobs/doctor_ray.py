"""Doctor: whether Ray answers, and whether it starts."""

from importlib.metadata import version

from jobs.doctor_checks import OK, PROBLEM, Check
from jobs.doctor_config import DoctorConfig
from jobs.errors import ConfigError
from jobs.ray_runtime import check_answers, ray_cluster


def ray_checks(config: DoctorConfig) -> list[Check]:
    """The version, the cluster of ``--ray`` and, where that is asked for, a start."""
    checks = [Check("Ray", OK, version("ray"))]
    if config.ray:
        checks.append(_answer(config.ray))
    if config.start_ray and checks[-1].verdict == OK:
        checks.append(_start(config.ray))
    return checks


def _answer(address: str) -> Check:
    try:
        check_answers(address)
    except ConfigError as error:
        advice = "check --ray and RAY_ADDRESS, that the head runs, and the firewall between"
        return Check("Ray cluster", PROBLEM, str(error).removeprefix("--ray: "), advice)
    return Check("Ray cluster", OK, f"something answers at {address}")


def _start(address: str | None) -> Check:
    """Ray compares its own version, and Python's, with the cluster's when it joins."""
    name = "Ray joined" if address else "Ray started"
    try:
        with ray_cluster(address) as resources:
            return Check(name, OK, resources.in_words())
    except ConfigError as error:
        advice = "use the Python and the Ray of the cluster"
        return Check(name, PROBLEM, str(error).removeprefix("--ray: "), advice)
    except (RuntimeError, ConnectionError, OSError, ValueError) as error:
        advice = (
            "use the Python and the Ray of the cluster, and its token if it asks for one"
            if address
            else "see /tmp/ray/session_latest/logs, and what is said above on memory and files"
        )
        return Check(name, PROBLEM, f"{type(error).__name__}: {error}".strip(), advice)

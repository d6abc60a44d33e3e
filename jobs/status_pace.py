"""How fast, how long still, at what cost: arithmetic on what the catalog knows; nothing is asked.

Rates come from what was committed lately, whoever committed it, so that several drivers add up. A
rate is counted from when the first of those that are there now had work, where that is not long
ago: else the minutes before would be averaged in.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from jobs.owner import is_dead
from pipeline.catalog import DriverRow, Lately
from pipeline.catalog_drivers import BEATS_OF_PATIENCE

WINDOW_S = 300.0
LONG_WINDOW_S = 3600.0  # where shards take minutes
FEW_COMMITS = 8
SHORTEST_S = 1.0
HOUR_S = 3600.0

Life = Literal["running", "silent", "gone", "done", "failed", "stopped"]


def life_of(row: DriverRow, *, now: float) -> Life:
    """How a driver is: ``silent`` after three heartbeats without a sign, ``gone`` if surely dead.

    Only on its own machine its process can be looked for. A sign from the future is of before the
    clock was set back: whoever lives has given another one since.
    """
    if row.state != "running":
        return row.state
    if is_dead(row.owner):
        return "gone"
    return "silent" if abs(now - row.seen_at) > BEATS_OF_PATIENCE * row.heartbeat_s else "running"


def needs_longer(lately: Iterable[Lately]) -> bool:
    """Whether there are too few commits to go by; a longer look back has more."""
    return sum(each.commits for each in lately) < FEW_COMMITS


def images_per_s(images: int, *, window_s: float, working_s: float | None) -> float | None:
    """Of images that were committed within a window; None where there was none.

    Args:
        images: Committed in the window.
        window_s: How long it is.
        working_s: For how long there has been work; None where nobody says.
    """
    if not images:
        return None
    span_s = window_s if working_s is None else min(window_s, working_s)
    return images / max(span_s, SHORTEST_S)


def eta_s(left: int, rate: float | None) -> float | None:
    """Seconds that what is left takes at that rate; None where nobody can say."""
    if not left:
        return 0.0
    return left / rate if rate else None


def working_s(rows: Sequence[DriverRow], *, now: float) -> float | None:
    """For how long the first of these drivers has had work; None where none says so."""
    since = [row.seen_at - float(s) for row in rows if (s := row.facts.get("working_s"))]
    return now - min(since) if since else None


def actor_seconds(row: DriverRow) -> float:
    """Seconds that its actors, or workers of a training run, were there, summed over them."""
    if "actor_s" in row.facts:
        return float(row.facts["actor_s"])
    return float(row.facts.get("working_s") or 0.0) * int(row.facts.get("workers") or 0)


def costs(rows: Iterable[DriverRow], *, per_gpu_hour: float | None) -> dict[str, Any]:
    """``actor_hours``, ``gpu_hours`` and, at a price, ``cost`` of all that drivers ever took."""
    actors = gpus = 0.0
    for row in rows:
        hours = actor_seconds(row) / HOUR_S
        actors += hours
        gpus += hours * float(row.facts.get("gpus_per_actor") or 0.0)
    cost = None if per_gpu_hour is None else round(gpus * per_gpu_hour, 2)
    return {"actor_hours": round(actors, 4), "gpu_hours": round(gpus, 4), "cost": cost}


def actors_of(rows: Iterable[DriverRow]) -> dict[str, int]:
    """Actors ready, starting, and lost so far, over several drivers."""
    total = {"ready": 0, "starting": 0, "lost": 0}
    for row in rows:
        for state in total:
            total[state] += int((row.facts.get("actors") or {}).get(state, 0))
    return total


def devices_of(rows: Iterable[DriverRow]) -> list[str]:
    """What they compute on, each kind once."""
    return sorted({str(row.facts["device"]) for row in rows if row.facts.get("device")})

"""How fast a label set or a source was made, over all the days on which somebody was at it.

The images of a shard count evenly over the time that it took, so that the area below the lines is
the number of images, whatever the size of shards. Times at which nothing was in the making are cut
out of the axis where they are long, and are zero where they are short.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from jobs.readable import readable_duration, readable_number, readable_time
from jobs.report_charts import Chart
from jobs.report_page import Fact, Section, Table
from jobs.report_series import time_series
from jobs.training_owner import where
from pipeline.catalog_commits import Commit

PLACES = 110  # on the axis
LEAST_PAUSE_S = 60.0
LEAST_DRAWN = 3  # shards, below which a line says no more than their mean
DRIVERS_DRAWN = 4  # one of them all others together where there are more
SESSIONS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Session:
    """A stretch of time in which somebody was at it, pauses shorter than those cut out included."""

    began: float
    ended: float
    commits: tuple[Commit, ...]

    @property
    def images(self) -> int:
        """In all of its shards."""
        return sum(each.images for each in self.commits)

    @property
    def seconds(self) -> float:
        """From the beginning to the end."""
        return self.ended - self.began


def throughput_section(commits: Sequence[Commit], *, what: str) -> Section | None:
    """The section of a page; None where nothing was committed.

    Args:
        commits: All of a label set or source.
        what: Was done to images: ``labelled``, ``ingested``.
    """
    timed = [each for each in commits if each.at > each.began]
    if not timed:
        return None
    pause_s = pause_of(timed)
    found = sessions(timed, pause_s=pause_s)
    chart = _chart(timed, found, what=what)
    return Section(
        "throughput",
        "Throughput",
        text=_text(found, pause_s),
        facts=tuple(_facts(timed, found)),
        charts=() if chart is None else (chart,),
        tables=(*_driver_tables(timed), *_session_tables(found)),
    )


def pause_of(commits: Sequence[Commit]) -> float:
    """How long nothing must have been in the making for a pause: what is seen on the axis."""
    active_s = sum(each.seconds for each in sessions(commits, pause_s=0.0))
    return max(LEAST_PAUSE_S, 3 * active_s / PLACES)


def sessions(commits: Sequence[Commit], *, pause_s: float) -> list[Session]:
    """Commits by the stretch of time they are in, in order."""
    found: list[Session] = []
    together: list[Commit] = []
    ended = -float("inf")
    for each in sorted(commits, key=lambda each: each.began):
        if together and each.began - ended > pause_s:
            found.append(Session(together[0].began, ended, tuple(together)))
            together, ended = [], each.at
        together.append(each)
        ended = max(ended, each.at)
    return [*found, Session(together[0].began, ended, tuple(together))] if together else found


def rates(commits: Sequence[Commit], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Images per second between edges, at each of which time goes on."""
    began = np.array([each.began for each in commits])
    seconds = np.array([each.at - each.began for each in commits])
    images = np.array([each.images for each in commits], dtype=np.float64)
    done = [(images * np.clip((edge - began) / seconds, 0, 1)).sum() for edge in edges]
    return np.asarray(np.diff(done) / np.diff(edges))


def _chart(commits: Sequence[Commit], found: Sequence[Session], *, what: str) -> Chart | None:
    if len(commits) < LEAST_DRAWN:
        return None
    active_s = sum(each.seconds for each in found)
    series: dict[str, list[tuple[float, float]]] = {}
    for session in found:
        places = max(round(session.seconds / active_s * PLACES), 1)
        edges = np.linspace(session.began, session.ended, places + 1)
        for name, mine in _by_driver(session.commits, _names(commits)).items():
            series.setdefault(name, []).extend(_points(mine, edges))
    breaks = [after.began - before.ended for before, after in pairwise(found)]
    return time_series(
        f"Images {what} per second",
        series,
        caption="By driver, times in UTC." + " Pauses are cut out and marked." * (len(found) > 1),
        pause_s=min(breaks) * 0.999 if breaks else None,
        text=readable_number,
    )


def _points(commits: Sequence[Commit], edges: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Rates of one driver while it was at it; first and last at its very beginning and end."""
    first, last = min(each.began for each in commits), max(each.at for each in commits)
    inner = edges[(edges > first) & (edges < last)]
    edges = np.concatenate([[first], inner, [last]])
    found = rates(commits, edges)
    middles = (edges[:-1] + edges[1:]) / 2
    xs = np.concatenate([[first], middles, [last]])
    ys = np.concatenate([found[:1], found, found[-1:]])
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def _names(commits: Sequence[Commit]) -> dict[str, str]:
    """What each owner is called; the smallest are others where there are too many for a chart."""
    images: dict[str, int] = {}
    for each in commits:
        images[each.owner] = images.get(each.owner, 0) + each.images
    owners = sorted(images, key=lambda owner: -images[owner])
    kept = owners if len(owners) <= DRIVERS_DRAWN else owners[: DRIVERS_DRAWN - 1]
    others = f"{len(owners) - len(kept)} other drivers"
    return {owner: where(owner) if owner in kept else others for owner in owners}


def _by_driver(commits: Sequence[Commit], names: Mapping[str, str]) -> dict[str, list[Commit]]:
    found: dict[str, list[Commit]] = {}
    for each in commits:
        found.setdefault(names[each.owner], []).append(each)
    return found


def _text(found: Sequence[Session], pause_s: float) -> str:
    if len(found) == 1:
        count = len(found[0].commits)
        return "Made in one go." if count > 1 else "Made in one go, as one shard."
    return f"Made in {len(found):,} sessions, more than {readable_duration(pause_s)} apart."


def _facts(commits: Sequence[Commit], found: Sequence[Session]) -> list[Fact]:
    active_s = sum(each.seconds for each in found)
    images = sum(each.images for each in commits)
    whole_s = found[-1].ended - found[0].began
    facts = [
        Fact("At work", readable_duration(active_s), f"of {readable_duration(whole_s)}"),
        Fact("Pace", f"{readable_number(images / active_s)} images/s", "mean while at work"),
    ]
    forward_s, shard_s = sum(e.forward_s for e in commits), sum(e.at - e.began for e in commits)
    if forward_s:
        facts += [
            Fact("At the same time", f"{shard_s / active_s:.1f} shards", "mean while at work"),
            Fact("In the network", f"{forward_s / shard_s:.0%}", "of the time of a shard"),
        ]
    return facts


def _driver_tables(commits: Sequence[Commit]) -> list[Table]:
    drivers = _by_driver(commits, {each.owner: where(each.owner) for each in commits})
    if len(drivers) < 2:
        return []
    ordered = sorted(drivers.items(), key=lambda item: min(each.began for each in item[1]))
    rows = tuple(_line(name, mine, whole=False) for name, mine in ordered[-SESSIONS_SHOWN:])
    return [_table("Driver", rows, of=len(drivers))]


def _session_tables(found: Sequence[Session]) -> list[Table]:
    if len(found) < 2:
        return []
    numbered = list(enumerate(found, start=1))[-SESSIONS_SHOWN:]
    rows = tuple(_line(f"{number}", list(each.commits), whole=True) for number, each in numbered)
    return [_table("Session", rows, of=len(found))]


def _table(first: str, rows: tuple[tuple[str, ...], ...], *, of: int) -> Table:
    columns = (first, "Began (UTC)", "Ended (UTC)", "Shards", "Images", "At work", "Images/s")
    title = f"{first}s" if of <= len(rows) else f"The last {len(rows)} of {of:,} {first.lower()}s"
    return Table(columns, rows, (False,) * 3 + (True,) * 4, title=title)


def _line(name: str, commits: Sequence[Commit], *, whole: bool) -> tuple[str, ...]:
    """Of a session as a whole, or of the times at which a driver was at it."""
    parts = sessions(commits, pause_s=float("inf") if whole else 0.0)
    active_s, images = sum(each.seconds for each in parts), sum(each.images for each in commits)
    return (
        name,
        readable_time(parts[0].began) or "",
        readable_time(parts[-1].ended) or "",
        f"{len(commits):,}",
        f"{images:,}",
        readable_duration(active_s),
        readable_number(images / active_s),
    )

"""The ledger of a simulated run: written while it runs, added up at its end."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jobs.simulation_run import CatalogLoad

PEAK_S = 10  # what lasts shorter is a burst that a queue takes up
Span = tuple[float, float]


@dataclass(slots=True)
class Clock:
    """Virtual time; whoever takes time moves it on."""

    now_s: float = 0.0

    def monotonic(self) -> float:
        """As `time.monotonic`, for what is built on that."""
        return self.now_s


@dataclass(slots=True)
class Ledger:
    """Everything that happened and counts, in seconds since the start.

    Attributes:
        paid: From a node that came to its end, once per GPU of it.
        manned: From an actor that was ready to its end.
        idle: Gaps between shards on an actor.
        wasted: GPU seconds that were computed for nothing, by cause.
        useful_s: GPU seconds of what was committed.
        operations: When the catalog was asked, by what it did.
        renewed: Rows per renewal.
        reads: From a shard handed out to its last batch, and written: when, and how many images.
    """

    paid: list[Span] = field(default_factory=list)
    manned: list[Span] = field(default_factory=list)
    idle: list[Span] = field(default_factory=list)
    wasted: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    useful_s: float = 0.0
    operations: dict[str, list[float]] = field(default_factory=dict)
    renewed: list[int] = field(default_factory=list)
    reads: list[Span] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    commits: int = 0
    actors_lost: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    driven_s: float = 0.0
    waited_s: float = 0.0
    nothing_left_s: float | None = None

    def waste(self, cause: str, seconds: float) -> None:
        """Note what was computed for nothing."""
        if seconds:
            self.wasted[cause] += seconds

    def asked(self, what: str, now_s: float) -> None:
        """Note an answer of the catalog."""
        self.operations.setdefault(what, []).append(now_s)

    def beats(self, began_s: float, ended_s: float, *, every_s: float) -> None:
        """Note that a driver was on record as living, from its first moment to its last."""
        self.operations.setdefault("beat", []).extend(np.arange(began_s, ended_s, every_s).tolist())


def total(spans: Sequence[Span], *, since_s: float = 0.0) -> float:
    """Seconds in all; only what is after ``since_s``."""
    if not spans:
        return 0.0
    ends = np.maximum(np.array(spans), since_s)
    return float((ends[:, 1] - ends[:, 0]).sum())


def catalog_load(ledger: Ledger, *, wall_s: float) -> CatalogLoad:
    """How hard the catalog had to work."""
    seconds = _per_second(np.concatenate([*map(np.array, ledger.operations.values())]), wall_s)
    commits = np.array(ledger.operations.get("commit", []))
    renewals = len(ledger.operations.get("renew", []))
    return CatalogLoad(
        operations={what: len(times) for what, times in sorted(ledger.operations.items())},
        per_s=float(seconds.sum()) / wall_s,
        p99_per_s=float(np.quantile(seconds, 0.99)),
        peak_per_s=float(seconds.max()),
        peak_10s_per_s=busiest(seconds),
        commits_per_s=len(commits) / wall_s,
        commits_peak_per_s=float(_per_second(commits, wall_s).max()),
        renewals_per_s=renewals / wall_s,
        renewed_rows=sum(ledger.renewed) / renewals if renewals else 0.0,
        renewed_rows_most=max(ledger.renewed, default=0),
    )


def read_per_second(ledger: Ledger, *, wall_s: float) -> NDArray[np.float64]:
    """Shards read in each second, as if each were read evenly while it is under way."""
    bins = np.zeros(_bins(wall_s) + 1)
    if ledger.reads:
        spans = np.array(ledger.reads)
        first, last = spans[:, 0].astype(int), spans[:, 1].astype(int)
        share = 1 / (last - first + 1)
        np.add.at(bins, first, share)
        np.add.at(bins, np.minimum(last + 1, len(bins) - 1), -share)
    return np.cumsum(bins)[:-1]


def written_per_second(ledger: Ledger, *, wall_s: float) -> NDArray[np.float64]:
    """Shards written in each second."""
    return _per_second(np.array(ledger.writes), wall_s)


def busiest(seconds: NDArray[np.float64]) -> float:
    """Mean of the ten seconds in a row that have the most; of all where there are fewer."""
    width = min(PEAK_S, len(seconds))
    added = np.concatenate([[0.0], np.cumsum(seconds)])
    return float((added[width:] - added[:-width]).max() / width)


def _per_second(times_s: NDArray[np.float64], wall_s: float) -> NDArray[np.float64]:
    found = np.bincount(times_s.astype(int), minlength=_bins(wall_s))
    return found.astype(np.float64)


def _bins(wall_s: float) -> int:
    return int(wall_s) + 1

"""Where a label set stands, for those who watch: asked now and then, and counted on in between."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from jobs.label_view import SourceProgress
from jobs.patience import Patience
from pipeline.catalog import Catalog, WorkLease
from pipeline.records import LabelManifest

ASK_INTERVAL_S = 30.0  # other drivers may work on the set too
STATES = ("pending", "leased", "done", "failed")


@dataclass(slots=True)
class Standing:
    """Images done and to do in some sources of a label set.

    Attributes:
        failed_shards: Given up, in this run or before.
        quarantined: Images per reason, those of earlier runs too.
    """

    catalog: Catalog
    label_set: str
    names: Sequence[str]
    clock: Callable[[], float] = time.monotonic
    failed_shards: int = 0
    left: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    _done: Counter[str] = field(default_factory=Counter)
    _total: Counter[str] = field(default_factory=Counter)
    _left: Counter[str] = field(default_factory=Counter)
    _shards: dict[tuple[str, str], int] = field(default_factory=dict)
    _asked_s: float | None = None

    @property
    def done(self) -> int:
        """Images labelled or quarantined."""
        return self._done.total()

    @property
    def total(self) -> int:
        """Images planned."""
        return self._total.total()

    def sources(self) -> list[SourceProgress]:
        """Source by source, in the order they were named."""
        return [
            SourceProgress(name, self._done[name], self._total[name])
            for name in dict.fromkeys(self.names)
        ]

    def images_left(self) -> Mapping[str, int]:
        """Images that are pending or under way, by source."""
        return self._left

    def shards(self) -> Mapping[tuple[str, str], int]:
        """Shards by source and state, when the catalog was last asked."""
        return self._shards

    def refresh(self, patience: Patience) -> None:
        """Ask the catalog, where the last answer is old."""
        if self._asked_s is None or self.clock() - self._asked_s >= ASK_INTERVAL_S:
            patience.ask(self._ask)
            self._asked_s = self.clock()

    def committed(self, lease: WorkLease, manifest: LabelManifest) -> None:
        """Count a shard that this driver committed."""
        self._done[lease.shard.source] += manifest.rows
        self._leave(lease.shard.source, manifest.rows)
        if lease.previous is None:  # else its quarantined images were counted before
            self.quarantined.update(manifest.quarantined)

    def gave_up(self, lease: WorkLease) -> None:
        """Count a shard that this driver failed."""
        self.failed_shards += 1
        self._leave(lease.shard.source, lease.shard.rows)

    def _leave(self, source: str, images: int) -> None:
        self.left -= images
        self._left[source] -= images

    def _ask(self) -> None:
        rows = self.catalog.progress_by_source(self.label_set, self.names)
        progress = self.catalog.progress(self.label_set, sources=self.names)
        self._done = Counter({row.source: row.done.images for row in rows})
        self._total = Counter({row.source: row.total.images for row in rows})
        self.left = progress.images_left
        self._left = Counter({row.source: row.left.images for row in rows})
        self._shards = {
            (row.source, state): getattr(row, state).shards for row in rows for state in STATES
        }
        self.failed_shards = progress.failed
        self.quarantined = Counter(progress.quarantined)

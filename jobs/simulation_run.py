"""What became of a simulated run."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogLoad:
    """What the catalog was asked, from the first question to the last.

    Attributes:
        operations: Transactions in all, by what they do; those without an answer are not in it.
        per_s: Mean.
        p99_per_s: Of all seconds, one in a hundred has more.
        peak_per_s: In the busiest second.
        peak_10s_per_s: Mean of the busiest ten seconds.
        commits_peak_per_s: In the busiest second.
        renewals_per_s: Mean.
        renewed_rows: Rows that a renewal touches, mean.
        renewed_rows_most: The most that one touched.
    """

    operations: Mapping[str, int]
    per_s: float
    p99_per_s: float
    peak_per_s: float
    peak_10s_per_s: float
    commits_per_s: float
    commits_peak_per_s: float
    renewals_per_s: float
    renewed_rows: float
    renewed_rows_most: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedRun:
    """What became of a `SimulatedCluster`.

    ``gpu_hours`` are those of GPUs that were there, and the sum of useful, wasted, idle and
    without an actor.

    Attributes:
        finished: Every shard is done or failed; False where the run was given up.
        wall_hours: From the first start to the end of the last driver.
        gpu_hours_useful: Computing what was committed.
        gpu_hours_wasted: Computing what was not, by cause.
        gpu_hours_idle: With an actor that had nothing to compute.
        gpu_hours_without_actor: It was starting, or dead, or there was no driver.
        tail_hours: From the moment when nothing was left to lease to the end.
        tail_idle_share: Of the time of GPUs with an actor in the tail, 0..1.
        attempts: How many shards were leased so many times.
        actors_lost: By cause.
        stopped: How often the driver ended before its work did, by reason; it was started again.
        driver_busy_share: Of the time there was a driver, it did something, 0..1.
        read_mb_per_s: Mean over the run; ``_peak`` over the busiest ten seconds.
        objects_put: Label shards written, also those that count for nothing.
        orphans: Of these, what is left for ``catalog gc``.
    """

    finished: bool
    wall_hours: float
    gpu_hours: float
    gpu_hours_useful: float
    gpu_hours_wasted: Mapping[str, float]
    gpu_hours_idle: float
    gpu_hours_without_actor: float
    tail_hours: float
    tail_idle_share: float
    shards_done: int
    shards_failed: int
    attempts: Mapping[int, int]
    actors_lost: Mapping[str, int]
    stopped: Mapping[str, int]
    driver_busy_share: float
    catalog: CatalogLoad
    read_mb_per_s: float
    read_mb_per_s_peak: float
    written_mb_per_s: float
    written_mb_per_s_peak: float
    objects_put: int
    orphans: int

    @property
    def wasted_share(self) -> float:
        """Of the GPU-hours, computed for nothing, 0..1."""
        return sum(self.gpu_hours_wasted.values()) / self.gpu_hours

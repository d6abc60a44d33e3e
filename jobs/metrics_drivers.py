"""What the driver of a verb says of itself, and that of `factory label` of its label set.

Told at every turn of a driver's loop, passed on every few seconds: Ray exports no more often.
"""

import sys
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from jobs.driver_facts import Pool
from jobs.label_standing import Standing
from jobs.metrics_recording import Recorder, Sink
from pipeline.leases import WorkLease
from pipeline.records import LabelManifest

TELL_INTERVAL_S = 5.0
NOBODY = "unknown"  # an actor that did not say where it is


@dataclass(slots=True)
class DriverMetrics:
    """That a driver is there, and with how many actors; of any verb that has some."""

    record: Recorder
    clock: Callable[[], float] = time.monotonic
    _told_s: float | None = None
    _lost: int = 0

    @classmethod
    def of(cls, verb: str, target: str) -> "DriverMetrics":
        """Of a verb that works on a source, models, or whatever its target is."""
        return cls(Recorder(verb=verb, target=target, source=target))

    def turn(self, pool: Pool, *, now: bool = False) -> bool:
        """Tell where the last time is a while ago, or ``now``; whether it was told."""
        clock_s = self.clock()
        if not now and self._told_s is not None and clock_s - self._told_s < TELL_INTERVAL_S:
            return False
        self._told_s = clock_s
        self.record.set("factory_driver_beat_timestamp_seconds", time.time())
        self.record.set("factory_actors", pool.ready_actors, state="ready")
        self.record.set("factory_actors", pool.starting_actors, state="starting")
        self.record.count("factory_actors_lost_total", pool.lost_actors - self._lost)
        self._lost = pool.lost_actors
        return True

    def close(self) -> None:
        """The verb is over; that its end was in order is said unless an error passes by."""
        self.record.close()
        if not isinstance(sys.exception(), Exception):
            self.record.set("factory_driver_end_timestamp_seconds", time.time())


class LabelMetrics:
    """Those of one label driver; a shard is counted when the catalog has taken it."""

    def __init__(
        self,
        label_set: str,
        *,
        sink: Sink | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = Recorder(sink, verb="label", target=label_set, label_set=label_set)
        self._driver = DriverMetrics(self._record, clock)
        self._clock = clock
        self._began_s: dict[Hashable, float] = {}
        self._actor_s = 0.0

    def began(self, task: Hashable) -> None:
        """A shard is under way."""
        self._began_s[task] = self._clock()

    def ended(self, task: Hashable) -> None:
        """It is not any more, whatever became of it."""
        self._began_s.pop(task, None)

    def committed(
        self, lease: WorkLease, manifest: LabelManifest, *, actor: str | None, seconds: float
    ) -> None:
        """The catalog has taken a shard, after so many seconds."""
        record, source = self._record, lease.shard.source
        record.count("factory_labelled_images_total", manifest.labelled, source=source)
        for reason, images in manifest.quarantined.items():
            record.count("factory_quarantined_images_total", images, source=source, reason=reason)
        record.count("factory_actor_images_total", manifest.rows, actor=actor or NOBODY)
        for stage, spent_s in {**manifest.stages, "forward": manifest.forward_s}.items():
            record.count("factory_stage_seconds_total", spent_s, stage=stage)
        record.observe("factory_commit_seconds", seconds)

    def lost_lease(self) -> None:
        """What was labelled counts for nothing."""
        self._record.count("factory_lost_leases_total")

    def charged(self, lease: WorkLease) -> None:
        """An attempt failed."""
        self._record.count("factory_failed_attempts_total", source=lease.shard.source)

    def turn(self, pool: Pool, standing: Standing, actor_s: float, *, now: bool = False) -> None:
        """The loop has turned; ``actor_s`` is the time of all actors so far."""
        if not self._driver.turn(pool, now=now):
            return
        record = self._record
        record.count("factory_actor_seconds_total", actor_s - self._actor_s)
        self._actor_s = actor_s
        oldest_s = min(self._began_s.values(), default=self._clock())
        record.set("factory_lease_age_seconds", self._clock() - oldest_s)
        for source, images in standing.images_left().items():
            record.set("factory_images_left", images, source=source)
        for (source, state), shards in standing.shards().items():
            record.set("factory_shards", shards, source=source, state=state)

    def close(self) -> None:
        """The run is over."""
        self._driver.close()

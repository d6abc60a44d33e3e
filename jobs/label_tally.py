"""What one driver has done so far, and how fast it went lately."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipeline.records import LabelManifest

RECENT_S = 120.0
RECENT_READINGS = 8  # where shards take minutes, two minutes are not enough to go by
READING_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some time of a run, from one commit to another.

    Attributes:
        actor_s: Seconds that actors were there, summed over them.
        stages: Seconds per stage, summed over actors and their threads.
    """

    seconds: float = 0.0
    images: int = 0
    actor_s: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class LabelTally:
    """What one driver has committed.

    Attributes:
        images: Of committed shards, quarantined ones too.
        stages: Seconds per stage, summed over actors and threads; ``forward`` is the device's.
        actors: The most that were ready at once.
        batch_size: The smallest that a shard ended with; None where nobody said.
        given_back: Shards that were under way when the run was stopped.
        first_task: When the first shard was handed out, monotonic seconds.
        last_commit: When the last shard was committed, monotonic seconds.
    """

    shards: int = 0
    images: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    actors: int = 0
    batch_size: int | None = None
    warnings: int = 0
    lost_leases: int = 0
    given_back: int = 0
    first_task: float | None = None
    last_commit: float | None = None
    clock: Callable[[], float] = time.monotonic
    _actor_s: float = 0.0
    _counted_s: float | None = None
    _readings: deque[tuple[float, Stretch]] = field(default_factory=deque)

    @property
    def wall_s(self) -> float:
        """From the first shard handed out to the last one committed; starting up is not in it."""
        if self.first_task is None or self.last_commit is None:
            return 0.0
        return self.last_commit - self.first_task

    @property
    def forward_s(self) -> float:
        """Seconds that devices computed, summed over actors."""
        return self.stages.get("forward", 0.0)

    @property
    def actor_s(self) -> float:
        """Seconds that actors were there since the first shard was handed out, summed over them."""
        return self._actor_s

    def handed_out(self) -> None:
        """Note that work went to actors."""
        if self.first_task is None:
            self.first_task = self._counted_s = self.clock()
            self._readings.append((self.first_task, Stretch()))

    def count_actors(self, ready: int) -> None:
        """Note how many actors are there now; called every turn."""
        self.actors = max(self.actors, ready)
        if self._counted_s is not None:
            now_s = self.clock()
            self._actor_s += ready * (now_s - self._counted_s)
            self._counted_s = now_s

    def committed(self, manifest: LabelManifest) -> None:
        """Add a committed shard."""
        self.shards += 1
        self.images += manifest.rows
        for stage, seconds in {**manifest.stages, "forward": manifest.forward_s}.items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds
        if manifest.batch_size is not None:
            self.batch_size = min(self.batch_size or manifest.batch_size, manifest.batch_size)
        self.last_commit = self.clock()
        self._read(self.last_commit)

    def whole(self) -> Stretch:
        """From the first shard handed out to the last one committed."""
        return self._readings[-1][1] if self._readings else Stretch()

    def recent(self) -> Stretch:
        """The last minutes, up to the last commit; up to now where it is long overdue."""
        if len(self._readings) < 2:
            return Stretch()
        (first_s, first), (last_s, last) = self._readings[0], self._readings[-1]
        usual_s = (last_s - first_s) / (len(self._readings) - 1)
        now_s = self.clock()
        until_s = now_s if now_s - last_s > 2 * max(usual_s, READING_INTERVAL_S) else last_s
        return Stretch(
            until_s - first_s,
            last.images - first.images,
            last.actor_s - first.actor_s,
            {name: last.stages[name] - first.stages.get(name, 0.0) for name in last.stages},
        )

    def _read(self, now_s: float) -> None:
        readings = self._readings
        if len(readings) > 1 and now_s - readings[-2][0] < READING_INTERVAL_S:
            readings.pop()
        readings.append(
            (now_s, Stretch(self.wall_s, self.images, self._actor_s, dict(self.stages)))
        )
        while len(readings) > RECENT_READINGS and readings[1][0] < now_s - RECENT_S:
            readings.popleft()

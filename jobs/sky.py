"""Sky in labelled images: found once per shard and segmenter, then used by every training.

Masks are made on Ray actors before training begins. What lies in the store is done; whoever is
killed and begins again makes what is left. A run writes down which masks it reads, and when it is
taken up again they must be the same.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.actor_pool import ActorPool, Outcome
from jobs.console import Bar, Reporter
from jobs.errors import ConfigError, JobError
from jobs.label_actors import SHARDS_PER_ACTOR
from jobs.label_faults import may_be_actor
from jobs.metrics_drivers import DriverMetrics
from jobs.models import fetch_model, locate_model
from jobs.ray_runtime import Resources
from jobs.run_files import RunFiles
from jobs.sky_actors import (
    SkyJob,
    SkySegmenter,
    SkyTask,
    plan_sky_actors,
    start_sky_actor,
)
from jobs.version import code_version
from jobs.workspace import Workspace
from model.segmentation import segmenter_digest
from pipeline.catalog import SnapshotRow
from pipeline.errors import ShardCorruptError, StoreFullError
from pipeline.lookahead import map_ahead
from pipeline.sky_masks import SkyShard, find_sky_shard
from pipeline.storage import Store
from pipeline.training_input import TrainingShard

FILE = "sky.json"
MAX_ATTEMPTS = 3
POLL_S = 1.0
SHARD_TIMEOUT_S = 3600.0
READERS = 8


@dataclass(frozen=True, slots=True)
class Sky:
    """The masks that belong to some image shards.

    Attributes:
        segmenter: None where nobody asked for sky.
        shards: By the key of the image shard.
        made: How many of them were made now; the others were there.
    """

    segmenter: SkySegmenter | None
    shards: Mapping[str, SkyShard]
    made: int = 0

    @property
    def unmasked(self) -> int:
        """Images that could not be looked at."""
        return sum(shard.rows - shard.masked for shard in self.shards.values())

    def added_to(self, shards: Sequence[TrainingShard]) -> tuple[TrainingShard, ...]:
        """The shards, each with its masks."""
        return tuple(
            replace(shard, sky_key=self.shards[shard.image_key].key)
            if shard.image_key in self.shards
            else shard
            for shard in shards
        )

    def summary(self) -> dict[str, Any] | None:
        """``segmenter, shards_made, shards_found, unmasked`` images and mean ``share`` of sky."""
        if self.segmenter is None:
            return None
        shards = self.shards.values()
        masked = sum(shard.masked for shard in shards)
        return {
            "segmenter": self.segmenter.reference,
            "shards_made": self.made,
            "shards_found": len(self.shards) - self.made,
            "unmasked": self.unmasked,
            "share": sum(shard.share * shard.masked for shard in shards) / max(1, masked),
        }


def locate_segmenter(reference: str | None, workspace: Workspace) -> SkySegmenter | None:
    """Find a segmenter and look at its configuration; the network is not loaded.

    Raises:
        CheckpointError: It is none, does not know sky, or is not what the catalog says.
    """
    if reference is None:
        return None
    location = locate_model(reference, workspace.catalog)
    sha256 = segmenter_digest(fetch_model(location, workspace.store))
    location.check(sha256)
    return SkySegmenter(reference, location, sha256)


def find_sky(
    segmenter: SkySegmenter | None,
    snapshot: SnapshotRow,
    files: RunFiles,
    *,
    resources: Resources,
    reporter: Reporter,
) -> Sky:
    """Find or make the masks of all labelled shards of a run; Ray must be there.

    Raises:
        ConfigError: The run is taken up again with another segmenter under that reference.
        JobError: Some shards could not be looked at, named; or masks are not those with which the
            run was begun.
        StoreFullError: The store takes no more.
    """
    if segmenter is None:
        return Sky(None, {})
    pinned = files.read_json(FILE)
    if pinned is not None and pinned["sha256"] != segmenter.sha256:
        problem = f"--sky-segmenter: {segmenter.reference} is now another model than when"
        raise ConfigError([f"{problem} run {files.run_id} was begun: {segmenter.sha256[:12]}"])
    tasks = {
        member.image_key: SkyTask(
            member.source, member.shard_id, member.image_key, member.image_sha256, member.rows
        )
        for member in snapshot.members
        if member.role == "labelled"
    }
    found = _found(segmenter, list(tasks.values()), files.store)
    missing = [task for key, task in tasks.items() if key not in found]
    made = _make(segmenter, missing, files.store, resources, reporter) if missing else {}
    sky = Sky(segmenter, {key: made.get(key) or found[key] for key in tasks}, len(made))
    if sky.unmasked:
        reporter.warn(f"sky: {sky.unmasked} images could not be looked at, and get no sky")
    _pin(segmenter, sky, files, pinned)
    return sky


def _pin(
    segmenter: SkySegmenter, sky: Sky, files: RunFiles, pinned: Mapping[str, Any] | None
) -> None:
    """Write down which masks the run reads, or compare with what was written down."""
    masks = {shard.key: shard.sha256 for shard in sky.shards.values()}
    if pinned is None:
        facts = {"segmenter": segmenter.reference, "sha256": segmenter.sha256}
        files.write_json(FILE, {**facts, "masks": masks})
        return
    changed = sorted(key for key, sha256 in pinned["masks"].items() if masks.get(key) != sha256)
    if changed:
        raise JobError(
            f"run {files.run_id} was begun with other sky masks than lie in the store now "
            f"({', '.join(changed[:4])}): restore them, or train anew under another --name"
        )


def _found(segmenter: SkySegmenter, tasks: Sequence[SkyTask], store: Store) -> dict[str, SkyShard]:
    def look(task: SkyTask) -> SkyShard | None:
        try:
            shard = find_sky_shard(store, task.key(segmenter))
        except FileNotFoundError:
            return None
        if shard.rows != task.rows:
            raise ShardCorruptError(
                f"{shard.key} has masks of {shard.rows} images, {task.image_key} has {task.rows}; "
                "without them, they are made again"
            )
        return shard

    shards = map_ahead(look, tasks, threads=READERS, ahead=4 * READERS)
    return {
        task.image_key: shard
        for task, shard in zip(tasks, shards, strict=True)
        if shard is not None
    }


def _make(
    segmenter: SkySegmenter,
    tasks: Sequence[SkyTask],
    store: Store,
    resources: Resources,
    reporter: Reporter,
) -> dict[str, SkyShard]:
    plan = plan_sky_actors(resources, shards=len(tasks))
    job = SkyJob(store, segmenter, code_version(), threads=plan.threads)
    pool: ActorPool[SkyTask] = ActorPool(
        lambda: start_sky_actor(job, plan),
        size=plan.count,
        concurrency=SHARDS_PER_ACTOR,
        task_timeout_s=SHARD_TIMEOUT_S,
        may_be_actor=may_be_actor,
    )
    reporter.note(
        f"looking for sky in {len(tasks)} shards with {segmenter.reference}, once; "
        f"{plan.count} x {plan.asks_for()}"
    )
    driver = SkyDriver(pool, reporter, segmenter.reference)
    try:
        with reporter.progress("find sky", total=sum(task.rows for task in tasks)) as bar:
            return driver.run(tasks, bar)
    finally:
        pool.close()


@dataclass(slots=True)
class SkyDriver:
    """Hands shards to actors until each has its masks or was tried three times.

    Nothing needs a lease or a commit: an object that is there is done, and two that make the same
    one do no harm.
    """

    pool: ActorPool[SkyTask]
    reporter: Reporter
    segmenter: str = ""
    made: dict[str, SkyShard] = field(default_factory=dict)
    _attempts: Counter[SkyTask] = field(default_factory=Counter)
    _failed: list[str] = field(default_factory=list)

    def run(self, tasks: Sequence[SkyTask], bar: Bar) -> dict[str, SkyShard]:
        """The masks by image shard.

        Raises:
            JobError: Shards failed again and again, after all others were done; or no actor starts.
            StoreFullError: The store takes no more.
        """
        for task in tasks:
            self.pool.submit(task)
        with closing(DriverMetrics.of("find sky", self.segmenter)) as metrics:
            while not self.pool.is_idle:
                for outcome in self.pool.wait(POLL_S):
                    self._settle(outcome, bar)
                metrics.turn(self.pool)
        if self._failed:
            raise JobError(f"no sky masks for {len(self._failed)} shards: {self._failed_shown()}")
        return self.made

    def _settle(self, outcome: Outcome[SkyTask], bar: Bar) -> None:
        task = outcome.task
        if outcome.error is None:
            self.made[task.image_key] = outcome.result
            bar.advance(task.rows)
            return
        if outcome.kind is not None and issubclass(outcome.kind, StoreFullError):
            raise StoreFullError(outcome.error)
        self._attempts[task] += 1
        again = self._attempts[task] < MAX_ATTEMPTS
        what = "will be tried again, alone" if again else "given up"
        self.reporter.warn(f"{task.image_key}: {outcome.error} ({what})")
        if again:
            self.pool.submit(task, alone=True)
        else:
            self._failed.append(f"{task.image_key} ({outcome.error})")

    def _failed_shown(self) -> str:
        more = f" and {len(self._failed) - 3} more" if len(self._failed) > 3 else ""
        return "; ".join(self._failed[:3]) + more

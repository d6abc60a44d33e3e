"""Finding sky, without a Ray: what is made, what is found, what is given up, what a run pins."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from jobs import sky
from jobs.actor_pool import Outcome
from jobs.console import Reporter
from jobs.errors import ConfigError, JobError
from jobs.models import ModelLocation
from jobs.ray_runtime import Node, Resources
from jobs.run_files import RunFiles
from jobs.sky import FILE, MAX_ATTEMPTS, Sky, find_sky
from jobs.sky_actors import SkySegmenter, SkyTask
from jobs.train_student import train_student
from jobs.training_config import TrainStudentConfig
from pipeline.catalog import SnapshotRow
from pipeline.errors import ShardCorruptError, StoreFullError
from pipeline.sky_masks import SkyRow, SkyShard, write_sky_shard
from pipeline.storage import Store
from pipeline.training_input import TrainingShard

SEGMENTER = SkySegmenter("owner/segmenter", ModelLocation("plain", "there"), "ab" * 32)
TASKS = [SkyTask("pairs", f"s{i}", f"sources/pairs/s{i}.parquet", "0" * 64, 3) for i in range(4)]
SNAPSHOT = cast(
    SnapshotRow,
    SimpleNamespace(
        members=tuple(
            SimpleNamespace(role=role, **{name: getattr(task, name) for name in task.__slots__})
            for role, tasks in (("labelled", TASKS[:3]), ("pseudo", TASKS[3:]))
            for task in tasks
        )
    ),
)


class FakePool:
    """Runs each task at once, unless ``fails`` has an outcome for this attempt at it."""

    def __init__(self, store: Store, fails: Callable[[SkyTask, int], Outcome[Any] | None]) -> None:
        self.store, self.fails = store, fails
        self.waiting: list[SkyTask] = []
        self.attempts: list[tuple[SkyTask, bool]] = []
        self.closed = False
        self.ready_actors, self.starting_actors, self.lost_actors = 1, 0, 0

    @property
    def is_idle(self) -> bool:
        return not self.waiting

    def submit(self, task: SkyTask, *, alone: bool = False) -> None:
        self.waiting.append(task)
        self.attempts.append((task, alone))

    def wait(self, _: float) -> list[Outcome[Any]]:
        task = self.waiting.pop(0)
        attempt = sum(task == tried for tried, _ in self.attempts)
        return [self.fails(task, attempt) or Outcome(task, result=write(self.store, task))]

    def close(self) -> None:
        self.closed = True


def write(store: Store, task: SkyTask, *, seed: int = 0) -> SkyShard:
    masks = np.random.default_rng(seed).random((2, 4, 5)) < 0.5
    rows = [SkyRow("a", "1", masks[0]), SkyRow("b", "2", masks[1]), SkyRow("c", "3", None, "gone")]
    return write_sky_shard(store, rows, key=task.key(SEGMENTER), footer={})


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(Store(str(tmp_path / "store")), "run")


def look(
    files: RunFiles,
    monkeypatch: pytest.MonkeyPatch,
    *,
    fails: Callable[[SkyTask, int], Outcome[Any] | None] = lambda task, attempt: None,
    segmenter: SkySegmenter | None = SEGMENTER,
) -> tuple[Sky, FakePool]:
    pool = FakePool(files.store, fails)
    monkeypatch.setattr(sky, "ActorPool", lambda *_, **__: pool)
    resources = Resources((Node(2),))
    found = find_sky(segmenter, SNAPSHOT, files, resources=resources, reporter=Reporter.silent())
    return found, pool


def test_masks_of_labelled_shards_are_made_once(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(files.store, TASKS[1])
    first, pool = look(files, monkeypatch)
    assert [task for task, _ in pool.attempts] == [TASKS[0], TASKS[2]]
    assert pool.closed
    again, pool = look(files, monkeypatch)
    assert pool.attempts == []
    assert (first.made, again.made) == (2, 0)
    assert first.shards == again.shards
    summary = again.summary()
    assert summary is not None
    assert (summary["shards_made"], summary["shards_found"], summary["unmasked"]) == (0, 3, 3)
    assert summary["share"] == pytest.approx((np.random.default_rng(0).random(40) < 0.5).mean())


def test_training_shards_learn_where_their_masks_are(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = look(files, monkeypatch)
    shards = [TrainingShard(task.image_key, task.rows) for task in TASKS]
    keys = [shard.sky_key for shard in found.added_to(shards)]
    assert keys == [*(task.key(SEGMENTER) for task in TASKS[:3]), None]


def test_without_a_segmenter_there_is_nothing_to_do(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, pool = look(files, monkeypatch, segmenter=None)
    shards = (TrainingShard(TASKS[0].image_key, 3),)
    assert found.added_to(shards) == shards
    assert found.summary() is None
    assert pool.attempts == [] and files.read_json(FILE) is None


def test_a_shard_that_fails_is_tried_again_alone_and_given_up_by_name(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(task: SkyTask, attempt: int) -> Outcome[Any] | None:
        if task == TASKS[0] and attempt == 1:
            return Outcome(task, error="its actor died", actor_lost=True)
        return Outcome(task, error="broken") if task == TASKS[1] else None

    with pytest.raises(JobError, match=r"1 shards: sources/pairs/s1\.parquet \(broken\)"):
        look(files, monkeypatch, fails=fails)
    assert files.read_json(FILE) is None
    there, pool = look(files, monkeypatch)  # what was not its fault had been made
    assert [task for task, _ in pool.attempts] == [TASKS[1]]
    assert there.made == 1


def test_retries_run_alone(files: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(task: SkyTask, attempt: int) -> Outcome[Any] | None:
        return Outcome(task, error="once more") if attempt < MAX_ATTEMPTS else None

    found, pool = look(files, monkeypatch, fails=fails)
    assert found.made == 3
    assert [alone for task, alone in pool.attempts if task == TASKS[2]] == [False, True, True]


def test_a_full_store_ends_it_at_once(files: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreFullError, match="no room"):
        look(
            files,
            monkeypatch,
            fails=lambda task, _: Outcome(task, error="no room", kind=StoreFullError),
        )


def test_a_run_goes_on_with_the_masks_it_was_begun_with(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = look(files, monkeypatch)
    pinned = files.read_json(FILE)
    assert pinned is not None
    assert pinned["masks"] == {shard.key: shard.sha256 for shard in found.shards.values()}
    lost = TASKS[0].key(SEGMENTER)
    files.store.delete(lost)
    again, _ = look(files, monkeypatch)  # made again, bit by bit
    assert again.made == 1
    files.store.delete(lost)
    write(files.store, TASKS[0], seed=1)
    with pytest.raises(JobError, match="s0"):
        look(files, monkeypatch)
    other = SkySegmenter(SEGMENTER.reference, SEGMENTER.location, "cd" * 32)
    with pytest.raises(ConfigError, match="another model"):
        look(files, monkeypatch, segmenter=other)


def test_masks_of_another_shard_are_named(files: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sky_shard(
        files.store, [SkyRow("a", "1", None, "x")], key=TASKS[0].key(SEGMENTER), footer={}
    )
    with pytest.raises(ShardCorruptError, match=r"1 images, sources/pairs/s0\.parquet has 3"):
        look(files, monkeypatch)


def test_a_segmenter_needs_labelled_images(tmp_path: Path) -> None:
    config = TrainStudentConfig(
        pseudo=("labels",),
        name="student",
        encoder="scratch:tiny",
        preset="v2",
        sky_segmenter="owner/segmenter",
        store=str(tmp_path),
    )
    with pytest.raises(ConfigError, match="--sky-segmenter looks at labelled images"):
        train_student(config)

"""What a driver does with parts that fail, without Ray."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from jobs.actor_pool import Outcome
from jobs.console import Reporter
from jobs.errors import JobError
from jobs.evaluate_driver import MAX_FAILED_IN_A_ROW, EvaluationDriver
from jobs.evaluate_engine import EvaluationTask, PartDone
from jobs.evaluate_models import ModelSpec
from jobs.evaluate_pictures import Pictures
from jobs.evaluate_scoring import Scoring
from jobs.metrics import Metric
from jobs.metrics_recording import RaySink
from jobs.models import ModelLocation
from model.errors import CheckpointError
from model.protocols import protocol
from pipeline.errors import ShardCorruptError, StorageError, StoreFullError
from pipeline.records import ShardRef
from pipeline.scores import PartScores, ScorePart, write_scores
from pipeline.storage import Store

SPEC = ModelSpec(
    name="m", location=ModelLocation("plain", "m"), sha256="ab" * 32, side=42, precision="fp32"
)


class FakePool:
    """Answers each task at once, by a function of the task and of how often it was tried."""

    def __init__(self, answer: Callable[[EvaluationTask, int], Outcome[Any]]) -> None:
        self._answer = answer
        self._waiting: list[EvaluationTask] = []
        self.submitted: list[tuple[int, bool]] = []
        self.ready_actors, self.starting_actors, self.lost_actors = 1, 0, 0

    @property
    def is_idle(self) -> bool:
        return not self._waiting

    def submit(self, task: EvaluationTask, *, alone: bool = False) -> None:
        self._waiting.append(task)
        self.submitted.append((task.part.group, alone))

    def wait(self, timeout_s: float) -> list[Outcome[Any]]:
        task = self._waiting.pop(0)
        return [self._answer(task, sum(group == task.part.group for group, _ in self.submitted))]


def task(group: int, **changes: Any) -> EvaluationTask:
    shard = ShardRef("bench", "s01", "sources/bench/s01.parquet", 64, 1, "0" * 64)
    part = ScorePart(
        source="bench",
        shard_id="s01",
        image_shard_sha256=shard.sha256,
        group=group,
        model_sha256=SPEC.sha256,
        settings={},
    )
    scoring = Scoring(protocol=protocol("relative@1"), upsampling="bilinear")
    return EvaluationTask(model=SPEC, scoring=scoring, shard=shard, part=part, rows=64, **changes)


DONE = PartDone(PartScores(rows=()))


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def driver(tmp_path, warnings):
    with Reporter.silent().progress("evaluate", total=None) as bar:
        yield EvaluationDriver(Store(str(tmp_path)), bar, warnings.append)


def run(driver: EvaluationDriver, pool: FakePool, tasks: list[EvaluationTask]) -> None:
    driver.run_on(pool, tasks, why_no_actor=lambda: "nobody")  # type: ignore[arg-type]


def failed(task: EvaluationTask, kind: type[BaseException] | None = None) -> Outcome[Any]:
    return Outcome(task, error="Sad: it broke", kind=kind, actor_lost=kind is None)


def test_a_suspect_is_tried_alone_and_given_up_after_three(driver, warnings):
    pool = FakePool(
        lambda task, _: failed(task) if task.part.group == 1 else Outcome(task, result=DONE)
    )
    run(driver, pool, [task(group) for group in range(3)])
    assert pool.submitted == [(0, False), (1, False), (2, False), (1, True), (1, True)]
    assert set(driver.done) == {task(0).part.key, task(2).part.key}
    assert [each.part.group for each, _ in driver.failed.values()] == [1]
    assert "row group 1" in warnings[-1] and "given up" in warnings[-1]


def test_what_failed_once_counts_when_it_succeeds(driver):
    pool = FakePool(lambda task, tries: failed(task) if tries < 3 else Outcome(task, result=DONE))
    run(driver, pool, [task(0)])
    assert (len(driver.done), driver.failed) == (1, {})


def test_images_are_counted_once_however_often_a_part_was_tried(driver, monkeypatch):
    counted: Counter[tuple[str, ...]] = Counter()

    def record(sink: RaySink, metric: Metric, value: float, tags: Mapping[str, str]) -> None:
        if metric.kind == "counter":
            counted[metric.name, *tags.values()] += int(value)

    monkeypatch.setattr(RaySink, "record", record)
    pool = FakePool(lambda task, tries: failed(task) if tries < 2 else Outcome(task, result=DONE))
    run(driver, pool, [task(0), task(1)])
    spec, source = task(0).model.name, task(0).part.source
    assert counted == {("factory_evaluated_images_total", spec, source): 2 * 64}


@pytest.mark.parametrize("kind", [StoreFullError, StorageError, CheckpointError])
def test_what_would_fail_every_part_ends_the_run(driver, kind):
    with pytest.raises(kind, match="it broke"):
        run(driver, FakePool(lambda task, _: failed(task, kind)), [task(0)])


def test_part_after_part_that_fails_ends_the_run(driver):
    pool = FakePool(lambda task, _: failed(task, ShardCorruptError))
    with pytest.raises(JobError, match="in a row"):
        run(driver, pool, [task(group) for group in range(MAX_FAILED_IN_A_ROW + 5)])


def test_pictures_that_fail_are_told_and_end_nothing(driver, warnings):
    answers = [Outcome(None, error="Sad: it broke"), Outcome(None, result=Pictures([], ["a: sad"]))]
    pool = FakePool(lambda task, _: answers.pop())
    assert driver.pictures_on(pool, [task(0), task(1)]) == []
    assert warnings == ["a picture is missing: a: sad", "a picture is missing: Sad: it broke"]

    def no_actor(task: EvaluationTask, tries: int) -> Outcome[Any]:
        raise JobError("actors cannot start")

    assert driver.pictures_on(FakePool(no_actor), [task(0)]) == []
    assert "actors cannot start" in warnings[-1]


def test_only_what_is_there_and_may_be_used_is_recalled(driver, tmp_path, warnings):
    store = Store(str(tmp_path))
    for group, images in enumerate((64, 64, 64, 64, 63)):
        write_scores(store, task(group).part, PartScores(rows=(), left_out=images))
    store.put(task(1).part.key, b"no parquet")
    store.delete(task(3).part.key)
    asked = [task(0), task(1), task(2, replace=True), task(3), task(4)]
    assert [each.part.group for each in driver.recall(asked)] == [1, 2, 3, 4]
    assert driver.recalled == 1 and len(warnings) == 2
    assert "63 of 64 images" in warnings[-1]
    assert not any(store.exists(task(group).part.key) for group in (1, 4))
    assert driver.recall([task(0, keep=False)]) == []  # it is done already

"""The label driver on a real catalog, with a pool that needs no Ray: whose result counts."""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from jobs.actor_pool import Outcome
from jobs.console import LineReporter
from jobs.errors import JobError
from jobs.label_driver import LabelDriver
from jobs.label_engine import LabelTask
from jobs.metrics import Metric
from pipeline.catalog import Catalog
from pipeline.errors import ShardCorruptError, StorageError, StoreFullError
from pipeline.records import LabelManifest
from tests.catalog_factories import expire_leases, fill_source, open_label_set, sha256


class FakePool:
    """Room for two tasks; each ``wait`` does what comes next in a script."""

    def __init__(self, *script: Callable[["FakePool"], list[Outcome[LabelTask]]]) -> None:
        self.tasks: list[LabelTask] = []
        self.size = self.ready_actors = 1
        self.starting_actors = self.lost_actors = 0
        self._script = list(script)

    @property
    def is_idle(self) -> bool:
        return not self.tasks

    def room(self) -> int:
        return 2 - len(self.tasks)

    def submit(self, task: LabelTask, *, alone: bool = False) -> None:
        self.tasks.append(task)

    def wait(self, timeout_s: float) -> list[Outcome[LabelTask]]:
        return self._script.pop(0)(self) if self._script else []

    def finish_oldest(self) -> list[Outcome[LabelTask]]:
        done, self.tasks = self.tasks[:1], self.tasks[1:]
        return [Outcome(task, result=manifest_of(task)) for task in done]


def manifest_of(task: LabelTask) -> LabelManifest:
    key = f"labels/set/{task.shard.shard_id}/{task.attempt}.parquet"
    return LabelManifest(
        "set", task.shard.shard_id, key, sha256(key), 500, task.shard.rows, task.shard.rows
    )


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.sqlite'}") as catalog:
        yield catalog


def run(catalog: Catalog, pool: FakePool, *, shards: int) -> str:
    """Run a driver to its end; returns what it told people."""
    driver, heard = prepare(catalog, pool, shards=shards)
    driver.run()
    return heard.getvalue()


def prepare(
    catalog: Catalog, pool: FakePool, *, shards: int, **options: Any
) -> tuple[LabelDriver, io.StringIO]:
    """A driver with so many shards of ten images before it, and where it speaks."""
    fill_source(catalog, "photos", shards)
    open_label_set(catalog, "set")
    catalog.plan_work("set", ["photos"])
    heard = io.StringIO()
    driver = LabelDriver(
        catalog=catalog,
        label_set="set",
        sources=["photos"],
        pool=pool,  # type: ignore[arg-type]
        lease_s=60.0,
        reporter=LineReporter(heard),
        **options,
    )
    return driver, heard


def test_a_driver_that_slept_commits_the_later_attempt_and_only_that(catalog: Catalog) -> None:
    """Its lease ran out with the first attempt still under way, and it leased the shard again."""

    def sleep(pool: FakePool) -> list[Outcome[LabelTask]]:
        return []

    def wake(pool: FakePool) -> list[Outcome[LabelTask]]:
        expire_leases(catalog)
        return []

    pool = FakePool(sleep, wake, sleep, FakePool.finish_oldest, FakePool.finish_oldest)
    heard = run(catalog, pool, shards=1)
    assert "no longer holds" in heard
    (committed,) = catalog.label_shards("set")
    assert Path(committed.key).name.startswith("0002-")


def test_a_catalog_that_is_away_at_the_end_costs_nothing_that_is_under_way(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request for more waits until the lease of what runs has long run out."""
    lease, asked = Catalog.lease, Counter[str]()

    def away_once(self: Catalog, *arguments: Any, **options: Any) -> Any:
        asked["lease"] += 1
        if asked["lease"] == 2:
            expire_leases(catalog)
            driver._renewed_s -= 1000
            raise StorageError("away")
        return lease(self, *arguments, **options)

    monkeypatch.setattr(Catalog, "lease", away_once)
    pool = FakePool(lambda _: [], lambda _: [], *[FakePool.finish_oldest] * 3)
    driver, _ = prepare(catalog, pool, shards=1)
    tally = driver.run()
    assert asked["lease"] > 2
    assert (tally.lost_leases, tally.shards) == (0, 1)
    (committed,) = catalog.label_shards("set")
    assert Path(committed.key).name.startswith("0001-")


def test_metrics_count_what_the_catalog_took_and_nothing_twice(catalog: Catalog) -> None:
    """A shard that fails first, and is then labelled twice."""
    counted: Counter[str] = Counter()

    class Sink:
        def record(self, metric: Metric, value: float, tags: Mapping[str, str]) -> None:
            if metric.kind == "counter":
                counted[metric.name] += int(value)

    def wake(pool: FakePool) -> list[Outcome[LabelTask]]:
        expire_leases(catalog)
        return []

    def fail(pool: FakePool) -> list[Outcome[LabelTask]]:
        return [Outcome(pool.tasks.pop(0), error="bad luck")]

    pool = FakePool(fail, wake, FakePool.finish_oldest, FakePool.finish_oldest)
    driver, _ = prepare(catalog, pool, shards=1, metrics_sink=Sink())
    driver.run()
    assert driver.tally.lost_leases == counted["factory_lost_leases_total"] == 1
    assert counted["factory_failed_attempts_total"] == 1
    assert catalog.progress("set").labelled == counted["factory_labelled_images_total"] == 10
    assert counted["factory_actor_images_total"] == 10


def test_what_failed_is_tried_again_and_what_was_leased_is_given_back(catalog: Catalog) -> None:
    def fail(pool: FakePool) -> list[Outcome[LabelTask]]:
        return [Outcome(pool.tasks.pop(0), error="bad luck")]

    def stop(pool: FakePool) -> list[Outcome[LabelTask]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(catalog, FakePool(FakePool.finish_oldest, fail, stop), shards=3)
    progress = catalog.progress("set")
    assert (progress.done, progress.pending, progress.leased, progress.failed) == (1, 2, 0, 0)


def test_a_machine_that_is_taken_away_costs_a_shard_no_attempt(catalog: Catalog) -> None:
    """However often: on machines that clouds take back, three times is nothing unusual."""

    def leave(pool: FakePool) -> list[Outcome[LabelTask]]:
        task = pool.tasks.pop(0)
        return [Outcome(task, error="its actor died", actor_lost=True, machine_left=True)]

    heard = run(catalog, FakePool(*[leave] * 4, FakePool.finish_oldest), shards=1)
    progress = catalog.progress("set")
    assert (progress.done, progress.failed) == (1, 0)
    assert heard.count("its machine was taken away; will be done again") == 4


def test_an_interrupt_right_after_leasing_leaves_no_lease_behind(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Catalog.lease

    def lease_and_be_interrupted(*arguments: object, **options: object) -> None:
        lease(*arguments, **options)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(Catalog, "lease", lease_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(catalog, FakePool(), shards=3)
    assert catalog.progress("set").leased == 0


def fail(kind: type[BaseException], *, every: int = 0) -> Callable[[FakePool], list[Any]]:
    """Let the oldest task raise; or all tasks there are."""

    def step(pool: FakePool) -> list[Outcome[LabelTask]]:
        count = every or 1
        failed, pool.tasks = pool.tasks[:count], pool.tasks[count:]
        return [Outcome(task, error=f"{kind.__name__}: no luck", kind=kind) for task in failed]

    return step


def attempts(catalog: Catalog) -> list[int]:
    with catalog.read() as connection:
        return list(connection.scalars(text("SELECT attempts FROM work ORDER BY number")))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.patience.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("jobs.patience.LONGEST_PAUSE_S", 0.01)


def away(monkeypatch: pytest.MonkeyPatch, method: str, *, times: int, heard: bool) -> None:
    """Let a method of the catalog fail at first: before it was heard, or after it was done."""
    real = getattr(Catalog, method)
    left = [times]

    def unreliable(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options) if heard or not left[0] else None
        if left[0]:
            left[0] -= 1
            raise StorageError("the server closed the connection")
        return result

    monkeypatch.setattr(Catalog, method, unreliable)


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("method", ["lease", "commit_label_shard", "progress", "renew"])
def test_a_catalog_that_is_away_for_a_while_costs_nothing(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, method: str, heard: bool
) -> None:
    """What was done though nobody heard of it is done once: leases without a holder are found."""
    pool = FakePool(*[FakePool.finish_oldest] * 20)
    driver, said = prepare(catalog, pool, shards=5)
    away(monkeypatch, method, times=3, heard=heard)
    tally = driver.run()
    progress = catalog.progress("set")
    assert (progress.done, progress.leased, progress.pending) == (5, 0, 0)
    assert (tally.shards, tally.images, tally.lost_leases) == (5, 50, 0)
    assert said.getvalue().count("the catalog does not answer: the server closed") == 1
    assert said.getvalue().count("the catalog answers again") == 1
    assert attempts(catalog) == [0] * 5


def test_a_database_that_forgets_an_acknowledged_lease_costs_a_second_try_and_no_label(
    catalog: Catalog,
) -> None:
    """It crashed with ``synchronous_commit = off``: the same epoch is leased a second time."""

    def forget(pool: FakePool) -> list[Outcome[LabelTask]]:
        with catalog.write() as connection:
            connection.execute(text("UPDATE work SET state='pending', owner=NULL, epoch=epoch-1"))
        return []

    pool = FakePool(forget, *[FakePool.finish_oldest] * 2)
    heard = run(catalog, pool, shards=1)
    assert "no longer holds" in heard
    assert len(list(catalog.label_shards("set"))) == 1
    assert catalog.progress("set").done == 1


def test_a_catalog_that_stays_away_ends_the_run_with_what_is_committed(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(pool: FakePool) -> list[Outcome[LabelTask]]:
        away(monkeypatch, "commit_label_shard", times=10**9, heard=False)
        return pool.finish_oldest()

    pool = FakePool(FakePool.finish_oldest, leave)
    driver, _ = prepare(catalog, pool, shards=5, patience_s=0.05)
    with pytest.raises(StorageError, match=r"closed the connection \(tried again for"):
        driver.run()
    progress = catalog.progress("set")
    assert (progress.done, progress.leased, progress.pending) == (1, 0, 4)
    assert driver.tally.given_back == 2


def test_a_full_store_stops_the_run_and_costs_no_shard_anything(catalog: Catalog) -> None:
    def full_beside_a_success(pool: FakePool) -> list[Outcome[LabelTask]]:
        return fail(StoreFullError)(pool) + pool.finish_oldest()

    driver, _ = prepare(catalog, FakePool(full_beside_a_success), shards=5)
    with pytest.raises(StoreFullError, match="no luck"):
        driver.run()
    progress = catalog.progress("set")
    assert (progress.done, progress.leased, progress.pending) == (1, 0, 4)
    assert attempts(catalog) == [0] * 5


def test_a_store_that_fails_for_a_moment_costs_no_shard_anything(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.label_faults.LONGEST_PAUSE_S", 0.0)
    pool = FakePool(*[fail(StorageError, every=2)] * 2, *[FakePool.finish_oldest] * 20)
    driver, said = prepare(catalog, pool, shards=4)
    assert driver.run().shards == 4
    assert attempts(catalog) == [0] * 4
    assert said.getvalue().count("not charged; will be tried again") == 4


def test_a_store_that_stays_away_stops_the_run(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.label_faults.LONGEST_PAUSE_S", 0.0)
    driver, _ = prepare(catalog, FakePool(*[fail(StorageError, every=2)] * 20), shards=40)
    with pytest.raises(StorageError, match="nothing got through meanwhile"):
        driver.run()
    assert attempts(catalog) == [0] * 40


def test_a_store_that_is_unmounted_for_a_moment_costs_no_shard_anything(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are missing one by one; that all of them are, the folder says."""
    monkeypatch.setattr("jobs.label_faults.LONGEST_PAUSE_S", 0.0)
    asked: list[str] = []

    def has_images(source: str) -> bool:
        asked.append(source)
        return len(asked) > 4

    steps = [*[fail(FileNotFoundError, every=2)] * 3, *[FakePool.finish_oldest] * 20]
    driver, said = prepare(catalog, FakePool(*steps), shards=4, has_images=has_images)
    assert driver.run().shards == 4
    assert asked == ["photos"] * 6
    assert said.getvalue().count("not charged; will be tried again") == 4
    assert sum(attempts(catalog)) == 2, "two are missing from a store that is there"


def test_a_shard_that_the_store_keeps_refusing_fails_and_the_run_goes_on(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file may be read by nobody, say, while all others are served."""
    monkeypatch.setattr("jobs.label_faults.LONGEST_PAUSE_S", 0.0)
    bad: list[str] = []

    def serve(pool: FakePool) -> list[Outcome[LabelTask]]:
        if pool.tasks and pool.tasks[0].shard.shard_id == bad[0]:
            return fail(PermissionError)(pool)
        return pool.finish_oldest() if pool.tasks else []

    driver, _ = prepare(catalog, FakePool(*[serve] * 60), shards=8)
    bad.append(catalog.image_shards("photos")[0].shard_id)
    driver.run()
    assert catalog.progress("set").done == 7
    assert [shard for shard, _ in catalog.failed_work("set")] == bad


def test_shards_that_all_fail_alike_end_the_run_before_they_are_failed(catalog: Catalog) -> None:
    driver, said = prepare(catalog, FakePool(*[fail(RuntimeError, every=2)] * 9), shards=40)
    with pytest.raises(JobError, match="the first 5 shards failed in the same way"):
        driver.run()
    progress = catalog.progress("set")
    assert (progress.failed, progress.leased, progress.pending) == (0, 0, 40)
    assert sum(attempts(catalog)) == 6, "what ended beside the fifth"
    assert "RuntimeError: no luck (attempt 1 of 3; will be tried again, alone)" in said.getvalue()


def test_counts_that_do_not_add_up_are_the_shards_failure(catalog: Catalog) -> None:
    def one_short(pool: FakePool) -> list[Outcome[LabelTask]]:
        task = pool.tasks.pop(0)
        return [Outcome(task, result=replace(manifest_of(task), labelled=9))]

    pool = FakePool(one_short, *[FakePool.finish_oldest] * 9)
    driver, said = prepare(catalog, pool, shards=3)
    assert driver.run().shards == 3
    assert "9 labelled and 0 quarantined, but the image shard has 10" in said.getvalue()


def test_a_limit_counts_images_that_were_handed_out_and_came_back_labelled(
    catalog: Catalog,
) -> None:
    pool = FakePool(fail(ShardCorruptError), *[FakePool.finish_oldest] * 9)
    driver, _ = prepare(catalog, pool, shards=9, limit=25)
    assert driver.run().images == 30
    progress = catalog.progress("set")
    assert (progress.done, progress.leased, progress.images_left) == (3, 0, 60)


def test_why_nothing_starts_is_said_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.label_driver.WAIT_FOR_ACTORS_S", 0.0)
    pool = FakePool(lambda pool: [], lambda pool: [], *[FakePool.finish_oldest] * 3)
    pool.ready_actors = 0
    driver, said = prepare(catalog, pool, shards=1, why_no_actor=lambda: "no room at all")
    driver.run()
    assert said.getvalue().count("warning: no room at all") == 1
    assert driver.tally.warnings == 1

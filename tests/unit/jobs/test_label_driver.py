"""The label driver on a real catalog, with a pool that needs no Ray: whose result counts."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.actor_pool import Outcome
from jobs.console import LineReporter
from jobs.label_driver import LabelDriver
from jobs.label_engine import LabelTask
from pipeline.catalog import Catalog
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
        task = self.tasks.pop(0)
        return [Outcome(task, result=manifest_of(task))]


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
    fill_source(catalog, "photos", shards)
    open_label_set(catalog, "set")
    catalog.plan_work("set", ["photos"])
    heard = io.StringIO()
    reporter = LineReporter(heard)
    driver = LabelDriver(
        catalog=catalog,
        label_set="set",
        sources=["photos"],
        pool=pool,  # type: ignore[arg-type]
        lease_s=60.0,
        reporter=reporter,
    )
    driver.run()
    return heard.getvalue()


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


def test_what_failed_is_tried_again_and_what_was_leased_is_given_back(catalog: Catalog) -> None:
    def fail(pool: FakePool) -> list[Outcome[LabelTask]]:
        return [Outcome(pool.tasks.pop(0), error="bad luck")]

    def stop(pool: FakePool) -> list[Outcome[LabelTask]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(catalog, FakePool(FakePool.finish_oldest, fail, stop), shards=3)
    progress = catalog.progress("set")
    assert (progress.done, progress.pending, progress.leased, progress.failed) == (1, 2, 0, 0)


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

"""Whose fault a failure is, and when to stop."""

from dataclasses import replace

import pytest

from jobs.actor_pool import Outcome
from jobs.errors import JobError
from jobs.label_faults import STORE_ROUNDS, Blame, FaultWatch, blame, may_be_actor
from model.errors import CheckpointError
from pipeline.errors import ShardCorruptError, StorageError, StoreFullError


def failure(kind: type[BaseException] | None, *, actor_lost: bool = False) -> Outcome[str]:
    return Outcome("task", error="it broke", kind=kind, actor_lost=actor_lost)


class Watched:
    """A watch over one actor, on a clock that the test turns."""

    def __init__(self, actors: int = 1) -> None:
        self.now_s = 0.0
        self.watch = FaultWatch(lambda: actors, lambda: self.now_s)

    def fail(self, count: int, kind: type[BaseException] | None, **options: bool) -> list[object]:
        """Fail so many shards, each for the first time."""
        outcome = failure(kind, **options)
        return [self.watch.failed(outcome, "it broke", f"s{number}") for number in range(count)]


@pytest.mark.parametrize(
    ("outcome", "blamed"),
    [
        (failure(ShardCorruptError), Blame.SHARD),
        (failure(FileNotFoundError), Blame.SHARD),
        (failure(RuntimeError), Blame.SHARD),
        (failure(StorageError), Blame.STORE),
        (failure(PermissionError), Blame.STORE),
        (failure(StoreFullError), Blame.FULL_STORE),
        (failure(None, actor_lost=True), Blame.ACTOR),
        (replace(failure(None, actor_lost=True), machine_left=True), Blame.MACHINE),
    ],
)
def test_what_a_failure_is_put_down_to(outcome: Outcome[str], blamed: Blame) -> None:
    assert blame(outcome) is blamed


@pytest.mark.parametrize(
    ("kind", "is_so"),
    [
        (RuntimeError, True),
        (CheckpointError, True),
        (ShardCorruptError, False),
        (StorageError, False),
        (FileNotFoundError, False),
    ],
)
def test_what_may_be_the_fault_of_an_actor(kind: type[BaseException], is_so: bool) -> None:
    assert may_be_actor(failure(kind)) is is_so


@pytest.mark.parametrize(("actors", "limit"), [(1, 5), (2, 5), (8, 16)])
def test_first_shards_that_all_fail_alike_end_the_run(actors: int, limit: int) -> None:
    *before, last = Watched(actors).fail(limit, CheckpointError)
    assert before == [None] * (limit - 1)
    assert isinstance(last, JobError)
    assert f"the first {limit} shards failed in the same way" in str(last)


def test_a_shard_that_fails_again_and_again_is_one_shard() -> None:
    watched = Watched()
    outcome = failure(RuntimeError)
    assert [watched.watch.failed(outcome, "it broke", "s0") for _ in range(30)] == [None] * 30


def test_a_success_or_another_error_between_shows_that_it_is_the_shards() -> None:
    watched = Watched()
    for _ in range(20):
        assert watched.fail(4, RuntimeError) == [None] * 4
        assert watched.fail(4, ShardCorruptError) == [None] * 4
    watched.watch.success()
    assert watched.fail(49, RuntimeError) == [None] * 49


def test_once_something_worked_many_more_must_fail_alike() -> None:
    watched = Watched()
    watched.watch.success()
    *before, last = watched.fail(50, RuntimeError)
    assert before == [None] * 49
    assert "50 shards in a row failed in the same way" in str(last)


def test_a_machine_that_dies_with_all_actors_does_not_end_the_run() -> None:
    watched = Watched(actors=8)
    *before, last = watched.fail(48, None, actor_lost=True)
    assert before == [None] * 47, "two shards on each actor, three times in a row"
    assert "cost their actors the life" in str(last)


def test_the_store_gets_longer_and_longer_pauses_and_then_no_more_tries() -> None:
    watched = Watched()
    pauses = []
    for round_ in range(STORE_ROUNDS):
        stop = watched.watch.store_failed("no route")
        assert watched.watch.is_waiting
        assert watched.watch.store_failed("no route") is None or round_ == STORE_ROUNDS - 1
        pauses.append(watched.watch.resume_s - watched.now_s)
        watched.now_s = watched.watch.resume_s
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0]
    assert isinstance(stop, StorageError)
    assert "nothing got through meanwhile: no route" in str(stop)


def test_a_success_ends_the_stores_pause() -> None:
    watched = Watched()
    for _ in range(50):
        assert watched.watch.store_failed("no route") is None
        watched.watch.success()
        assert not watched.watch.is_waiting
        watched.now_s += 1


def test_a_store_that_serves_others_meanwhile_is_not_at_fault_the_second_time() -> None:
    watch = Watched().watch
    assert watch.is_stores_fault("s0")
    assert watch.is_stores_fault("s0"), "nothing got through since"
    watch.success()
    assert not watch.is_stores_fault("s0")
    assert watch.is_stores_fault("s1")


def test_a_store_that_served_somebody_is_given_as_long_as_a_catalog() -> None:
    """Nine to ten minutes of pauses, one failure in each; a success begins them anew."""
    watched = Watched()
    watched.watch.success()
    while watched.watch.store_failed("no route") is None:
        watched.now_s = watched.watch.resume_s
    assert 9 * 60 <= watched.now_s <= 10 * 60
    watched.watch.success()
    assert watched.watch.store_failed("no route") is None

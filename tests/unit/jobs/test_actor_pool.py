"""What the pool makes of Ray's errors, without a Ray; a real one is in the integration tests."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError, RayTaskError

from jobs import actor_pool
from jobs.actor_pool import ActorPool
from jobs.errors import JobError
from pipeline.errors import StorageError


class FakeRay:
    """Every result is ready at once; getting one of ``label`` raises ``error``."""

    def __init__(self, *, ready: Exception | None = None, label: Exception | None = None) -> None:
        self.errors = {"ready": ready, "label": label}
        self.killed = self.started = 0

    def actor(self) -> Any:
        self.started += 1
        return SimpleNamespace(
            ready=SimpleNamespace(remote=lambda: ("ready", object())),
            label=SimpleNamespace(remote=lambda task: ("label", object())),
        )

    def wait(self, refs: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return refs[:1], refs[1:]

    def get(self, ref: Any) -> str:
        error = self.errors[ref[0]]
        if error is not None:
            raise error
        return "it"

    def kill(self, _: Any) -> None:
        self.killed += 1


def install(fake: FakeRay, monkeypatch: pytest.MonkeyPatch, **options: Any) -> ActorPool[str]:
    for name in ("wait", "get", "kill"):
        monkeypatch.setattr(ray, name, getattr(fake, name))
    return ActorPool[str](fake.actor, size=1, **options)


@pytest.mark.parametrize("error", [OutOfMemoryError("killed for its memory"), RayError("its node")])
def test_an_actor_lost_in_any_way_costs_its_tasks_an_attempt_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fake = FakeRay(label=error)
    pool = install(fake, monkeypatch)
    pool.submit("one")
    pool.wait(0)
    (outcome,) = pool.wait(0)
    assert outcome.actor_lost
    assert str(error) in str(outcome.error)
    assert fake.killed == 1
    assert pool.is_idle


def test_a_machine_lost_while_its_actors_start_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight of them die at once, twice, as they did not raise anything; then they start."""
    fake = FakeRay(ready=ActorDiedError())
    install(fake, monkeypatch)
    monkeypatch.setattr(ray, "wait", lambda refs, **_: (refs, []))
    pool = ActorPool[str](fake.actor, size=8)
    pool.wait(0)
    pool.wait(0)
    assert (fake.started, fake.killed) == (16, 16)
    fake.errors["ready"] = None
    pool.wait(0)
    assert (pool.ready_actors, fake.killed) == (8, 16)


def test_three_starts_that_raise_end_the_run_wherever_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised = RayTaskError("ready", "no weights here", ValueError("no weights here"))
    fake = FakeRay(ready=ActorDiedError(raised))
    install(fake, monkeypatch)
    pool = ActorPool[str](fake.actor, size=8)
    with pytest.raises(JobError, match="no weights here"):
        for _ in range(3):
            pool.wait(0)
    assert fake.started <= 8 + 2


def test_actors_lost_while_they_start_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = install(FakeRay(ready=OutOfMemoryError("killed for its memory")), monkeypatch)
    with pytest.raises(JobError, match="killed for its memory"):
        for _ in range(3):
            pool.wait(0)


def test_what_a_task_raised_is_known_by_its_class_and_said_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cause = StorageError("no route\n  to the store")
    error = RayTaskError("label", "Traceback (most recent call last): …", cause, "p", 1, "ip")
    pool = install(FakeRay(label=error.as_instanceof_cause()), monkeypatch)
    pool.submit("one")
    pool.wait(0)
    (outcome,) = pool.wait(0)
    assert (outcome.kind, outcome.actor_lost) == (StorageError, False)
    assert outcome.error == "StorageError: no route to the store"


def test_a_pool_grows_as_room_is_found_and_never_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.actor_pool.RECOUNT_INTERVAL_S", 0.0)
    counts = iter([1, 3, 3, 2, 4])
    fake = FakeRay()
    pool = install(fake, monkeypatch, wanted=lambda: next(counts))
    sizes = []
    for _ in range(5):
        pool.wait(0)
        sizes.append(pool.size)
    assert sizes == [1, 3, 3, 3, 4]
    assert fake.started == 4
    assert pool.ready_actors + pool.starting_actors == 4


def test_a_result_that_waited_for_a_driver_is_not_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that was kept waiting by its catalog must not take finished tasks for hanging."""
    fake = FakeRay()
    pool = install(fake, monkeypatch, task_timeout_s=0.0)
    pool.wait(0)
    pool.submit("one")
    pool.submit("two")
    outcomes = pool.wait(0)
    assert [outcome.result for outcome in outcomes] == ["it", "it"]
    assert fake.killed == 0


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeRay, ActorPool[str], set[Any], Clock]:
    """Tasks that end when their reference is in the set, and have ten seconds each."""
    fake, ended, clock = FakeRay(), set[Any](), Clock()
    pool = install(fake, monkeypatch, task_timeout_s=10.0)

    def wait(refs: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        done = [ref for ref in refs if ref[0] == "ready" or ref in ended]
        return done, [ref for ref in refs if ref not in done]

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(actor_pool, "time", clock)
    pool.wait(0)
    for task in ("older", "younger", "third"):
        pool.submit(task)
    assert pool.wait(0) == []
    return fake, pool, ended, clock


def test_waiting_for_the_older_task_of_an_actor_is_no_hanging(
    timed: tuple[FakeRay, ActorPool[str], set[Any], Clock],
) -> None:
    fake, pool, ended, clock = timed
    older = next(iter(pool._slots[0].running))
    clock.now_s += 8
    ended.add(older)
    assert [outcome.task for outcome in pool.wait(0)] == ["older"]
    clock.now_s += 8
    assert (pool.wait(0), fake.killed) == ([], 0), "8 s since it was its turn"
    clock.now_s += 3
    lost = pool.wait(0)
    assert [(outcome.task, outcome.actor_lost) for outcome in lost] == [
        ("younger", True),
        ("third", True),
    ]
    assert (fake.killed, "10 s" in str(lost[0].error)) == (1, True)


def test_younger_tasks_that_end_do_not_prolong_the_time_of_one_that_hangs(
    timed: tuple[FakeRay, ActorPool[str], set[Any], Clock],
) -> None:
    fake, pool, ended, clock = timed
    ended.add(list(pool._slots[0].running)[1])
    clock.now_s += 8
    assert [outcome.task for outcome in pool.wait(0)] == ["younger"]
    clock.now_s += 3
    assert "older" in [outcome.task for outcome in pool.wait(0) if outcome.actor_lost]
    assert fake.killed == 1


ENDED = """The actor died unexpectedly before finishing this task.
\tclass_name: LabelEngine
\tactor_id: 0123
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit \
detail: Worker unexpectedly exits with a connection error code 2. End of file. Some common causes \
include: (1) the process was killed by the OOM killer due to high memory usage"""


@pytest.mark.parametrize(
    ("ray_says", "said"),
    [
        (ENDED, "ended without a word (killed, perhaps for its memory, or a crash)"),
        ("The actor died because its node has died.\n\tip: 1", "because its node has died."),
        ("Task was killed due to the node running low on memory.", "running low on memory."),
    ],
)
def test_why_an_actor_died_is_said_without_ids_and_guesses(
    monkeypatch: pytest.MonkeyPatch, ray_says: str, said: str
) -> None:
    pool = install(FakeRay(label=RayError(ray_says)), monkeypatch)
    pool.submit("one")
    pool.wait(0)
    (outcome,) = pool.wait(0)
    error = str(outcome.error)
    assert error.startswith("its actor died: ") and error.endswith(said)
    assert "actor_id" not in error


@pytest.mark.parametrize("may_be_actor", [True, False])
def test_an_actor_that_fails_task_after_task_is_replaced(
    monkeypatch: pytest.MonkeyPatch, may_be_actor: bool
) -> None:
    error = RayTaskError("label", "Traceback", RuntimeError("CUDA error"), "p", 1, "ip")
    fake = FakeRay(label=error.as_instanceof_cause())
    pool = install(fake, monkeypatch, may_be_actor=lambda _: may_be_actor)
    for number in range(4):
        pool.submit(str(number))
    outcomes: list[Any] = []
    while len(outcomes) < 4:
        outcomes += pool.wait(0)
    assert sorted(outcome.task for outcome in outcomes) == ["0", "1", "2", "3"]
    assert not any(outcome.actor_lost for outcome in outcomes)
    pool.wait(0)
    assert (fake.started, fake.killed) == ((2, 1) if may_be_actor else (1, 0))


@pytest.mark.parametrize("error", [None, RayError("its node has died")])
def test_an_actor_whose_machine_goes_finishes_what_it_has_and_gets_no_more(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    monkeypatch.setattr(actor_pool, "LOOK_FOR_DEPARTURES_S", 0.0)
    fake = FakeRay(label=error)
    leaving: list[Any] = []
    pool = install(fake, monkeypatch, concurrency=1, leaving=lambda actors: actors[: len(leaving)])
    for task in ("one", "two"):
        pool.submit(task)
    pool.wait(0)  # the actor has answered
    pool._dispatch()
    leaving.append("the machine of the first actor")
    (outcome,) = pool.wait(0)
    assert (outcome.task, outcome.actor_lost) == ("one", error is not None)
    assert outcome.machine_left == (error is not None), "not the task's fault"
    leaving.clear()
    pool.wait(0)
    assert (fake.started, fake.killed, pool.lost_actors) == (2, 1, 0)
    (outcome,) = pool.wait(0)
    assert (outcome.task, outcome.machine_left) == ("two", False), "by another actor"

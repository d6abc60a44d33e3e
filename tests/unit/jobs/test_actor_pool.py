"""What the pool makes of Ray's errors, without a Ray; a real one is in the integration tests."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import OutOfMemoryError, RayError

from jobs.actor_pool import ActorPool
from jobs.errors import JobError


class FakeRay:
    """Every result is ready at once; getting one of ``label`` raises ``error``."""

    def __init__(self, *, ready: Exception | None = None, label: Exception | None = None) -> None:
        self.errors = {"ready": ready, "label": label}
        self.killed = 0

    def actor(self) -> Any:
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


def install(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> ActorPool[str]:
    for name in ("wait", "get", "kill"):
        monkeypatch.setattr(ray, name, getattr(fake, name))
    return ActorPool[str](fake.actor, size=1)


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


def test_actors_lost_while_they_start_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = install(FakeRay(ready=OutOfMemoryError("killed for its memory")), monkeypatch)
    with pytest.raises(JobError, match="killed for its memory"):
        for _ in range(3):
            pool.wait(0)

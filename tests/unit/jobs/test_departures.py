"""Who sits on a machine that goes; a cluster that drains one is in the integration tests."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray._private import state

from jobs.departures import leaving_actors

ON = {"aa": "machine-1", "bb": "machine-2", "cc": "machine-1"}


def actor(name: str) -> Any:
    return SimpleNamespace(_actor_id=SimpleNamespace(hex=lambda: name))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def of_actor(name: str) -> dict[str, Any] | None:
        asked.append(name)
        return {"Address": {"NodeID": ON[name]}} if name in ON else None

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(state, "actors", of_actor)
    return asked


def drain(monkeypatch: pytest.MonkeyPatch, *machines: str) -> None:
    draining = dict.fromkeys(machines, 1_700_000_000_000)
    monkeypatch.setattr(state.state, "get_draining_nodes", lambda: draining)


def test_those_on_a_draining_machine_leave(
    monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    drain(monkeypatch, "machine-1", "machine-9")
    actors = [actor(name) for name in ("aa", "bb", "cc", "on no machine yet")]
    assert leaving_actors(actors) == [actors[0], actors[2]]


def test_one_question_is_all_where_no_machine_goes(
    monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    drain(monkeypatch)
    assert leaving_actors([actor("aa")]) == []
    assert asked == []


def test_nothing_is_known_without_ray_or_in_one_that_does_not_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert hasattr(state.state, "get_draining_nodes"), "this version of Ray has it"
    assert leaving_actors([actor("aa")]) == [], "Ray was not started"
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(state, "state", SimpleNamespace())
    assert leaving_actors([actor("aa")]) == []

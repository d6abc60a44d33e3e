"""Rates, times left and costs of `factory status`, by hand."""

import pytest

from jobs.owner import current_owner
from jobs.status_pace import (
    actor_seconds,
    actors_of,
    costs,
    devices_of,
    eta_s,
    images_per_s,
    life_of,
    needs_longer,
    working_s,
)
from pipeline.catalog import DriverRow, Lately

NOW = 10_000.0


def driver(
    *, seen_s_ago: float = 1.0, state: str = "running", owner: str = "far:ns:1:1:n", **facts
):
    return DriverRow(
        number=1, owner=owner, verb="label", target="t", state=state, heartbeat_s=10.0,
        started_at=9000.0, seen_at=NOW - seen_s_ago, ended_at=None, facts=facts,
    )  # fmt: skip


def test_a_driver_is_silent_after_three_heartbeats():
    assert life_of(driver(seen_s_ago=30.0), now=NOW) == "running"
    assert life_of(driver(seen_s_ago=30.1), now=NOW) == "silent"
    assert life_of(driver(seen_s_ago=99.0, state="done"), now=NOW) == "done"


def test_a_sign_from_before_the_clock_was_set_back_is_none():
    assert life_of(driver(seen_s_ago=-29.0), now=NOW) == "running"
    assert life_of(driver(seen_s_ago=-3600.0), now=NOW) == "silent"


def test_on_its_own_machine_a_dead_one_is_known_at_once():
    host, namespace, *_ = current_owner().rsplit(":", 4)
    dead = f"{host}:{namespace}:999999999:1:n"
    assert life_of(driver(owner=dead), now=NOW) == "gone"
    assert life_of(driver(owner=current_owner()), now=NOW) == "running"


def test_a_rate_is_over_the_window_or_since_there_was_work():
    assert images_per_s(600, window_s=300.0, working_s=5000.0) == 2.0
    assert images_per_s(600, window_s=300.0, working_s=100.0) == 6.0
    assert images_per_s(600, window_s=300.0, working_s=None) == 2.0
    assert images_per_s(5, window_s=300.0, working_s=0.001) == 5.0  # not thousands
    assert images_per_s(0, window_s=300.0, working_s=100.0) is None


def test_several_drivers_add_up_whoever_says_so():
    """Two that commit 3 and 5 images a second for 200 s leave 1600 images: 8 a second."""
    committed = 200 * 3 + 200 * 5
    both = [driver(working_s=200.0, seen_s_ago=0.0), driver(working_s=150.0, seen_s_ago=0.0)]
    since = working_s(both, now=NOW)
    assert since == 200.0
    rate = images_per_s(committed, window_s=300.0, working_s=since)
    assert rate == 8.0 and eta_s(800, rate) == 100.0


def test_work_goes_on_between_two_signs_of_life():
    assert working_s([driver(working_s=50.0, seen_s_ago=7.0)], now=NOW) == 57.0
    assert working_s([driver(), driver(working_s=0.0)], now=NOW) is None


def test_time_left_where_nothing_moves_is_unknown():
    assert eta_s(0, None) == 0.0
    assert eta_s(10, None) is None


def test_few_commits_want_a_longer_look():
    def lately(commits):
        return Lately("s", commits, 10 * commits, NOW - 100, NOW)

    assert needs_longer([]) and needs_longer([lately(3), lately(4)])
    assert not needs_longer([lately(3), lately(5)])


def test_cost_is_actor_time_times_gpus_times_price_over_all_drivers():
    rows = [
        driver(actor_s=7200.0, gpus_per_actor=1.0, state="done"),
        driver(actor_s=3600.0, gpus_per_actor=0.5),
        driver(actor_s=1800.0, gpus_per_actor=0.0),
        driver(),
    ]
    assert costs(rows, per_gpu_hour=4.0) == {"actor_hours": 3.5, "gpu_hours": 2.5, "cost": 10.0}
    assert costs(rows, per_gpu_hour=None)["cost"] is None
    assert costs([], per_gpu_hour=4.0) == {"actor_hours": 0.0, "gpu_hours": 0.0, "cost": 0.0}


def test_workers_of_a_training_run_are_all_there_all_the_time():
    assert actor_seconds(driver(working_s=100.0, workers=4)) == 400.0
    assert actor_seconds(driver(working_s=None, workers=4)) == 0.0


def test_actors_and_devices_over_drivers():
    rows = [
        driver(actors={"ready": 2, "starting": 1, "lost": 0}, device="H200"),
        driver(actors={"ready": 1, "lost": 3}, device="L4"),
        driver(device="H200"),
    ]
    assert actors_of(rows) == {"ready": 3, "starting": 1, "lost": 3}
    assert devices_of(rows) == ["H200", "L4"]
    assert actors_of([]) == {"ready": 0, "starting": 0, "lost": 0}


@pytest.mark.parametrize("state", ["done", "failed", "stopped"])
def test_what_has_ended_is_never_silent(state):
    assert life_of(driver(state=state, seen_s_ago=1e6), now=NOW) == state

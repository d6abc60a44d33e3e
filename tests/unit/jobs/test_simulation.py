"""Simulated runs against what can be worked out by hand, and against each other."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.simulation import simulate
from jobs.simulation_cluster import (
    ControlPlane,
    Failures,
    Outages,
    SimulatedCluster,
    Spot,
    Stragglers,
)
from jobs.simulation_run import SimulatedRun

AT_ONCE = ControlPlane(catalog_write_s=0.0, catalog_count_s=0.0, driver_shard_s=0.0)
HOUR_S = 3600.0


def cluster(**changes: Any) -> SimulatedCluster:
    """Shards of ten seconds, and nothing else that takes time."""
    calm: dict[str, Any] = {
        "shards": 40,
        "gpus": 4,
        "images_per_s": 100.0,
        "actor_start_s": 0.0,
        "control": AT_ONCE,
    }
    return SimulatedCluster(**calm | changes)


def wall_s(run: SimulatedRun) -> float:
    return run.wall_hours * HOUR_S


@pytest.mark.parametrize(("shards", "gpus"), [(40, 4), (41, 4), (3, 4), (1, 1), (127, 64)])
def test_equal_shards_take_as_many_rounds_as_there_are(shards: int, gpus: int) -> None:
    """Two at a time go to each actor, so the last ones are not shared out as evenly as could be."""
    run = simulate(cluster(shards=shards, gpus=gpus))
    rounds = math.ceil(shards / gpus)
    assert 10 * rounds <= wall_s(run) + 1e-6
    assert wall_s(run) <= 10 * max(rounds + 1, 2) + 1e-6
    assert run.gpu_hours_useful * HOUR_S == pytest.approx(10 * shards)


def test_a_division_without_rest_leaves_no_gpu_idle() -> None:
    run = simulate(cluster(actor_start_s=60.0))
    assert wall_s(run) == pytest.approx(60 + 10 * 10)
    assert run.gpu_hours_idle == pytest.approx(0)
    assert run.gpu_hours_without_actor * HOUR_S == pytest.approx(4 * 60)


def test_reading_and_writing_hide_behind_the_other_shard() -> None:
    """Only the first shard's reading and the last one's writing are waited for."""
    run = simulate(cluster(first_batch_s=3.0, last_batch_s=2.0))
    assert wall_s(run) == pytest.approx(3 + 10 * 10 + 2)
    assert run.gpu_hours_idle * HOUR_S == pytest.approx(4 * (3 + 2))


def test_a_read_that_takes_longer_than_a_shard_sets_the_pace() -> None:
    """Two under way: a shard every half of (read 25 + compute 10) seconds, on one GPU."""
    run = simulate(cluster(shards=200, gpus=1, first_batch_s=25.0))
    assert wall_s(run) == pytest.approx(200 * 35 / 2, rel=0.01)


def test_a_driver_that_is_slower_than_its_gpus_sets_the_pace() -> None:
    slow = ControlPlane(catalog_write_s=0.05, catalog_count_s=0.0, driver_shard_s=0.1)
    run = simulate(cluster(shards=4000, gpus=64, images_per_s=1000.0, control=slow))
    commits_per_s = run.shards_done / wall_s(run)
    assert 1 / (0.1 + 0.05 + 0.05) <= commits_per_s <= 1 / (0.1 + 0.05)
    assert run.driver_busy_share > 0.99
    assert run.catalog.peak_per_s <= 20


def test_a_calm_run_asks_the_catalog_what_the_protocol_says() -> None:
    run = simulate(cluster(shards=4000, gpus=8, shard_spread=0.3))
    asked, seconds = run.catalog.operations, wall_s(run)
    assert asked["commit"] == 4000
    assert asked["renew"] == pytest.approx(seconds / 20, abs=0.05 * seconds / 20)
    assert asked["beat"] == math.ceil(seconds / 10)
    assert asked["progress_by_source"] == pytest.approx(seconds / 30, abs=0.05 * seconds / 30)
    assert run.attempts == {1: 4000}
    assert run.catalog.renewed_rows_most <= 16
    assert run.catalog.commits_per_s == pytest.approx(4000 / seconds)
    assert run.catalog.per_s == pytest.approx(sum(asked.values()) / seconds)
    assert run.objects_put == 4000
    assert run.orphans == 0


def test_bytes_are_those_of_the_images() -> None:
    run = simulate(cluster(image_bytes=100_000.0, label_bytes=300_000.0))
    assert run.read_mb_per_s * wall_s(run) == pytest.approx(40 * 1000 * 0.1)
    assert run.written_mb_per_s * wall_s(run) == pytest.approx(40 * 1000 * 0.3)
    assert run.written_mb_per_s_peak == pytest.approx(4 * 1000 * 0.3 / 10)


def test_processes_that_die_waste_half_a_shard_each_on_average() -> None:
    """Deaths are Poisson over actor hours; one finds a busy GPU in the midst of a shard."""
    rate = 20.0
    run = simulate(
        cluster(
            shards=20_000,
            gpus=16,
            failures=Failures(process_deaths_per_hour=rate, process_loss_seen_s=0.0),
        )
    )
    deaths = run.actors_lost["process"]
    manned_hours = run.gpu_hours - run.gpu_hours_without_actor
    assert deaths == pytest.approx(rate * manned_hours, abs=4 * math.sqrt(rate * manned_hours))
    wasted_s = run.gpu_hours_wasted["process"] * HOUR_S
    each_s = 10 / math.sqrt(12 * deaths)
    assert wasted_s / deaths == pytest.approx(5, abs=4 * each_s)
    assert run.shards_done + run.shards_failed == 20_000


def test_nodes_are_there_as_much_of_the_time_as_they_should() -> None:
    """Up for 1/rate and away for the replacement, in turn: a renewal process."""
    spot = Spot(losses_per_hour=6.0, replacement_s=300.0, loss_seen_s=0.0)
    run = simulate(cluster(shards=40_000, gpus=32, gpus_per_node=4, spot=spot))
    share = run.gpu_hours / (32 * run.wall_hours)
    cycles = 8 * run.wall_hours * HOUR_S / 900
    assert share == pytest.approx(600 / 900, abs=4 * 0.5 / math.sqrt(cycles))


def test_poison_fails_by_name_after_three_lives_and_nothing_else_does() -> None:
    run = simulate(cluster(shards=400, gpus=8, failures=Failures(poison_shards=5)))
    assert run.shards_failed == 5
    assert run.shards_done == 395
    assert run.actors_lost == {"poison": 15}
    assert run.attempts[3] == 5
    assert set(run.attempts) == {1, 2, 3}
    assert run.catalog.operations["charge"] == 5 * 3 + run.attempts[2]


def test_stragglers_hold_the_end_up() -> None:
    """One of four GPUs at a quarter of the pace gives 3.25 GPUs' work; its last shards are late."""
    slow = simulate(cluster(shards=4000, stragglers=Stragglers(share=0.25, factor=4.0)))
    assert wall_s(slow) == pytest.approx(10 * 4000 / 3.25, rel=0.01)
    assert wall_s(slow) >= 10 * 4000 / 3.25
    assert slow.tail_idle_share > 0.4
    calm = simulate(cluster(shards=4000))
    assert calm.tail_idle_share < 0.1


def test_spells_slow_down_by_their_share_of_the_time() -> None:
    """Half of the time at half the pace is three quarters of it; shards are short beside spells."""
    spells = Stragglers(spells_per_hour=2.0, spell_s=1800.0, spell_factor=2.0)
    run = simulate(cluster(shards=50_000, gpus=16, stragglers=spells))
    pace = 10 * 50_000 / 16 / wall_s(run)
    assert pace == pytest.approx(0.75, abs=0.08)


def test_a_catalog_that_is_away_for_a_while_costs_the_time_that_gpus_have_nothing() -> None:
    """An outage of 100 s: each GPU still has up to two shards, 20 s, and then waits."""
    away = Outages(at_s=((50.0, 150.0),))
    run = simulate(cluster(shards=400, catalog_outages=away))
    calm = simulate(cluster(shards=400))
    assert 80 <= wall_s(run) - wall_s(calm) <= 100 + 15
    assert run.attempts == {1: 400}
    assert not run.stopped


def test_a_catalog_that_stays_away_ends_the_driver_and_not_the_run() -> None:
    run = simulate(cluster(shards=400, catalog_outages=Outages(at_s=((50.0, 1000.0),))))
    assert run.stopped == {"the catalog did not answer": 1}
    assert run.finished
    assert run.shards_done == 400
    assert run.orphans > 0
    assert run.gpu_hours_wasted["driver"] * HOUR_S == pytest.approx(10 * run.orphans)


def test_a_store_that_is_away_charges_no_shard() -> None:
    away = Outages(at_s=((50.0, 100.0),))
    run = simulate(cluster(shards=400, store_outages=away, store_retry_s=5.0))
    assert run.shards_done == 400
    assert run.catalog.operations["release"] > 0
    assert "charge" not in run.catalog.operations
    patient = simulate(cluster(shards=400, store_outages=away, store_retry_s=60.0))
    assert "release" not in patient.catalog.operations


def test_a_driver_that_dies_elsewhere_waits_for_the_leases_of_the_dead() -> None:
    """What it had under way is leased again, by expiry or at once, and charged to nobody."""
    dies = Failures(driver_deaths_per_hour=20.0, driver_restart_s=30.0)
    here = simulate(cluster(shards=2000, failures=dies))
    moved = replace(dies, driver_stays_on_machine=False)
    elsewhere = simulate(cluster(shards=2000, failures=moved))
    for run in (here, elsewhere):
        assert run.stopped["the driver died"] > 5
        assert run.shards_done == 2000
        assert "charge" not in run.catalog.operations
        assert sum((n - 1) * shards for n, shards in run.attempts.items()) > 0


def test_shards_beyond_the_deadline_stop_the_run_before_all_of_them_fail() -> None:
    """10 s each; that a shard waits for the older one of its actor does not count."""
    run = simulate(cluster(shards=100, shard_timeout_s=9.0))
    assert run.actors_lost["deadline"] > 0
    within = simulate(cluster(shards=100, shard_timeout_s=11.0))
    assert not within.actors_lost


def test_a_drought_leaves_as_many_nodes_as_it_says() -> None:
    """A market that always gives half takes twice as long."""
    spot = Spot(droughts_per_hour=3600.0, drought_s=1e9, drought_share=0.5, replacement_s=1.0)
    run = simulate(cluster(shards=4000, gpus=8, gpus_per_node=2, spot=spot))
    assert wall_s(run) == pytest.approx(2 * 10 * 4000 / 8, rel=0.01)
    assert run.gpu_hours == pytest.approx(4 * run.wall_hours, rel=0.01)


def test_the_same_seed_is_the_same_run_and_another_is_another() -> None:
    troubled = cluster(shards=500, shard_spread=0.3, spot=Spot(losses_per_hour=5.0))
    assert simulate(troubled) == simulate(troubled)
    assert simulate(troubled) != simulate(replace(troubled, seed=1))


@given(
    gpus=st.integers(1, 12),
    gpus_per_node=st.integers(1, 8),
    shards=st.integers(1, 150),
    spread=st.floats(0, 1),
    deaths=st.floats(0, 100),
    losses=st.floats(0, 60),
    droughts=st.floats(0, 20),
    notice=st.none() | st.floats(0, 60),
    drivers=st.floats(0, 20),
    catalog=st.floats(0, 60),
    store=st.floats(0, 60),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_nothing_is_lost_or_counted_twice(
    gpus: int,
    gpus_per_node: int,
    shards: int,
    spread: float,
    deaths: float,
    losses: float,
    droughts: float,
    notice: float | None,
    drivers: float,
    catalog: float,
    store: float,
    seed: int,
) -> None:
    """GPU time and shards are conserved; `simulate` itself holds more against each other."""
    run = simulate(
        SimulatedCluster(
            shards=shards,
            gpus=gpus,
            gpus_per_node=gpus_per_node,
            images_per_s=100.0,
            shard_spread=spread,
            actor_start_s=20.0,
            actor_start_spread=0.5,
            first_batch_s=1.0,
            last_batch_s=1.0,
            failures=Failures(
                process_deaths_per_hour=deaths,
                poison_shards=shards // 50,
                driver_deaths_per_hour=drivers,
                driver_stays_on_machine=seed % 2 == 0,
            ),
            spot=Spot(losses_per_hour=losses, droughts_per_hour=droughts, notice_s=notice),
            catalog_outages=Outages(per_hour=catalog, mean_s=30.0),
            store_outages=Outages(per_hour=store, mean_s=30.0),
            seed=seed,
        )
    )
    wasted = sum(run.gpu_hours_wasted.values())
    spent = run.gpu_hours_useful + wasted + run.gpu_hours_idle + run.gpu_hours_without_actor
    assert spent == pytest.approx(run.gpu_hours)
    assert run.gpu_hours <= gpus * run.wall_hours * (1 + 1e-9)
    assert run.finished == (run.shards_done + run.shards_failed == shards)
    assert sum(run.attempts.values()) == shards
    assert run.catalog.operations.get("commit", 0) >= run.shards_done
    assert run.objects_put == run.shards_done + run.orphans
    assert min(run.orphans, run.gpu_hours_idle, run.gpu_hours_without_actor) >= 0


@pytest.mark.parametrize(
    "worse",
    [
        {"gpus": 4},
        {"images_per_s": 50.0},
        {"actor_start_s": 300.0},
        {"failures": Failures(process_deaths_per_hour=10.0)},
        {"spot": Spot(losses_per_hour=3.0)},
        {"stragglers": Stragglers(share=0.25, factor=2.0)},
        {"catalog_outages": Outages(per_hour=3.0, mean_s=300.0)},
        {"control": ControlPlane(driver_shard_s=1.5)},
    ],
    ids=lambda worse: next(iter(worse)),
)
def test_what_is_worse_takes_longer(worse: dict[str, Any]) -> None:
    better = {"shards": 2000, "gpus": 8, "actor_start_s": 30.0, "shard_spread": 0.2}
    assert simulate(cluster(**better | worse)).wall_hours > simulate(cluster(**better)).wall_hours


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"shards": 0}, "at least 1"),
        ({"images_per_s": 0.0}, "images_per_s"),
        ({"actor_start_spread": 2.0}, "actor_start_spread"),
        ({"failures": Failures(poison_shards=41)}, "more poison"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cluster(**wrong)

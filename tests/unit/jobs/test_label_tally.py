"""Rates and times of a run, on a clock that the test turns."""

import pytest

from jobs.label_tally import LabelTally
from pipeline.records import LabelManifest


class Run:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.tally = LabelTally(clock=lambda: self.now_s)

    def commit(self, after_s: float, *, images: int = 10, actors: int = 1, **stages: float) -> None:
        self.now_s += after_s
        self.tally.count_actors(actors)
        forward_s = stages.get("forward", after_s)
        manifest = LabelManifest(
            "set", "s", "k", "0", 1, images, images, {}, forward_s, after_s, stages, batch_size=8
        )
        self.tally.committed(manifest)


def test_starting_up_is_not_in_the_rate() -> None:
    run = Run()
    run.now_s += 500
    run.tally.count_actors(0)
    run.tally.handed_out()
    for _ in range(5):
        run.commit(2.0)
    assert run.tally.wall_s == 10
    assert (run.tally.recent().images, run.tally.recent().seconds) == (50, 10)
    assert run.tally.whole().actor_s == 10


def test_the_rate_is_that_of_the_last_minutes() -> None:
    run = Run()
    run.tally.handed_out()
    for _ in range(1000):
        run.commit(2.0, actors=2, forward=1.0, decode=3.0)
    for _ in range(200):
        run.commit(1.0, actors=4, forward=0.5, decode=1.0)
    recent = run.tally.recent()
    assert recent.images / recent.seconds == pytest.approx(10)
    assert recent.seconds == pytest.approx(120, abs=2)
    assert recent.actor_s / recent.seconds == pytest.approx(4)
    assert recent.stages["forward"] / recent.seconds == pytest.approx(0.5)
    assert run.tally.whole().images == 12_000
    assert run.tally.forward_s == pytest.approx(1100)
    assert len(run.tally._readings) < 130


def test_a_run_that_stands_still_slows_down() -> None:
    run = Run()
    run.tally.handed_out()
    for _ in range(10):
        run.commit(2.0)
    usual = run.tally.recent()
    run.now_s += 3
    assert run.tally.recent() == usual, "between two commits nothing is wrong"
    run.now_s += 177
    assert run.tally.recent().seconds == 200


def test_slow_shards_are_judged_by_some_of_them_and_quick_ones_are_not_all_kept() -> None:
    slow = Run()
    slow.tally.handed_out()
    for _ in range(20):
        slow.commit(600.0)
    assert slow.tally.recent().images == 70
    quick = Run()
    quick.tally.handed_out()
    for _ in range(10_000):
        quick.commit(0.01)
    assert quick.tally.recent().images == 100_000
    assert len(quick.tally._readings) < 130


def test_the_smallest_batch_counts() -> None:
    run = Run()
    run.tally.handed_out()
    run.commit(1.0)
    run.tally.committed(LabelManifest("set", "s", "k", "0", 1, 1, 1, batch_size=4))
    run.commit(1.0)
    assert run.tally.batch_size == 4
    assert run.tally.stages["forward"] == 2.0

"""How fast a run is, from a clock that the test moves."""

import pytest

from jobs.training_pace import Pace, in_words


class Clock:
    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def test_rates_are_those_of_the_last_minute_and_means_those_since_asked() -> None:
    clock = Clock()
    pace = Pace(steps=1000, images=12, clock=clock)
    for step in range(501, 521):  # a run taken up again; slow at first
        clock.now_s += 10
        pace.step(step, {"loss": 8.0, "data_wait_share": 0.5})
    pace.progress({})
    for step in range(521, 641):
        clock.now_s += 0.5
        pace.step(step, {"loss": 2.0 if step % 2 else 4.0, "data_wait_share": 0.1})
    told = pace.progress({"learning_rate_encoder": 5e-6})
    assert (told["step"], told["steps"]) == (640, 1000)
    assert told["loss"] == pytest.approx(3.0)
    assert told["data_wait_share"] == pytest.approx(0.1)
    assert told["images_per_s"] == pytest.approx(24.0)
    assert told["seconds_left"] == pytest.approx(180.0)
    assert pace.progress({})["loss"] == told["loss"], "nothing new since"
    assert in_words({**told, "validation": 0.25}) == (
        "loss 3.0000, validation 0.2500, lr 5e-06, 24.0 images/s, 10% waiting for data"
    )


def test_one_step_has_no_rate() -> None:
    pace = Pace(steps=10, images=12)
    pace.step(1, {"loss": 1.5})
    told = pace.progress({})
    assert told["images_per_s"] is None
    assert told["seconds_left"] is None
    assert in_words(told) == "loss 1.5000"
    assert in_words({"step": 0}) == ""

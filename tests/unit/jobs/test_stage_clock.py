"""Seconds per stage: added up over threads, and of getting items, not of using them."""

import threading
import time

import pytest

from jobs.stage_clock import STAGES, StageClock


def test_seconds_of_threads_add_up() -> None:
    clock = StageClock()

    def work() -> None:
        for _ in range(1000):
            clock.add("decode", 0.5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.seconds() == dict.fromkeys(STAGES, 0.0) | {"decode": 2000.0}


def test_a_stage_that_fails_counts_too() -> None:
    clock = StageClock()
    with pytest.raises(ZeroDivisionError), clock.measure("read"):
        time.sleep(0.02)
        raise ZeroDivisionError
    assert clock.seconds()["read"] >= 0.02


def test_getting_items_is_measured_and_using_them_is_not() -> None:
    clock = StageClock()

    def items():
        for number in range(3):
            time.sleep(0.02)
            yield number

    found = []
    for item in clock.measured(items(), "read"):
        time.sleep(0.2)
        found.append(item)
    assert found == [0, 1, 2]
    assert 0.06 <= clock.seconds()["read"] < 0.6


def test_items_may_be_none() -> None:
    assert list(StageClock().measured([None, 0, None], "read")) == [None, 0, None]

"""Ctrl-C once, twice, three times."""

import os
import signal
import threading

import pytest

from jobs.interrupts import SIGNALS, STILL_STOPPING, STOPPING, calm_interrupts


@pytest.fixture(autouse=True)
def _python_handles_both(request: pytest.FixtureRequest) -> None:
    for number in SIGNALS:
        before = signal.signal(number, signal.default_int_handler)
        request.addfinalizer(lambda number=number, before=before: signal.signal(number, before))


@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_press_waits_and_the_third_does_not(number: signal.Signals) -> None:
    heard: list[str] = []
    with calm_interrupts(heard.append):
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert heard == [STOPPING, STILL_STOPPING]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_signal_in_the_middle_of_a_line_interrupts_all_the_same() -> None:
    def say(_: str) -> None:
        raise RuntimeError("reentrant call inside a buffered writer")

    with calm_interrupts(say), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with calm_interrupts(print):
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_another_thread_may_use_it_too() -> None:
    entered = threading.Event()

    def work() -> None:
        with calm_interrupts(print):
            entered.set()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered.is_set()

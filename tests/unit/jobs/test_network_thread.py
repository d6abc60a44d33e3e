"""The network's thread: one at a time, the lowest number first, and no error ends it."""

import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError

import pytest

from jobs.network_thread import NetworkThread


def threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def until(condition) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def held():
    """A network thread that is busy until the event is set."""
    network, gate = NetworkThread(), threading.Event()
    network.submit(0, gate.wait)
    yield network, gate
    gate.set()
    network.close()


def test_the_lowest_number_goes_first_and_equals_in_order(held) -> None:
    network, gate = held
    done: list[str] = []
    futures = [
        network.submit(priority, lambda name=name: done.append(name))
        for priority, name in ((7, "young a"), (3, "old a"), (7, "young b"), (3, "old b"))
    ]
    gate.set()
    for future in futures:
        future.result(10)
    assert done == ["old a", "old b", "young a", "young b"]


def test_all_work_is_done_in_one_thread_and_never_twice_at_once() -> None:
    network = NetworkThread(name="network-one")
    inside, seen = threading.Lock(), set()

    def work() -> None:
        assert inside.acquire(blocking=False)
        time.sleep(0.001)
        seen.add(threading.current_thread().name)
        inside.release()

    def submit_many() -> None:
        for future in [network.submit(1, work) for _ in range(20)]:
            future.result(10)

    callers = [threading.Thread(target=submit_many) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert seen == {"network-one"}
    network.close()


def test_an_error_reaches_its_caller_and_the_thread_goes_on() -> None:
    network = NetworkThread()

    def broken() -> None:
        raise ZeroDivisionError("this one")

    failing, fine = network.submit(1, broken), network.submit(1, lambda: 42)
    with pytest.raises(ZeroDivisionError, match="this one"):
        failing.result(10)
    assert fine.result(10) == 42
    network.close()


def test_what_a_failed_call_held_goes_with_its_error() -> None:
    class Activations:
        """Something large on a device."""

    network, held = NetworkThread(), []

    def out_of_memory() -> None:
        activations = Activations()
        held.append(weakref.ref(activations))
        raise MemoryError("full")

    gc.disable()  # a device's memory is not what makes Python look for garbage
    try:
        with pytest.raises(MemoryError, match="full") as caught:
            network.submit(1, out_of_memory).result(10)
        assert held[0]() is not None, "the traceback shows where it was"
        del caught
        assert until(lambda: held[0]() is None)
    finally:
        gc.enable()
        network.close()


def test_cancelled_work_is_never_begun(held) -> None:
    network, gate = held
    done: list[int] = []
    future = network.submit(1, lambda: done.append(1))
    assert future.cancel()
    gate.set()
    network.submit(2, lambda: None).result(10)
    assert done == []
    with pytest.raises(CancelledError):
        future.result()


def test_closing_ends_the_thread_after_what_is_queued() -> None:
    network = NetworkThread(name="network-closing")
    future = network.submit(5, lambda: 1)
    network.close()
    network.close()
    assert future.result(10) == 1
    assert until(lambda: not threads("network-closing"))
    with pytest.raises(RuntimeError, match="closed"):
        network.submit(1, lambda: 1)


def test_the_thread_ends_with_its_owner_and_keeps_nothing_alive() -> None:
    class Images:
        """Something large."""

    network, images = NetworkThread(name="network-owned"), Images()
    watched = weakref.ref(images)
    network.submit(1, lambda images=images: images).result(10)
    del images
    gc.collect()
    assert until(lambda: watched() is None)
    del network
    gc.collect()
    assert until(lambda: not threads("network-owned"))

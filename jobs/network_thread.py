"""The one thread that talks to the device: work is queued with a priority, the lowest number first.

One thread, because two that call torch on a CPU make two teams of OpenMP threads that fight for the
cores. Priorities, because with a fair lock two shards alternate and end together, and the device
runs dry at every pair of shards; where the older one always goes first and the younger fills the
gaps, one of them is in the middle whenever the other begins or ends.
"""

import itertools
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, order=True, slots=True)
class _Work:
    """One call, ordered by priority and then by arrival; without one it ends the thread."""

    priority: float
    arrival: int
    call: Callable[[], Any] | None = field(compare=False)
    future: "Future[Any]" = field(compare=False)


class NetworkThread:
    """Runs calls one at a time in a thread of its own; the thread ends with this object."""

    def __init__(self, *, name: str = "network") -> None:
        self._queue: queue.PriorityQueue[_Work] = queue.PriorityQueue()
        self._arrivals = itertools.count()
        last = _Work(float("inf"), -1, None, Future())
        self._close = weakref.finalize(self, self._queue.put, last)
        threading.Thread(target=_run, args=(self._queue,), name=name, daemon=True).start()

    def submit(self, priority: int, call: Callable[[], Result]) -> "Future[Result]":
        """Queue a call; what it raises is raised by the future.

        Raises:
            RuntimeError: The thread was closed.
        """
        if not self._close.alive:
            raise RuntimeError("the network's thread is closed")
        future: Future[Result] = Future()
        self._queue.put(_Work(priority, next(self._arrivals), call, future))
        return future

    def close(self) -> None:
        """End the thread after what is queued; a second time does nothing."""
        self._close()


def _run(waiting: "queue.PriorityQueue[_Work]") -> None:
    """Holds no reference to the object above, or neither would ever end."""
    while True:
        work = waiting.get()
        if work.call is None:
            return
        _do(work)
        del work  # its images must not stay while nothing is queued


def _do(work: _Work) -> None:
    assert work.call is not None
    if not work.future.set_running_or_notify_cancel():
        return
    try:
        result = work.call()
    except BaseException as error:  # handed to whoever waits, whatever it is
        work.future.set_exception(error)
        # The error holds this frame and, below it, all that the failed pass had on the device; if
        # this frame held the error's future, only a collection of garbage would free them.
        del work
    else:
        work.future.set_result(result)

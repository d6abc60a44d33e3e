"""Seconds per stage of one shard, added up over threads."""

import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

STAGES = ("read", "decode", "forward", "encode", "write")

Item = TypeVar("Item")


class StageClock:
    """Adds up; the stages overlap, so that their sum exceeds the time by the wall."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = dict.fromkeys(STAGES, 0.0)

    def add(self, stage: str, seconds: float) -> None:
        """Add to one of `STAGES`."""
        with self._lock:
            self._seconds[stage] += seconds

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time spent inside, by the wall."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def measured(self, items: Iterable[Item], stage: str) -> Generator[Item]:
        """The same items; the time it takes to get them is added, not that of their use."""
        iterator = iter(items)
        while True:
            with self.measure(stage):
                item = next(iterator, self)
            if item is self:
                return
            yield item  # type: ignore[misc]  # the sentinel has left

    def seconds(self) -> dict[str, float]:
        """A copy, in the order of `STAGES`."""
        with self._lock:
            return dict(self._seconds)

"""Run an iterator in a thread of its own, a few items ahead of whoever consumes it."""

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _End:
    """The iterator is exhausted, or it raised."""

    error: BaseException | None = None


def prefetched(items: Iterator[Item], *, depth: int) -> Generator[Item]:
    """Yield the same items in the same order; at most ``depth`` wait.

    An exception of ``items`` is raised where its item would have come. Closing this generator stops
    the thread, and closes ``items`` in it where they are a generator.
    """
    ready: queue.Queue[Item | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Item | _End) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            with closing(items) if isinstance(items, Generator) else nullcontext():
                for item in items:
                    put(item)
                    if stopped.is_set():
                        return
            put(_End())
        except BaseException as error:  # handed to the consumer, whatever it is
            put(_End(error))

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()

"""Do something to each item in threads, a bounded number ahead, and hand on the results in order.

For work that waits or releases the interpreter lock: reading, hashing, decoding.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int,
    weigh: Callable[[Item], int] = lambda item: 1,
    max_weight: int | None = None,
) -> Iterator[Result]:
    """Results of ``function`` in the order of the items.

    Args:
        function: What to do to one item.
        items: Taken one by one, in the thread of the caller.
        threads: How many work at once.
        ahead: At most so many items are taken before their turn.
        weigh: How much memory an item stands for.
        max_weight: No further item is taken while those ahead weigh more together; a single
            item may.

    Raises:
        Exception: What the function or the items raise, when its turn comes; threads stop.
    """
    waiting: deque[tuple[int, Future[Result]]] = deque()
    weight = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        try:
            for item in items:
                waiting.append((weigh(item), pool.submit(function, item)))
                weight += waiting[-1][0]
                while len(waiting) > ahead or (max_weight is not None and weight > max_weight):
                    done, future = waiting.popleft()
                    weight -= done
                    yield future.result()
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            for _, future in waiting:
                future.cancel()

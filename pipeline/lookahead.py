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
    together: int = 1,
    weigh: Callable[[Item], int] = lambda item: 1,
    max_weight: int | None = None,
) -> Iterator[Result]:
    """Results of ``function`` in the order of the items.

    Args:
        function: What to do to one item.
        items: Taken one by one, in the thread of the caller.
        threads: How many work at once.
        ahead: At most so many items are taken before their turn.
        together: So many small items are handed to a thread at once: where an item takes less
            than a millisecond, handing it over costs as much.
        weigh: How much memory an item stands for.
        max_weight: No further item is taken while those ahead weigh more together; a single
            item may.

    Raises:
        Exception: What the function raises, when its turn comes; what the items raise, at once.
    """
    limit = max_weight if max_weight is not None else ahead * 2
    waiting: deque[tuple[int, int, Future[list[Result]]]] = deque()
    count = weight = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        try:
            for group, heavy in _groups(items, together, weigh, limit // max(1, 2 * threads)):
                future = pool.submit(lambda group: [function(item) for item in group], group)
                waiting.append((len(group), heavy, future))
                count, weight = count + len(group), weight + heavy
                while waiting and (count > ahead or weight > limit):
                    done, heavy, future = waiting.popleft()
                    count, weight = count - done, weight - heavy
                    yield from future.result()
            while waiting:
                yield from waiting.popleft()[2].result()
        finally:
            for _, _, future in waiting:
                future.cancel()


def _groups(
    items: Iterable[Item], together: int, weigh: Callable[[Item], int], limit: int
) -> Iterator[tuple[list[Item], int]]:
    """Runs of items with their weight, cut where they are ``together`` or reach the limit."""
    group: list[Item] = []
    weight = 0
    for item in items:
        group.append(item)
        weight += weigh(item)
        if len(group) >= together or weight >= limit:
            yield group, weight
            group, weight = [], 0
    if group:
        yield group, weight

"""Reading ahead: same items, same order, errors where they belong, nothing left running."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from jobs.prefetch import prefetched


def test_same_items_in_the_same_order() -> None:
    assert list(prefetched(iter(range(100)), depth=3)) == list(range(100))


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise RuntimeError("broken")

    ahead = prefetched(items(), depth=3)
    assert next(ahead) == 1
    with pytest.raises(RuntimeError, match="broken"):
        next(ahead)


def test_no_more_than_the_depth_is_read_ahead() -> None:
    drawn: list[int] = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for item in itertools.count():
            drawn.append(item)
            if item >= 4:
                enough.set()
            yield item

    with closing(prefetched(items(), depth=3)) as ahead:
        assert next(ahead) == 0
        assert enough.wait(5)  # one consumed, three waiting, one in hand
        assert max(drawn) <= 5


def test_closing_stops_the_thread() -> None:
    ahead = prefetched(itertools.count(), depth=2)
    assert next(ahead) == 0
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]

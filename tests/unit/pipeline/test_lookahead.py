"""Results come in order, work is bounded, and faults come out."""

import threading
import time

import pytest

from pipeline.lookahead import map_ahead


@pytest.mark.parametrize("together", [1, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_results_come_in_the_order_of_the_items(count, together):
    def slow_first(item: int) -> int:
        time.sleep(0.002 if item % 7 == 0 else 0)
        return item * item

    results = map_ahead(slow_first, range(count), threads=4, ahead=8, together=together)
    assert list(results) == [item * item for item in range(count)]


def taken_before_first_result(**options: object) -> int:
    taken = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    results = map_ahead(lambda item: item, items(), threads=2, **options)
    next(results)
    results.close()
    return len(taken)


def test_no_more_than_ahead_are_taken():
    assert taken_before_first_result(ahead=5) == 6
    assert taken_before_first_result(ahead=20, together=4) == 24


def test_heavy_items_are_taken_one_by_one():
    heavy = taken_before_first_result(ahead=100, together=16, weigh=lambda item: 10, max_weight=25)
    assert heavy == 3
    assert taken_before_first_result(ahead=100, weigh=lambda item: 99, max_weight=25) == 1


def test_threads_work_at_once():
    barrier = threading.Barrier(3, timeout=10)
    results = map_ahead(lambda item: barrier.wait(), range(3), threads=3, ahead=3)
    assert sorted(results) == [0, 1, 2]


def test_a_fault_comes_out_when_its_turn_comes():
    def fail_at_3(item: int) -> int:
        if item == 3:
            raise LookupError("three")
        return item

    results = map_ahead(fail_at_3, range(10), threads=2, ahead=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match="three"):
        next(results)


def test_a_fault_of_the_items_comes_out():
    def items():
        yield 1
        raise LookupError("items")

    with pytest.raises(LookupError, match="items"):
        list(map_ahead(lambda item: item, items(), threads=2, ahead=4))


def test_closing_stops_the_threads():
    before = threading.active_count()
    results = map_ahead(lambda item: item, range(1000), threads=3, ahead=50)
    next(results)
    assert threading.active_count() > before
    results.close()
    assert threading.active_count() == before

"""Batches: one size each, in order, bounded, and a function of the items alone."""

import dataclasses
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.label_batches import (
    LOOK_AHEAD_BATCHES,
    BatchRoom,
    Prepared,
    batches_by_size,
    done_ahead,
)
from tests.factories import image_record

RECORD = image_record(0)
PIXELS = 4 * 3
SIZES = [(3, 4), (4, 3), (3, 3), (3, 7), (3, 40)]
ITEMS = st.lists(st.sampled_from([*SIZES, None]), max_size=80)


def item(place: int, size: tuple[int, int] | None) -> Prepared:
    image = None if size is None else np.zeros((*size, 3), np.uint8)
    return Prepared(place, RECORD, image, None if image is not None else "broken")


def items(sizes) -> list[Prepared]:
    return [item(place, size) for place, size in enumerate(sizes)]


@given(ITEMS, st.integers(1, 6))
def test_every_image_once_in_batches_of_one_size_that_fit(sizes, batch_size) -> None:
    room = BatchRoom(batch_size, image_pixels=PIXELS)
    batches = list(batches_by_size(items(sizes), room))
    assert sorted(each.place for batch in batches for each in batch) == list(range(len(sizes)))
    for batch in batches:
        places = [each.place for each in batch]
        assert places == sorted(places)
        assert len({each.size for each in batch}) == 1
        if batch[0].image_HWC is None:
            assert len(batch) == 1
        else:
            assert len(batch) <= room.images(batch[0].size)


@given(ITEMS, st.integers(1, 6))
def test_no_more_waits_than_the_look_ahead(sizes, batch_size) -> None:
    room = BatchRoom(batch_size, image_pixels=PIXELS)
    taken: list[int] = []
    pixels: dict[int, int] = {}

    def drawn() -> Iterator[Prepared]:
        for each in items(sizes):
            if each.image_HWC is not None:
                taken.append(each.place)
                pixels[each.place] = each.size[0] * each.size[1]
            yield each

    given_out: set[int] = set()
    for batch in batches_by_size(drawn(), room):
        waiting = [place for place in taken if place not in given_out]
        assert len(waiting) <= LOOK_AHEAD_BATCHES * batch_size + 1
        newest = pixels.get(taken[-1], 0) if taken else 0
        held = sum(pixels[place] for place in waiting)
        assert held <= room.pixels(LOOK_AHEAD_BATCHES) + newest
        given_out |= {each.place for each in batch}


def test_what_is_batched_is_said_here_once() -> None:
    room = BatchRoom(2, image_pixels=PIXELS)
    sizes = [(3, 4), (4, 3), (3, 4), None, (4, 3), (3, 3)]
    batches = [[each.place for each in batch] for batch in batches_by_size(items(sizes), room)]
    assert batches == [[0, 2], [3], [1, 4], [5]]


def test_where_too_much_waits_the_largest_group_goes_first() -> None:
    room = BatchRoom(3, image_pixels=10_000)
    sizes = [(3, k) for k in (4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 13, 14, 15)]  # 13 > 4 x 3
    first = next(batches_by_size(items(sizes), room))
    assert [each.place for each in first] == [4, 9]


def test_very_long_images_come_fewer_at_a_time() -> None:
    room = BatchRoom(8, image_pixels=518 * 686)
    assert room.images((518, 686)) == room.images((518, 518)) == room.images((518, 924)) == 8
    assert room.images((518, 1036)) == 7  # 2:1 of 518 is a little more than 1.5 times 4:3
    assert room.images((518, 4144)) == 1
    assert room.images((518, 100_000)) == 1


@pytest.mark.parametrize(("images", "expected"), [(8, 4), (5, 4), (4, 2), (3, 2), (2, 1)])
def test_room_shrinks_by_halves_until_the_batch_would_not_come_again(images, expected) -> None:
    room = BatchRoom(8, image_pixels=PIXELS)
    room.shrink(images, (3, 4))
    assert room.batch_size == expected
    assert room.images((3, 4)) < images


def test_a_batch_of_long_images_shrinks_no_further_than_needed() -> None:
    room = BatchRoom(8, image_pixels=PIXELS)
    assert room.images((3, 16)) == 3
    room.shrink(3, (3, 16))
    assert room.batch_size == 4
    room.shrink(1, (3, 16))
    assert room.batch_size == 1


def square(number: int) -> int:
    return number * number


def test_results_come_in_order_whoever_is_quicker() -> None:
    gate = threading.Event()

    def slow_first(number: int) -> int:
        if number == 0:
            assert gate.wait(10)
        elif number == 3:
            gate.set()
        return number

    with ThreadPoolExecutor(4) as pool:
        results = done_ahead(range(20), slow_first, pool, ahead=8, weigh=lambda _: 0, max_weight=1)
        assert list(results) == list(range(20))


@given(st.integers(1, 9), st.integers(1, 30), st.integers(0, 1000))
def test_no_more_is_ahead_than_asked_for_by_count_and_by_weight(ahead, max_weight, seed) -> None:
    weights = [random.Random(seed + k).randint(0, 12) for k in range(40)]
    drawn: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(40):
            drawn.append(number)
            yield number

    with ThreadPoolExecutor(1) as pool:
        results = done_ahead(
            numbers(),
            square,
            pool,
            ahead=ahead,
            weigh=lambda number: weights[number],
            max_weight=max_weight,
        )
        for number, result in enumerate(results):
            assert result == number * number
            under_way = [each for each in drawn if each > number]
            assert len(under_way) <= ahead
            before_last = sum(weights[each] for each in under_way[:-1])
            assert before_last <= max_weight


def test_an_error_comes_in_its_turn_and_cancels_what_has_not_begun() -> None:
    begun: list[int] = []

    def broken_at_two(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise RuntimeError("two")
        return number

    with ThreadPoolExecutor(1) as pool:
        results = done_ahead(
            range(100), broken_at_two, pool, ahead=50, weigh=lambda _: 0, max_weight=1
        )
        with closing(results):
            assert next(results) == 0
            assert next(results) == 1
            with pytest.raises(RuntimeError, match="two"):
                next(results)
    assert len(begun) < 100


def test_prepared_images_know_their_size() -> None:
    assert item(0, (3, 4)).size == (3, 4)
    assert item(0, None).size == (0, 0)
    assert dataclasses.replace(item(0, (3, 4)), image_HWC=None).size == (0, 0)

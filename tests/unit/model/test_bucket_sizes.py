"""Buckets: the nearest rung by brute force, and a bound on the distortion that is reached."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.bucket_sizes import BUCKET_RATIO, bucket_long_side, ladder, max_distortion
from model.preprocessing import Preprocessing, network_size

BUCKETS = Preprocessing(bucket_ratio=BUCKET_RATIO)


@given(st.integers(1, 6000), st.integers(1, 6000), st.sampled_from([1, 3, 8, 37, 38, 74]))
def test_the_rung_is_the_nearest_in_log_space(one, other, units):
    long, short = max(one, other), min(one, other)
    wanted = math.log(units * long / short)
    chosen = bucket_long_side(long, short, units=units)
    assert chosen in ladder(units)
    nearest = min(abs(math.log(rung) - wanted) for rung in ladder(units))
    assert abs(math.log(chosen) - wanted) <= nearest + 1e-12


def test_ties_go_to_the_shorter_side():
    assert ladder(4, 2.25)[:2] == (4, 9)  # 6 is as far from one as from the other
    assert bucket_long_side(3, 2, units=4, ratio=2.25) == 4
    assert bucket_long_side(3001, 2000, units=4, ratio=2.25) == 9


def all_sizes(largest, aspect=8):
    return (
        (height, width)
        for height in range(1, largest + 1)
        for width in range(1, largest + 1)
        if max(height, width) <= aspect * min(height, width)
    )


@pytest.mark.parametrize("side", [42, 112, 518])
def test_no_aspect_changes_by_more_than_the_bound_and_some_by_nearly_that(side):
    preprocessing = Preprocessing(side=side, bucket_ratio=BUCKET_RATIO)
    worst = 0.0
    for height, width in all_sizes(330):
        rows, columns = preprocessing.size_for(height, width)
        assert min(rows, columns) == side and rows % 14 == columns % 14 == 0
        worst = max(
            worst,
            abs((columns / rows) / (width / height) - 1),
            abs((rows / columns) / (height / width) - 1),
        )
    bound = preprocessing.max_distortion
    assert bound == max_distortion(side // 14)
    assert 0.98 * bound < worst <= bound * (1 + 1e-12)


def test_what_the_option_says_of_518_pixels():
    assert 0.037 < BUCKETS.max_distortion < 0.038
    sizes = list(all_sizes(400))
    assert len({BUCKETS.size_for(*size) for size in sizes}) == 73
    exact = {network_size(*size) for size in sizes}
    assert len(exact) == 519
    for width, height in ((1, 1), (4, 3), (3, 2), (16, 9), (2, 1), (8, 1)):
        rows, columns = BUCKETS.size_for(120 * height, 120 * width)
        assert abs(columns / rows / (width / height) - 1) < 0.01
        assert BUCKETS.size_for(120 * width, 120 * height) == (columns, rows)
    assert BUCKETS.size_for(480, 640) == network_size(480, 640)
    assert BUCKETS.size_for(1080, 1920) == network_size(1080, 1920)


def test_a_side_that_is_no_multiple_is_rounded_up_as_by_the_exact_rule():
    odd = Preprocessing(side=520, bucket_ratio=BUCKET_RATIO)
    assert odd.size_for(100, 100) == network_size(100, 100, side=520) == (532, 532)
    assert odd.max_distortion == max_distortion(38)


def test_without_buckets_nothing_is_distorted_on_purpose():
    assert Preprocessing().max_distortion is None


@pytest.mark.parametrize(
    ("rule", "wide"), [("minimal", None), ("stretch", 600), ("own_size", None)]
)
def test_other_rules_refuse_buckets_by_name(rule, wide):
    with pytest.raises(ValueError, match=rule):
        Preprocessing(rule=rule, wide=wide, bucket_ratio=BUCKET_RATIO)


@pytest.mark.parametrize("ratio", [1.0, 0.5, math.inf, math.nan])
def test_a_ladder_that_does_not_rise_is_refused(ratio):
    with pytest.raises(ValueError, match="ratio"):
        ladder(37, ratio)


def test_a_strip_is_still_refused():
    import numpy as np

    with pytest.raises(ValueError, match="more than 64,000,000 pixels"):
        BUCKETS.resize(np.zeros((1, 20_000, 3), np.uint8))


def test_the_ladder_reaches_any_strip():
    assert bucket_long_side(1 << 30, 1, units=37) == ladder(37)[-1]

"""Quality signals against counting by hand, closed forms and scipy."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from model.quality import flat_share, map_correlation, saturated_share
from model.quantisation import quantise_maps


def codes(*maps):
    return torch.tensor(maps, dtype=torch.int32)


def test_saturated_counts_both_ends():
    maps = codes([[0, 1, 4095], [65535, 65534, 0]], [[5, 6, 7], [8, 9, 10]])
    assert saturated_share(maps, bits=16).tolist() == [3 / 6, 0.0]
    assert saturated_share(maps, bits=12)[0].item() == 3 / 6  # 0, 4095, 0


def test_a_constant_map_is_saturated_and_flat_all_over():
    maps = quantise_maps(torch.full((1, 5, 6), 2.5)).codes_BHW
    assert saturated_share(maps, bits=16).item() == 1.0
    assert flat_share(maps).item() == 1.0


def test_flat_counts_pixels_that_have_both_neighbours():
    # of 2 x 2 pixels with both neighbours only the first equals them
    assert flat_share(codes([[1, 1, 2], [1, 2, 2], [3, 2, 4]])).tolist() == [2 / 4]


@pytest.mark.parametrize("size", [(1, 5), (5, 1), (1, 1)])
def test_a_map_without_such_pixels_is_not_flat(size):
    assert flat_share(torch.zeros((2, *size), dtype=torch.int32)).tolist() == [0.0, 0.0]


def test_flat_of_a_plane_and_of_a_ramp():
    maps = torch.zeros((2, 10, 20), dtype=torch.int32)
    maps[0, 5:] = 7  # a step: one row of 9 x 19 has another one below
    maps[1] = torch.arange(20)
    assert flat_share(maps).tolist() == [1 - 19 / (9 * 19), 0.0]


def test_flat_by_brute_force():
    maps = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (3, 6, 7), dtype=np.int32))
    for one, share in zip(maps.tolist(), flat_share(maps).tolist(), strict=True):
        counted = sum(
            one[i][j] == one[i][j + 1] == one[i + 1][j] for i in range(5) for j in range(6)
        )
        assert share == counted / 30


def test_correlation_is_that_of_scipy():
    rng = np.random.default_rng(2)
    one = rng.normal(size=(4, 30, 40)).astype(np.float32)
    other = (one + rng.normal(size=one.shape)).astype(np.float32)
    found = map_correlation(torch.from_numpy(one), torch.from_numpy(other)).tolist()
    for index in range(4):
        expected = scipy.stats.pearsonr(
            one[index].astype(np.float64).ravel(), other[index].astype(np.float64).ravel()
        )
        assert found[index] == pytest.approx(expected.statistic, abs=1e-12)


@pytest.mark.parametrize(("factor", "shift"), [(3.0, -7.0), (1e-6, 0.0), (1e30, 5.0)])
def test_correlation_knows_no_scale_and_shift(factor, shift):
    one = torch.rand(1, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert map_correlation(one, factor * one + shift).item() == pytest.approx(1, abs=1e-12)
    assert map_correlation(one, -factor * one + shift).item() == pytest.approx(-1, abs=1e-12)


def test_tiny_and_huge_maps_correlate_too():
    one = torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(0))
    assert map_correlation(one * 1e-38, one * 1e38).item() == pytest.approx(1, abs=1e-5)


def test_a_constant_has_no_correlation():
    one = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    other = one.clone()
    other[1] = 0.1  # no float32 sum of equal tenths is exact
    one[2] = 0.3
    found = map_correlation(one, other).tolist()
    assert found[0] == pytest.approx(1)
    assert math.isnan(found[1]) and math.isnan(found[2])


def test_a_map_that_is_not_finite_spoils_only_itself():
    one = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    other = one.clone()
    other[0, 0, 0] = torch.nan
    found = map_correlation(one, other).tolist()
    assert math.isnan(found[0])
    assert found[1] == pytest.approx(1)

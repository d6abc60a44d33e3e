"""Codes on the device against the codec of the data plane: the same bits, whatever the map."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.quantisation import quantise_maps
from pipeline.depth_codec import quantise

SHAPE = (7, 9)
_ramp = np.linspace(0, 1, 63, dtype=np.float32).reshape(SHAPE)
_noise = np.random.default_rng(0).normal(0, 3, SHAPE).astype(np.float32)
EDGES = {
    "constant": np.full(SHAPE, 3.25, np.float32),
    "constant zero": np.zeros(SHAPE, np.float32),
    "constant negative": np.full(SHAPE, -7.5, np.float32),
    "ramp": _ramp,
    "both signs": _noise,
    "negative": -1 - _ramp,
    "zero plane below": np.maximum(_noise, 0),
    "zero plane above": np.minimum(_noise, 0),
    "hardly negative": np.where(_ramp > 0, _ramp, np.float32(-1e-12)),
    "hardly positive": np.where(_ramp < 1, -1 + _ramp, np.float32(1e-12)),
    "huge": _noise * np.float32(1e37),
    "widest": np.where(_noise > 0, np.float32(3.4e38), np.float32(-3.4e38)),
    "tiny": _noise * np.float32(1e-38),
    "smallest step": np.where(_noise > 0, np.float32(1e-45), np.float32(0)),
    "smallest both signs": np.where(_noise > 0, np.float32(1e-45), np.float32(-1e-45)),
    "one ulp": np.where(_noise > 0, np.nextafter(np.float32(5), np.float32(6)), np.float32(5)),
    "far from zero": 1e6 + _noise,
    "two values": np.where(_noise > 0, np.float32(2), np.float32(1)),
    "exact halves": np.arange(63, dtype=np.float32).reshape(SHAPE) / 2,
}


def compare(values_BHW: np.ndarray, bits: int) -> None:
    maps = quantise_maps(torch.from_numpy(values_BHW), bits=bits)
    for index, values_HW in enumerate(values_BHW):
        expected = quantise(values_HW, bits=bits)
        assert maps.minimum_B[index].item() == expected.minimum
        assert maps.maximum_B[index].item() == expected.maximum
        np.testing.assert_array_equal(maps.codes_BHW[index].numpy(), expected.codes_HW)


@pytest.mark.parametrize("bits", [16, 12])
@pytest.mark.parametrize("name", EDGES)
def test_edges_are_those_of_the_codec(name, bits):
    compare(EDGES[name][None], bits)


@pytest.mark.parametrize("bits", [16, 12])
def test_a_batch_is_its_maps_alone(bits):
    compare(np.stack([*EDGES.values()]).astype(np.float32), bits)


@pytest.mark.parametrize("bits", [16, 12])
@given(
    values=arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
@settings(max_examples=150, deadline=None)
def test_any_finite_map_is_that_of_the_codec(bits, values):
    compare(values, bits)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1, 255, 1e4, 1e30])
def test_large_random_maps_are_those_of_the_codec(scale):
    rng = np.random.default_rng(1)
    for low in (-1.0, 0.0, 0.5):
        compare((rng.uniform(low, 1.0, (2, 140, 182)) * scale).astype(np.float32), 16)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_says_so_and_leaves_its_neighbours_alone(bad):
    values = np.stack([_noise, _noise, _ramp])
    values[1, 2, 3] = bad
    maps = quantise_maps(torch.from_numpy(values))
    finite = torch.isfinite(maps.minimum_B) & torch.isfinite(maps.maximum_B)
    assert finite.tolist() == [True, False, True]
    assert (maps.codes_BHW[1] == 0).all()
    for index in (0, 2):
        expected = quantise(values[index]).codes_HW
        np.testing.assert_array_equal(maps.codes_BHW[index].numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_given_is_not_changed(dtype):
    values = torch.from_numpy(_noise)[None].to(dtype)
    kept = values.clone()
    quantise_maps(values)
    assert torch.equal(values, kept)

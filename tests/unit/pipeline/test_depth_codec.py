"""The label codec: bounds, exact zeros, and bytes that are not what they should be."""

import dataclasses

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.depth_codec import (
    CODECS,
    QuantisedMap,
    decode_disparity,
    dequantise,
    encode,
    error_bound,
    quantise,
)
from pipeline.errors import ShardCorruptError
from pipeline.records import LabelRecord

MAPS = arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.floats(-1e6, 1e6, width=32),
)


def label(values: np.ndarray, *, bits: int = 16) -> LabelRecord:
    quantised = quantise(values, bits=bits)
    return LabelRecord(
        sample_id="s",
        sha256="0",
        status="labelled",
        codec=CODECS[bits],
        disparity=encode(quantised),
        minimum=quantised.minimum,
        maximum=quantised.maximum,
        height=values.shape[0],
        width=values.shape[1],
        geometry="disparity_affine_invariant",
    )


@pytest.mark.parametrize("bits", [16, 12])
@given(values=MAPS)
@settings(max_examples=150, deadline=None)
def test_no_value_moves_further_than_the_bound(bits: int, values: np.ndarray) -> None:
    quantised = quantise(values, bits=bits)
    bound = error_bound(quantised.minimum, quantised.maximum, bits=bits)
    error = np.abs(dequantise(quantised).astype(np.float64) - values.astype(np.float64))
    assert error.max() <= bound * (1 + 1e-9)


@pytest.mark.parametrize("bits", [16, 12])
@given(values=MAPS)
@settings(max_examples=100, deadline=None)
def test_exact_zero_stays_exact_zero(bits: int, values: np.ndarray) -> None:
    values = values.copy()
    values.flat[0] = 0.0
    assert dequantise(quantise(values, bits=bits)).flat[0] == 0.0


@given(values=MAPS)
@settings(max_examples=100, deadline=None)
def test_the_range_grows_by_less_than_two_steps(values: np.ndarray) -> None:
    quantised = quantise(values)
    span = float(values.max()) - float(values.min())
    assert quantised.maximum - quantised.minimum <= span * (1 + 2 / 65534) + 1e-12


def test_the_bound_of_sixteen_bits_is_half_a_step_of_the_range() -> None:
    assert error_bound(0.0, 65535.0) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("bits", [16, 12])
def test_jpeg_xl_keeps_every_code(bits: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, 20.0, (70, 98)).astype(np.float32)
    values[:20] = 0.0
    decoded = decode_disparity(label(values, bits=bits))
    np.testing.assert_array_equal(decoded, dequantise(quantise(values, bits=bits)))
    assert (decoded[:20] == 0).all()


def test_a_constant_map_comes_back_exactly() -> None:
    values = np.full((4, 5), 3.25, np.float32)
    np.testing.assert_array_equal(decode_disparity(label(values)), values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        quantise(np.array([[1.0, bad]], np.float32))


def test_wrong_bits_and_empty_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="12, 16"):
        quantise(np.ones((2, 2), np.float32), bits=8)
    with pytest.raises(ValueError, match="height x width"):
        quantise(np.ones((0, 2), np.float32))


def test_bytes_that_are_not_the_map_are_named() -> None:
    good = label(np.eye(5, dtype=np.float32))
    assert good.disparity is not None
    for change in (
        {"disparity": b"junk"},
        {"disparity": good.disparity[:20]},  # another error of the codec's
        {"height": 6},
        {"codec": "png"},
    ):
        with pytest.raises(ShardCorruptError, match="sample s"):
            decode_disparity(dataclasses.replace(good, **change))
    with pytest.raises(ValueError, match="quarantined"):
        decode_disparity(LabelRecord("s", "0", "quarantined", "truncated"))


@pytest.mark.parametrize("size", [(256, 256), (200, 131), (257, 256), (300, 518)])
def test_noise_of_16_bits_neither_kills_the_process_nor_changes(size):
    """With libjxl 0.11.2 at effort 1 the first two write beyond a buffer, within four tries."""
    codes = np.random.default_rng(0).integers(0, 1 << 16, size, dtype=np.uint16)
    for _ in range(4):
        written = encode(QuantisedMap(codes, 0.0, 1.0, 16))
    np.testing.assert_array_equal(imagecodecs.jpegxl_decode(written).reshape(size), codes)

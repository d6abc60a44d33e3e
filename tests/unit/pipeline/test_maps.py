"""Ground truth comes back bit by bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import ShardCorruptError
from pipeline.maps import decode_map, decode_mask, encode_map, encode_mask, truth_digest
from pipeline.records import Geometry, Truth

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=17)


@given(hnp.arrays(np.uint32, SHAPES))
def test_any_bit_pattern_comes_back(bits_HW):
    """Every float32 there is: denormals, infinities, negative zero, NaNs with a payload."""
    values_HW = bits_HW.view(np.float32)
    height, width = values_HW.shape
    back_HW = decode_map(encode_map(values_HW), height=height, width=width)
    assert back_HW.dtype == np.float32
    assert np.array_equal(back_HW.view(np.uint32), bits_HW)


@given(hnp.arrays(np.bool_, SHAPES))
def test_any_mask_comes_back(mask_HW):
    height, width = mask_HW.shape
    back_HW = decode_mask(encode_mask(mask_HW), height=height, width=width)
    assert back_HW.dtype == np.bool_ and np.array_equal(back_HW, mask_HW)


@given(st.integers(0, 2))
def test_memory_layout_does_not_matter(turns):
    values_HW = np.rot90(np.arange(12, dtype=np.float32).reshape(3, 4), turns)
    assert encode_map(values_HW) == encode_map(np.ascontiguousarray(values_HW))
    assert encode_map(np.asfortranarray(values_HW)) == encode_map(values_HW)


def test_smooth_depth_is_packed_and_may_be_written_to():
    depth_HW = np.linspace(1, 80, 240 * 320, dtype=np.float32).reshape(240, 320)
    packed = encode_map(depth_HW)
    assert len(packed) < 0.6 * depth_HW.nbytes
    back_HW = decode_map(packed, height=240, width=320)
    back_HW[0, 0] = 7
    assert back_HW[0, 0] == 7


def test_the_encoding_is_byte_planes_under_zstd():
    """Read without our code, so that nobody needs it: planes of bytes, then zstd."""
    import pyarrow as pa

    values_HW = np.array([[1.0, -2.5, np.nan]], np.float32)
    planes = pa.Codec("zstd").decompress(encode_map(values_HW), decompressed_size=12).to_pybytes()
    raw = bytes(planes[plane * 3 + pixel] for pixel in range(3) for plane in range(4))
    assert raw == values_HW.astype("<f4").tobytes()


@pytest.mark.parametrize("size", [(9, 10), (10, 9), (11, 10), (1, 1), (100, 100)])
def test_a_wrong_size_is_noticed(size):
    packed = encode_map(np.ones((10, 10), np.float32))
    with pytest.raises(ShardCorruptError):
        decode_map(packed, height=size[0], width=size[1])


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_broken_bytes_are_noticed(cut):
    packed = encode_map(np.random.default_rng(0).random((10, 10), np.float32))
    with pytest.raises(ShardCorruptError):
        decode_map(packed[:cut], height=10, width=10)
    with pytest.raises(ShardCorruptError):
        decode_mask(b"nonsense", height=10, width=10)


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 2)), np.zeros((2, 2, 1), np.float32), np.zeros((0, 2), np.float32)]
)
def test_what_is_no_map_is_refused(wrong):
    with pytest.raises(ValueError, match="not a float32 map"):
        encode_map(wrong)
    with pytest.raises(ValueError, match="not a mask"):
        encode_mask(wrong)


def test_digest_tells_ground_truth_apart():
    ones, twos = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    sky = np.zeros((2, 3), bool)
    truths = [
        Truth(ones, Geometry.DEPTH_METRIC),
        Truth(twos, Geometry.DEPTH_METRIC),
        Truth(ones, Geometry.DISPARITY_METRIC),
        Truth(ones.reshape(3, 2), Geometry.DEPTH_METRIC),
        Truth(ones, Geometry.DEPTH_METRIC, sky),
        Truth(ones, Geometry.DEPTH_METRIC, ~sky),
    ]
    digests = [truth_digest(truth) for truth in truths]
    assert len(set(digests)) == len(digests)
    assert truth_digest(Truth(ones.copy(), Geometry.DEPTH_METRIC)) == digests[0]

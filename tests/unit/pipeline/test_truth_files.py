"""Readers of ground truth files: round trips through other writers, and files that lie."""

import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.truth_files import (
    TruthFileError,
    read_npy,
    read_npz,
    read_pfm,
    read_pgm16,
    read_png8,
    read_png16,
)

RNG = np.random.default_rng(0)
MAP16 = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
MAP32 = RNG.normal(size=(5, 7)).astype(np.float32)


def png(pixels, mode=None) -> bytes:
    image = Image.fromarray(pixels) if mode is None else Image.fromarray(pixels).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def pfm(values, *, order="<", kind=b"Pf", end=b"\n") -> bytes:
    scale = b"-1.0" if order == "<" else b"1.0"
    height, width = values.shape
    head = end.join([kind, b"%d %d" % (width, height), scale]) + end
    return head + b"".join(struct.pack(f"{order}f", v) for row in values[::-1] for v in row)


def pgm(values, *, comment=b"", largest=65535) -> bytes:
    height, width = values.shape
    head = b"P5\n" + comment + b"%d %d\n%d\n" % (width, height, largest)
    return head + b"".join(struct.pack(">H", int(v)) for v in values.ravel())


def npy(array, **kwargs) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **kwargs)
    return buffer.getvalue()


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def refusal(read, data) -> str:
    with pytest.raises(TruthFileError) as caught:
        read(data)
    return caught.value.reason


def test_png_gives_the_stored_numbers():
    assert np.array_equal(read_png16(png(MAP16)), MAP16)
    small = MAP16.astype(np.uint8)
    assert np.array_equal(read_png8(png(small)), small)


def test_pictures_of_depth_are_no_depth():
    grey, colour = MAP16.astype(np.uint8), RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for pixels, mode in ((grey, None), (grey, "P"), (grey, "LA"), (grey, "1"), (colour, None)):
        assert refusal(read_png16, png(pixels, mode)) == "not_a_depth_map"
    for pixels, mode in ((MAP16, None), (grey, "P"), (grey, "LA"), (grey, "1"), (colour, None)):
        assert refusal(read_png8, png(pixels, mode)) == "not_a_depth_map"


def test_refusal_says_what_was_expected_and_found():
    with pytest.raises(TruthFileError, match=r"grey PNG of 16 bits expected, found palette of 8"):
        read_png16(png(MAP16.astype(np.uint8), "P"))


def test_png_that_is_none_or_ends_early():
    jpeg = io.BytesIO()
    Image.fromarray(MAP16.astype(np.uint8)).save(jpeg, "JPEG")
    assert refusal(read_png16, jpeg.getvalue()) == "corrupt_truth"
    whole = png(MAP16)
    for length in (0, 8, 20, 33, len(whole) // 2, len(whole) - 30):
        assert refusal(read_png16, whole[:length]) == "corrupt_truth"


def test_png_larger_than_allowed_is_refused_by_its_header():
    lie = bytearray(png(MAP16))
    lie[16:24] = struct.pack(">II", 300_000, 300_000)
    assert refusal(read_png16, bytes(lie)) == "corrupt_truth"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_pfm_is_bottom_up_in_either_byte_order(order, end):
    assert np.array_equal(read_pfm(pfm(MAP32, order=order, end=end)), MAP32)


def test_pfm_keeps_infinity_and_nan():
    values = np.array([[np.inf, -np.inf], [np.nan, 0]], np.float32)
    assert np.array_equal(read_pfm(pfm(values)), values, equal_nan=True)


def test_pfm_that_is_none():
    assert refusal(read_pfm, pfm(MAP32)[:-1]) == "corrupt_truth"
    assert refusal(read_pfm, pfm(MAP32) + b"\0") == "corrupt_truth"
    assert refusal(read_pfm, b"Pf\n99999 99999\n-1.0\n") == "corrupt_truth"
    assert refusal(read_pfm, b"Pf\n0 4\n-1.0\n") == "corrupt_truth"
    assert refusal(read_pfm, b"Pf\n1 1\n-+-\n1234") == "corrupt_truth"
    assert refusal(read_pfm, pfm(MAP32, kind=b"PF")) == "not_a_depth_map"
    assert refusal(read_pfm, png(MAP16)) == "corrupt_truth"


def test_pgm_is_big_endian():
    assert np.array_equal(read_pgm16(pgm(MAP16)), MAP16)
    assert np.array_equal(read_pgm16(pgm(MAP16, comment=b"# by hand\n")), MAP16)


def test_pgm_that_is_none():
    assert refusal(read_pgm16, pgm(MAP16)[:-1]) == "corrupt_truth"
    assert refusal(read_pgm16, pgm(MAP16, largest=int(MAP16.max()) - 1)) == "corrupt_truth"
    assert refusal(read_pgm16, b"P5\n7 5\n255\n" + bytes(35)) == "not_a_depth_map"
    assert refusal(read_pgm16, b"P2\n1 1\n65535\n12") == "not_a_depth_map"


def test_raw_kinect_pgm_is_recognised_by_its_byte_order():
    raw = RNG.integers(839, 2048, (20, 30)).astype(np.uint16)
    assert refusal(read_pgm16, pgm(raw.byteswap())) == "not_a_depth_map"
    assert np.array_equal(read_pgm16(pgm(raw)), raw)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", "<u2", "<i4"])
def test_npy_of_any_number(dtype):
    values = (MAP32 * 100).astype(dtype)
    assert np.array_equal(read_npy(npy(values)), values)
    assert np.array_equal(read_npy(npy(np.asfortranarray(values))), values)


def test_npy_loses_axes_of_length_one():
    for shape in ((5, 7, 1), (1, 5, 7), (1, 1, 5, 7, 1)):
        assert np.array_equal(read_npy(npy(MAP32.reshape(shape))), MAP32)
    assert read_npy(npy(MAP32[:1])).shape == (1, 7)
    assert read_npy(npy(MAP32[:, :1])).shape == (5, 1)


class Trap:
    """Tells whether it was unpickled."""

    sprung = False

    def __reduce__(self):
        return spring, ()


def spring():
    Trap.sprung = True


def test_nothing_is_unpickled():
    bomb = npy(np.array([[Trap()]], dtype=object), allow_pickle=True)
    assert refusal(read_npy, bomb) == "not_a_depth_map"
    assert not Trap.sprung


def test_npy_that_is_no_map():
    assert refusal(read_npy, npy(np.zeros((4, 5, 3), np.float32))) == "not_a_depth_map"
    assert refusal(read_npy, npy(np.zeros(7, np.float32))) == "not_a_depth_map"
    assert refusal(read_npy, npy(np.float32(1))) == "not_a_depth_map"
    assert refusal(read_npy, npy(np.zeros((2, 2), bool))) == "not_a_depth_map"
    assert refusal(read_npy, npy(np.zeros((2, 2), [("a", "f4")]))) == "not_a_depth_map"
    assert refusal(read_npy, npy(np.zeros((0, 5), np.float32))) == "corrupt_truth"
    assert refusal(read_npy, npy(MAP32)[:-1]) == "corrupt_truth"
    assert refusal(read_npy, b"\x00\x05\x16\x07 AppleDouble") == "corrupt_truth"


def test_npy_larger_than_it_is_long_is_refused_by_its_header():
    lie = npy(MAP32).replace(b"(5, 7), ", b"(9999, 9)")
    assert refusal(read_npy, lie) == "corrupt_truth"


def test_npz_holds_one_array():
    assert np.array_equal(read_npz(npz(arr_0=MAP32)), MAP32)
    assert refusal(read_npz, npz(a=MAP32, b=MAP32)) == "not_a_depth_map"
    assert refusal(read_npz, npz()) == "not_a_depth_map"
    assert refusal(read_npz, npz(a=MAP32)[:-10]) == "corrupt_truth"
    assert refusal(read_npz, npy(MAP32)) == "corrupt_truth"


def test_npz_with_something_else_inside():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "no array")
    assert refusal(read_npz, buffer.getvalue()) == "corrupt_truth"


READERS = {
    "png16": (read_png16, png(MAP16)),
    "png8": (read_png8, png(MAP16.astype(np.uint8))),
    "pfm": (read_pfm, pfm(MAP32)),
    "pgm": (read_pgm16, pgm(MAP16)),
    "npy": (read_npy, npy(MAP32)),
    "npz": (read_npz, npz(a=MAP32)),
}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_broken_files_give_a_map_or_a_refusal(name, data):
    read, whole = READERS[name]
    broken = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4)) if broken else 0):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert read(bytes(broken)).ndim == 2
    except TruthFileError as error:
        assert error.reason in ("corrupt_truth", "not_a_depth_map")

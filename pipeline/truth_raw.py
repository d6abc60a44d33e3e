"""Rows of bare floats as ground truth: Sintel's ``.dpt``, and ETH3D's files that have no header."""

import struct

import numpy as np

from pipeline.truth_decoding import TruthFiles
from pipeline.truth_files import Numbers, TruthFileError, raw_samples

DPT_TAG = 202021.25  # the bytes "PIEH": a file in another byte order does not begin like this


def read_dpt(data: bytes) -> Numbers:
    """Sintel's depth, float32 H x W.

    Little-endian: float32 tag 202021.25, int32 width, int32 height, float32 rows from the top
    (the format of its SDK and of Middlebury's ``.flo``, with one number per pixel).
    """
    if len(data) < 12 or struct.unpack("<f", data[:4])[0] != DPT_TAG:
        raise TruthFileError("corrupt_truth", "a .dpt file expected; none begins like this")
    width, height = struct.unpack("<ii", data[4:12])
    return raw_samples(data, 12, width, height, dtype="<f4")


def read_bare_floats(files: TruthFiles) -> Numbers:
    """ETH3D's depth, float32 H x W: little-endian rows and nothing else, as large as the image.

    The files are called .JPG like their images. What has no value is infinite.
    """
    if files.image_size is None:
        raise TruthFileError("not_a_depth_map", "the image's size is not known, the file has none")
    height, width = files.image_size
    data = files.parts[0]
    if data.startswith(b"\xff\xd8\xff") and len(data) != 4 * width * height:
        raise TruthFileError("not_a_depth_map", "this is a JPEG image, bare numbers are expected")
    return np.asarray(raw_samples(data, 0, width, height, dtype="<f4"))

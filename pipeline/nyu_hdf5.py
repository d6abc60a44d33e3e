"""Files that hold pictures and depth at once: NYU Depth v2 as ``.mat`` and as ``.h5``.

The pictures are bare pixels there and become PNG, which loses nothing; so `sha256` is of the PNG
that Pillow made and not of bytes that the authors distribute. One picture at a time is in memory.
"""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.truth_decoding import Inner
from pipeline.truth_files import TruthFileError, as_map, check_size
from pipeline.truth_hdf5 import FAULTS, check_chunks, inner_dataset, open_hdf5


def labelled_mat(file: BinaryIO, *, depths: str) -> Iterator[Inner]:
    """The 1,449 pairs of ``nyu_depth_v2_labeled.mat``, numbered from one like its split lists.

    A MATLAB 7.3 file is HDF5 with axes in reverse: ``images (N, 3, W, H)`` uint8 and a map
    ``(N, W, H)`` in metres. ``depths`` are filled in, ``rawDepths`` are as measured, both at the
    pixels of the picture.

    Raises:
        TruthFileError: It is no such file.
    """
    try:
        with open_hdf5(file) as opened:
            images, maps = inner_dataset(opened, "images"), inner_dataset(opened, depths)
            _check_stacks(images, maps)
            for i in range(images.shape[0]):
                image_HWC = np.asarray(images[i]).transpose(2, 1, 0)
                yield Inner(f"{i + 1:05}.png", _png(image_HWC), np.asarray(maps[i]).T)
    except FAULTS as error:
        raise TruthFileError("corrupt_truth", f"a MATLAB 7.3 file expected: {error}") from error


def rgb_and_depth(file: BinaryIO) -> Iterator[Inner]:
    """The only pair of a FastDepth ``.h5``: ``rgb (3, H, W)`` uint8, ``depth (H, W)`` in metres.

    Raises:
        TruthFileError: It is no such file.
    """
    try:
        with open_hdf5(file) as opened:
            image, depth = inner_dataset(opened, "rgb"), inner_dataset(opened, "depth")
            if image.ndim != 3 or image.shape[0] != 3 or image.shape[1:] != depth.shape:
                raise _other(f"rgb {image.shape} and depth {depth.shape} are no pair")
            check_size(image.shape[2], image.shape[1])
            check_chunks(image, depth)
            image_HWC, values = np.asarray(image[()]).transpose(1, 2, 0), np.asarray(depth[()])
    except FAULTS as error:
        raise TruthFileError("corrupt_truth", f"an HDF5 file expected: {error}") from error
    yield Inner("rgb.png", _png(image_HWC), as_map(values))


def _check_stacks(images: Any, maps: Any) -> None:
    fits = images.ndim == 4 and images.shape[1] == 3
    if not fits or (images.shape[0], *images.shape[2:]) != maps.shape:
        raise _other(f"images {images.shape} and maps {maps.shape} are no pairs (N, 3, W, H)")
    check_size(images.shape[2], images.shape[3])
    check_chunks(images, maps)


def _png(image_HWC: NDArray[np.generic]) -> bytes:
    if image_HWC.dtype != np.uint8:
        raise _other(f"pixels of 8 bits expected, found {image_HWC.dtype}")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_HWC)).save(buffer, "PNG")
    return buffer.getvalue()


def _other(detail: str) -> TruthFileError:
    return TruthFileError("not_a_depth_map", detail)

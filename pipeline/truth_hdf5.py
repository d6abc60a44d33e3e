"""Maps in HDF5 files: MegaDepth, Hypersim.

The library is native code: a crafted file may crash the process, so such files are read where that
is survived. What a file says is looked at before anything of that size is read, and it may not send
the reader to other files (external links, external storage, virtual data sets).
"""

import io
import math
from typing import Any, BinaryIO

import numpy as np

from pipeline.images import MAX_PIXELS
from pipeline.optional import needs
from pipeline.truth_files import Numbers, TruthFileError, as_map

FAULTS = (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError, MemoryError)
MAX_CHUNK_BYTES = 64 << 20


def read_hdf5(data: bytes, *, name: str) -> Numbers:
    """The map H x W in the data set ``name`` of an HDF5 file.

    Raises:
        TruthFileError: It is no such file, or there is no such map in it.
        SourceError: h5py is not installed.
    """
    try:
        with open_hdf5(io.BytesIO(data)) as file:
            dataset = inner_dataset(file, name)
            if math.prod(dataset.shape) > MAX_PIXELS:
                raise TruthFileError("corrupt_truth", f"{dataset.shape} is no size of a map")
            check_chunks(dataset)
            values = np.asarray(dataset[()])
    except FAULTS as error:
        raise TruthFileError("corrupt_truth", f"an HDF5 file expected: {error}") from error
    return as_map(values)


def open_hdf5(file: str | BinaryIO) -> Any:
    """The file, open for reading; use it in a ``with`` block."""
    return needs("h5py", "HDF5 files").File(file, "r")


def inner_dataset(file: Any, name: str) -> Any:
    """A data set whose numbers are in the file itself.

    Raises:
        TruthFileError: There is none of that name.
    """
    h5py = needs("h5py", "HDF5 files")
    link = file.get(name, getlink=True)
    if link is None:
        there = ", ".join(sorted(file)[:5]) or "nothing"
        raise TruthFileError("not_a_depth_map", f"no data set {name!r} in it; there is {there}")
    found = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise TruthFileError("corrupt_truth", f"{name!r} has no numbers in the file itself")
    if found.dtype.kind not in "fiu":
        raise TruthFileError("not_a_depth_map", f"{name!r} has {found.dtype}, not numbers")
    return found


def check_chunks(*datasets: Any) -> None:
    """Refuse what has to be unpacked in pieces that would fill the memory."""
    for dataset in datasets:
        chunk = math.prod(dataset.chunks or (1,)) * dataset.dtype.itemsize
        if chunk > MAX_CHUNK_BYTES:
            detail = f"chunks of {dataset.chunks} {dataset.dtype} are too large to be read"
            raise TruthFileError("corrupt_truth", detail)

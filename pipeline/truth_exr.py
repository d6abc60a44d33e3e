"""Maps in OpenEXR files: IRS.

The library is native code: a crafted file may crash the process, so such files are read where that
is survived. The size is read from the header before any pixel.
"""

import io
from typing import Any

import numpy as np

from pipeline.optional import needs
from pipeline.truth_files import Numbers, TruthFileError, as_map, check_size

MAX_CHANNELS = 8  # all are unpacked
_FAULTS = (OSError, RuntimeError, ValueError, TypeError, LookupError, OverflowError, MemoryError)


def read_exr(data: bytes) -> Numbers:
    """The channel G of an EXR file, or the only one there is; float32 or float16 H x W.

    IRS keeps disparity as one channel named G; copies that went through image libraries have it
    three times.

    Raises:
        TruthFileError: It is no such file, or has several channels and none is G.
        SourceError: OpenEXR is not installed.
    """
    library = needs("OpenEXR", "EXR files")
    try:
        header = _opened(library, data, header_only=True).header()
        if len(header["channels"]) > MAX_CHANNELS:
            raise TruthFileError("not_a_depth_map", f"{len(header['channels'])} channels")
        low, high = header["dataWindow"]
        check_size(int(high[0]) - int(low[0]) + 1, int(high[1]) - int(low[1]) + 1)
        channels = _opened(library, data, header_only=False).channels()
        name = "G" if "G" in channels else next(iter(channels), "")
        if len(channels) != 1 and name != "G":
            found = ", ".join(sorted(channels)[:5]) or "none"
            raise TruthFileError("not_a_depth_map", f"one channel or G expected, found {found}")
        return as_map(np.asarray(channels[name].pixels))
    except _FAULTS as error:
        raise TruthFileError("corrupt_truth", f"an EXR file expected: {error}") from error


def _opened(library: Any, data: bytes, *, header_only: bool) -> Any:
    return library.File(
        io.BytesIO(data), separate_channels=True, header_only=header_only, num_threads=0
    )

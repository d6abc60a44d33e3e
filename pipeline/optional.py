"""Libraries that only some data sets need: video, HDF5, LMDB, EXR, 7z.

They are the extra ``[sources]`` of the package and are imported when something needs them, so that
everything else works without.
"""

from importlib import import_module
from typing import Any

from pipeline.errors import SourceError

INSTALL = "pip install 'pseudo-label-factory[sources]'"


def needs(module: str, what: str) -> Any:
    """An optional library, imported.

    Args:
        module: Its import name, for example ``h5py``.
        what: What it is needed for, in words: ``LMDB data sets``.

    Raises:
        SourceError: It is not installed, or cannot be loaded.
    """
    try:
        return import_module(module)
    except ImportError as error:
        message = f"{what} need the library {module}, which cannot be loaded here ({error})"
        raise SourceError(f"{message}: {INSTALL}") from error

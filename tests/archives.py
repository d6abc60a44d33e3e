"""Archives of files that are given by name, in memory."""

import io
import tarfile
import zipfile
from collections.abc import Mapping


def tar(
    files: Mapping[str, bytes], mode: str = "w", *, format_: int = tarfile.DEFAULT_FORMAT
) -> bytes:
    """A tar, or a compressed one by the mode of `tarfile`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format_) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()

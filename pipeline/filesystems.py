"""File systems: the only place that builds them, and that turns their errors into ordinary ones.

Whatever a vendor's library raises leaves this package as FileNotFoundError, FileExistsError,
PermissionError or StorageError. Credentials come from the environment; passwords and signatures
inside a URL are used, but never shown.
"""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from pipeline.errors import StorageError


def is_local(uri: str) -> bool:
    """Whether a URI is a path of this machine."""
    return uri.startswith(("file://", "local://")) or ("://" not in uri and "::" not in uri)


def local_file(uri: str) -> Path:
    """The absolute path of a local URI; links are not resolved."""
    path = uri.removeprefix("file://").removeprefix("local://")
    return Path(os.path.abspath(os.path.expanduser(path)))


def public_uri(uri: str) -> str:
    """The absolute path or URL without what might be a credential: user and password, web query."""
    if is_local(uri):
        return str(local_file(uri))
    without_user = re.sub(r"(?<=://)[^/@\s]*:[^/@\s]*@", "", uri)
    return re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", without_user)


def checked_address(uri: str) -> str:
    """The absolute path or URL of a folder.

    Raises:
        ValueError: Nothing here reads URLs of that kind.
    """
    if is_local(uri):
        return str(local_file(uri))
    scheme = uri.partition("::")[0].partition("://")[0]
    if scheme not in {*fsspec.available_protocols(), *fsspec.registry}:
        raise ValueError(f"{public_uri(uri)}: no file system is known for {scheme}://")
    return uri.rstrip("/")


def filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it."""
    with ordinary_errors(public_uri(uri)):
        # A listing kept in memory would hide what other processes write.
        fs, path = fsspec.core.url_to_fs(uri, use_listings_cache=False)
    return fs, str(path)


def checked_file(file: Any, what: str, *, buffer_bytes: int) -> BinaryIO:
    """A buffered file whose faults while reading are ordinary errors that say ``what`` it is."""
    return io.BufferedReader(_CheckedFile(file, what), buffer_bytes)


@contextmanager
def ordinary_errors(what: str) -> Iterator[None]:
    """Turn what vendors raise into ordinary errors that name the object and hide credentials."""
    try:
        yield
    except StorageError:
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise FileNotFoundError(f"no {what}") from error
    except FileExistsError as error:
        raise FileExistsError(f"there already is {what}") from error
    except PermissionError as error:
        raise PermissionError(f"no permission for {what}: {_scrubbed(error)}") from error
    except ImportError as error:
        raise StorageError(f"{what} needs a package that is not installed: {error}") from error
    except Exception as error:  # vendors share no base class; the cause is kept
        raise StorageError(f"{what}: {type(error).__name__}: {_scrubbed(error)}") from error


class _CheckedFile(io.RawIOBase):
    """A raw file whose faults are StorageErrors."""

    def __init__(self, file: Any, what: str) -> None:
        self._file = file
        self._what = what

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, buffer: Any) -> int:
        with ordinary_errors(self._what):
            return int(self._file.readinto(buffer) or 0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))  # a wrong place is the caller's fault

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _scrubbed(error: BaseException) -> str:
    """The error's text without user:password@ and query strings (which carry signatures)."""
    text = re.sub(r"//[^/\s@]+@", "//", str(error))
    return re.sub(r"\?\S*=\S*", "?…", text)

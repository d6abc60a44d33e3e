"""File systems: the only place that builds them, and that turns their errors into ordinary ones.

Whatever a vendor's library raises leaves this package as FileNotFoundError, FileExistsError,
PermissionError, StorageError or, where there is no room, StoreFullError. Credentials come from the
environment; passwords and signatures inside a URL are used, but never shown.
"""

import errno
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from pipeline.errors import StorageError, StoreFullError

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0  # without a single byte
# Of one request, with pauses that double up to 20 s: about half a minute against a server that
# refuses. AWS_MAX_ATTEMPTS says otherwise.
REQUEST_TRIES = 6

_FULL = {errno.ENOSPC, errno.EDQUOT}
# Of Ceph, MinIO and what WebDAV left behind.
_FULL_CODES = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"}
_INSUFFICIENT_STORAGE = 507


def is_local(uri: str) -> bool:
    """Whether a URI is a path of this machine; in an absolute one "::" is part of a name."""
    if uri.startswith(("/", "file://", "local://")):
        return True
    return "://" not in uri and "::" not in uri


def local_path(uri: str) -> str:
    """The absolute path of a local URI; links are not resolved."""
    path = uri.removeprefix("file://").removeprefix("local://")
    return os.path.abspath(os.path.expanduser(path))


def local_file(uri: str) -> Path:
    """The same as a Path, which takes ten times as long to make."""
    return Path(local_path(uri))


def public_uri(uri: str) -> str:
    """The absolute path or URL without what might be a credential: user and password, web query."""
    if is_local(uri):
        return local_path(uri)
    without_user = re.sub(r"(?<=://)[^/@\s]*:[^/@\s]*@", "", uri)
    return re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", without_user)


def public_address(uri: str) -> str | None:
    """A URL as `public_uri` has it; None for a path of this machine, which means nothing elsewhere.

    Paths also name people and folders that nobody meant to publish.
    """
    return None if is_local(uri) else public_uri(uri)


def checked_address(uri: str) -> str:
    """The absolute path or URL of a folder.

    Raises:
        ValueError: Nothing here reads URLs of that kind.
    """
    if is_local(uri):
        return local_path(uri)
    scheme = uri.partition("::")[0].partition("://")[0]
    if scheme not in {*fsspec.available_protocols(), *fsspec.registry}:
        raise ValueError(f"{public_uri(uri)}: no file system is known for {scheme}://")
    return uri.rstrip("/")


def filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        StorageError: It cannot be had, or there are credentials where S3 has none: its client would
            take them for a part of the bucket's name, and name it in every error.
    """
    if re.search(r"\bs3a?://[^/]*@", uri):
        where = "the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, …)"
        raise StorageError(f"{public_uri(uri)}: S3 takes credentials from {where}, not from a URL")
    with ordinary_errors(public_uri(uri)):
        # A listing kept in memory would hide what other processes write.
        fs, path = fsspec.core.url_to_fs(uri, use_listings_cache=False, **_s3_options(uri))
        _repeat_once_only(fs)
    return fs, str(path)


def _s3_options(uri: str) -> dict[str, Any]:
    """Timeouts and tries for the S3 file systems that a URL names; the user's own settings win."""
    retries: dict[str, Any] = {"mode": "standard"}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = REQUEST_TRIES
    ours: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "retries": retries,
    }
    named = [scheme for scheme in ("s3", "s3a") if f"{scheme}://" in uri]
    theirs = {scheme: fsspec.config.conf.get(scheme, {}) for scheme in named}
    return {
        scheme: {"config_kwargs": ours | theirs[scheme].get("config_kwargs", {})}
        for scheme in named
    }


def _repeat_once_only(fs: Any) -> None:
    """Keep s3fs from repeating what botocore has repeated; see `remote_files`."""
    while fs is not None:
        if "s3" in fs.protocol:
            fs.retries = 1
        fs = getattr(fs, "fs", None)


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
        kind = StoreFullError if _is_full(error) else StorageError
        raise kind(f"{what}: {type(error).__name__}: {_scrubbed(error)}") from error


def service_answer(error: BaseException | None) -> Mapping[str, Any]:
    """What an S3 service said that an error was made of; empty where none did."""
    while error is not None:
        answer = getattr(error, "response", None)
        if isinstance(answer, Mapping):
            return answer
        error = error.__cause__
    return {}


def service_code(error: BaseException) -> str:
    """The S3 service's own name of an error; empty where there is none."""
    return str(service_answer(error).get("Error", {}).get("Code", ""))


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    status = service_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    status = status or getattr(error, "status", None)  # of aiohttp
    return status == _INSUFFICIENT_STORAGE or service_code(error) in _FULL_CODES


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

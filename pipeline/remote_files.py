"""Objects behind a URL: each request bounded in time, tried again where that is safe, never short.

Patience is in two places that do not multiply. botocore repeats a single request that was not
answered, or with 5xx or "slow down" (`filesystems` says how often, and switches off the two loops
that s3fs puts around it: 5 x 5 x 5 tries, hours, otherwise). This module repeats what botocore no
longer sees: a body that breaks off, stalls, drips or is short, an upload whose parts are gone; and
for file systems without patience of their own, connections that failed.

Writing an object twice is harmless, except that an exclusive second try meets the first one's
object when only the answer to it was lost. Equal bytes are then what was asked for. That is looked
at whenever an object is in the way: a second try may be nobody's here, because aiohttp silently
repeats a PUT whose connection had been used before and was closed.
"""

import io
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pipeline.filesystems import service_code

Result = TypeVar("Result")

TRIES = 5
FIRST_PAUSE_S = 0.25  # then four times as long each time
GIVE_UP_S = 300.0  # nothing is tried again after that
SILENT_S = 120.0  # allowed to a request besides its bytes
SLOWEST_BYTES_PER_S = 256 << 10
COMPARED_BYTES = 8 << 20
IN_ONE_REQUEST_BYTES = 50 << 20  # larger objects are fetched in several at a time

# By name, because the libraries they come from are optional.
_BROKEN_OFF = {
    "AioReadTimeoutError",
    "ClientConnectionError",
    "ClientPayloadError",
    "FlexibleChecksumError",
    "IncompleteRead",
    "IncompleteReadError",
    "ResponseParserError",
    "ResponseStreamingError",
}
_PASSING_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "OperationAborted",
    "XAmzContentSHA256Mismatch",
}
_PASSING_STATUS = {429, 500, 502, 503, 504}


class BrokenOffError(OSError):
    """An answer that is shorter than what was asked for, or an upload that has to begin again."""


def persistent(action: Callable[[], Result]) -> Result:
    """Do something that may be done twice; again after faults that pass, for a bounded time."""
    until = time.monotonic() + GIVE_UP_S
    for number in range(TRIES - 1):
        pause_s = FIRST_PAUSE_S * 4**number * random.uniform(0.5, 1.0)
        try:
            return action()
        except Exception as error:
            if not is_passing(error) or time.monotonic() + pause_s > until:
                raise
        time.sleep(pause_s)
    return action()


def is_passing(error: BaseException) -> bool:
    """Whether the same again may succeed, and nobody below has tried that yet."""
    if isinstance(error, (BrokenOffError, ConnectionError, TimeoutError)):
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status", None)  # of aiohttp
    return bool(
        names & _BROKEN_OFF or service_code(error) in _PASSING_CODES or status in _PASSING_STATUS
    )


def describe(fs: Any, path: str) -> dict[str, Any]:
    """What the file system knows of an object (size, type, tag …)."""
    return persistent(lambda: dict(fs.info(path, **_in_time(fs))))


def is_object(fs: Any, path: str) -> bool | None:
    """Whether there is an object of that name; False for a folder, None for neither.

    Not ``fs.isfile``: that takes a network that is gone for an object that is gone.
    """
    try:
        return str(describe(fs, path)["type"]) == "file"
    except FileNotFoundError:
        return None


def read(fs: Any, path: str) -> bytes:
    """A whole object, as many bytes as the store says that it has."""
    size = int(describe(fs, path)["size"])
    if size <= IN_ONE_REQUEST_BYTES:
        return read_span(fs, path, 0, size)

    def once() -> bytes:
        return _checked(bytes(fs.cat_file(path, **_in_time(fs, size))), size)

    return persistent(once)


def read_span(fs: Any, path: str, start: int, end: int) -> bytes:
    """Exactly the bytes from ``start`` to ``end``, which the object must have."""
    if start == end:
        return b""

    def once() -> bytes:
        data = fs.cat_file(path, start=start, end=end, **_in_time(fs, end - start))
        return _checked(bytes(data), end - start)

    return persistent(once)


def read_up_to(fs: Any, path: str, start: int, end: int) -> bytes:
    """The bytes from ``start`` to ``end``, fewer where the object ends before.

    Whether it does is asked at once when an answer is short: only a broken one is tried again.
    """
    if start == end:
        return b""

    def once() -> bytes:
        try:
            data = bytes(fs.cat_file(path, start=start, end=end, **_in_time(fs, end - start)))
        except Exception as error:
            if not _is_beyond_end(error):
                raise
            data = b""
        size = None if len(data) == end - start else describe(fs, path).get("size")
        return _checked(data, end - start if size is None else max(0, min(end, int(size)) - start))

    return persistent(once)


def put(fs: Any, path: str, data: bytes, *, exclusive: bool) -> None:
    """Write an object at once.

    Raises:
        FileExistsError: ``exclusive``, and one with other bytes is there.
    """
    _write(
        lambda **mode: fs.pipe_file(path, data, **mode, **_in_time(fs, len(data))),
        is_there=lambda: is_object(fs, path) is not None,
        is_ours=lambda: _is_same(fs, path, io.BytesIO(data), len(data)),
        exclusive=exclusive,
    )


def upload(fs: Any, path: str, file: Path, *, exclusive: bool) -> None:
    """Write a finished file of this machine as an object, in parts where it is large.

    Raises:
        FileExistsError: As for `put`.
    """
    size = file.stat().st_size

    def is_ours() -> bool:
        with file.open("rb") as reading:
            return _is_same(fs, path, reading, size)

    _write(
        lambda **mode: fs.put_file(str(file), path, **mode, **_in_time(fs, size)),
        is_there=lambda: is_object(fs, path) is not None,
        is_ours=is_ours,
        exclusive=exclusive,
    )


def download(fs: Any, path: str, file: Path) -> None:
    """Copy an object to a file of this machine, which is whole unless this raises."""
    size = int(describe(fs, path)["size"])

    def once() -> None:
        fs.get_file(path, str(file), **_in_time(fs, size))
        if file.stat().st_size != size:
            raise BrokenOffError(f"{file.stat().st_size} bytes came of {size}")

    persistent(once)


def list_below(fs: Any, path: str) -> list[str]:
    """The paths of all objects below a folder; as long as it takes, page by page."""
    return persistent(lambda: [str(found) for found in fs.find(path)])


def remove(fs: Any, path: str) -> None:
    """Remove an object; one that is gone already may be a FileNotFoundError."""
    persistent(lambda: fs.rm_file(path, **_in_time(fs)))


def exact_reads(file: Any) -> Callable[[int, int], bytes]:
    """How `ranged_file` reads an open file, which goes on refusing one that was changed."""

    def fetch(start: int, end: int) -> bytes:
        def once() -> bytes:
            file.seek(start)
            return _checked(bytes(file.read(end - start)), end - start)

        return persistent(once)

    return fetch


def _write(
    write: Callable[..., object],
    *,
    is_there: Callable[[], bool],
    is_ours: Callable[[], bool],
    exclusive: bool,
) -> None:
    """Write until it is certain; ``is_ours`` decides where an answer was lost."""
    mode = {"mode": "create"} if exclusive else {}

    def once() -> None:
        try:
            write(**mode)
        except FileExistsError:
            if not is_ours():
                raise
        except FileNotFoundError as error:
            # An upload in parts that was finished is unknown when it is told to finish again.
            if service_code(error) != "NoSuchUpload":
                raise
            if not is_ours():
                raise BrokenOffError("the parts of the upload are gone") from error
        except NotImplementedError:  # no exclusive creation here: ask first, which is no fence
            if is_there():
                raise FileExistsError("asked before writing") from None
            persistent(write)

    persistent(once)


def _is_same(fs: Any, path: str, content: Any, size: int) -> bool:
    try:
        if int(describe(fs, path)["size"]) != size:
            return False
        for start in range(0, size, COMPARED_BYTES):
            end = min(size, start + COMPARED_BYTES)
            if read_span(fs, path, start, end) != content.read(end - start):
                return False
    except FileNotFoundError:
        return False
    return True


def _checked(data: bytes, size: int) -> bytes:
    if len(data) > size:
        raise OSError(f"{len(data)} bytes came of {size}: ranges of bytes are not understood there")
    if len(data) < size:
        raise BrokenOffError(f"{len(data)} bytes came of {size}")
    return data


def _is_beyond_end(error: BaseException) -> bool:
    """Whether a range was refused because the object ends before it begins."""
    return service_code(error) == "InvalidRange" or getattr(error, "status", None) == 416


def _in_time(fs: Any, size: int = 0) -> dict[str, float]:
    """A limit in time, for file systems that take one: also a dripping answer comes to an end."""
    if not getattr(fs, "async_impl", False):
        return {}
    return {"timeout": SILENT_S + size / SLOWEST_BYTES_PER_S}

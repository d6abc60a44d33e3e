"""A file read in requests of exact length, a little ahead of what is asked for.

In place of fsspec's own readers, whose caches take a short answer for the end of the file.
"""

import io
from collections.abc import Callable
from typing import Any, BinaryIO, cast


def ranged_file(
    fetch: Callable[[int, int], bytes],
    *,
    size: int,
    ahead: int,
    close: Callable[[], object] = lambda: None,
) -> io.RawIOBase:
    """A raw file for reading anywhere.

    Args:
        fetch: Gives the bytes from ``start`` to ``end`` of the file, all of them or an error.
        size: Bytes of the file.
        ahead: How many more bytes a request asks for than were wanted.
        close: Called once, when the file is closed.
    """
    return _RangedFile(fetch, size=size, ahead=ahead, close=close)


def window(stream: BinaryIO, start: int, length: int) -> BinaryIO:
    """A stretch of an open file as a file of its own; closing it leaves the file open."""

    def fetch(begin: int, end: int) -> bytes:
        stream.seek(start + begin)
        return stream.read(end - begin)

    return cast(BinaryIO, io.BufferedReader(ranged_file(fetch, size=length, ahead=0)))


class _RangedFile(io.RawIOBase):
    """Holds the last request's bytes."""

    def __init__(
        self,
        fetch: Callable[[int, int], bytes],
        *,
        size: int,
        ahead: int,
        close: Callable[[], object],
    ) -> None:
        self._fetch = fetch
        self._size = size
        self._ahead = ahead
        self._close = close
        self._place = 0
        self._held, self._held_from = memoryview(b""), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._place)
        if wanted <= 0:
            return 0
        if not self._held_from <= self._place < self._held_from + len(self._held):
            self._get(wanted)
        start = self._place - self._held_from
        found = self._held[start : start + wanted]
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)

    def _get(self, wanted: int) -> None:
        end = min(self._size, self._place + wanted + self._ahead)
        self._held = memoryview(self._fetch(self._place, end))
        self._held_from = self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        place = offset + (0, self._place, self._size)[whence]
        if place < 0:
            raise ValueError(f"there is nothing at {place}, before the file")
        self._place = place
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        if not self.closed:
            self._held = memoryview(b"")
            self._close()
        super().close()

"""A digest that follows a file as it grows, so that what was written is not all read again later.

What was just written is still in memory, and reading it through a small buffer costs a tenth of
hashing it. The disk is told to begin at once, too: flushing a shard of 300 MB at its end would hold
up everything for as long as the disk takes.
"""

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

BUFFER_BYTES = 1 << 20


class FollowedFile:
    """The sha256 of a file to which somebody appends, taken in a thread; to be closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="followed-file")
        self._following: list[Future[None]] = []

    def follow(self) -> None:
        """Begin to hash what was appended since the last time; the disk begins to write it."""
        self._following.append(self._thread.submit(self._follow))

    def finish(self) -> tuple[int, str]:
        """Follow to the end; size and digest of the whole file."""
        self.follow()
        for each in self._following:
            each.result()
        return self._bytes, self._digest.hexdigest()

    def close(self) -> None:
        """Give the file back."""
        self._thread.shutdown(cancel_futures=True)
        self._file.close()

    def _follow(self) -> None:
        buffer, start = memoryview(bytearray(BUFFER_BYTES)), self._bytes
        while count := self._file.readinto(buffer):
            self._digest.update(buffer[:count])
            self._bytes += count
        if hasattr(os, "posix_fadvise"):  # dirty pages are not forgotten, but written
            length = self._bytes - start
            os.posix_fadvise(self._file.fileno(), start, length, os.POSIX_FADV_DONTNEED)

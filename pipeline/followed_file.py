"""A digest that follows a file as it grows, so that what was written is not all read again later.

What was just written is still in memory, and reading it through a small buffer costs a tenth of
hashing it. The disk is told to begin at once, too: flushing a shard of 300 MB at its end would hold
up everything for as long as the disk takes.
"""

import hashlib
import os
from pathlib import Path

BUFFER_BYTES = 1 << 20


class FollowedFile:
    """The sha256 of a file to which somebody appends, and its size so far; to be closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._digest = hashlib.sha256()
        self.bytes = 0

    def follow(self) -> None:
        """Hash what was appended since the last time, and have the disk begin to write it."""
        buffer, start = memoryview(bytearray(BUFFER_BYTES)), self.bytes
        while count := self._file.readinto(buffer):
            self._digest.update(buffer[:count])
            self.bytes += count
        if hasattr(os, "posix_fadvise"):  # dirty pages are not forgotten, but written
            length = self.bytes - start
            os.posix_fadvise(self._file.fileno(), start, length, os.POSIX_FADV_DONTNEED)

    def hexdigest(self) -> str:
        """Of all that was followed."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

"""Bytes that wait on disk, in a temporary file without a name, so that memory holds only places.

The file is emptied whenever nothing waits any more: of an archive in which images and ground truth
alternate, it never holds more than a few.
"""

import tempfile
from dataclasses import dataclass

from pipeline.errors import StorageError


@dataclass(frozen=True, slots=True)
class Spooled:
    """Where bytes wait."""

    start: int
    length: int


class Spool:
    """Use in a ``with`` block; for one thread."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="factory-")  # noqa: SIM115  # closed on exit
        self._end = 0
        self._waiting = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def put(self, data: bytes) -> Spooled:
        """Let bytes wait.

        Raises:
            StorageError: The disk of temporary files is full.
        """
        place = Spooled(self._end, len(data))
        try:
            self._file.seek(self._end)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            where = tempfile.gettempdir()
            message = f"{where} has no room for files that wait for their partners (set TMPDIR)"
            raise StorageError(f"{message}: {error}") from error
        self._end += len(data)
        self._waiting += 1
        return place

    def get(self, place: Spooled) -> bytes:
        """Bytes that wait, which go on waiting."""
        self._file.seek(place.start)
        return self._file.read(place.length)

    def take(self, place: Spooled) -> bytes:
        """Bytes that need not wait any more."""
        data = self.get(place)
        self.drop(place)
        return data

    def drop(self, place: Spooled) -> None:
        """Forget bytes."""
        self._waiting -= 1
        if not self._waiting:
            self._file.truncate(0)
            self._end = 0

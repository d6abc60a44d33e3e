"""Records on disk in partitions, for what does not fit into memory: added in blocks, read in parts.

What belongs together goes into the same partition, by a hash of its key; then each is worked on by
itself. Memory is that of one partition and of the block that is being added; the disk holds all.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PARTITIONS = 256  # each is an open file
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio (Knuth 6.4): spreads keys alike


class Partitioned:
    """Records of one NumPy type, in the order in which they were added to each partition.

    Use it in a ``with`` block: what is on disk is removed at its end.

    Args:
        folder: Where scratch files may lie.
        dtype: Of the records.
        count: Of partitions, at most `MAX_PARTITIONS`.
    """

    def __init__(self, folder: Path, dtype: np.dtype[Any], count: int) -> None:
        name = uuid.uuid4().hex
        self._dtype = dtype
        self._paths = [folder / f"{name}-{number:03d}.part" for number in range(count)]
        self._files = [path.open("wb") for path in self._paths]

    def __enter__(self) -> "Partitioned":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file, path in zip(self._files, self._paths, strict=True):
            file.close()
            path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._files)

    def add(self, records: NDArray[Any], partitions: NDArray[np.intp]) -> None:
        """Add a block of records, each to its partition."""
        if len(self._files) == 1:
            self._files[0].write(np.ascontiguousarray(records).view(np.uint8).data)
            return
        order = np.argsort(partitions, kind="stable")
        ends = np.cumsum(np.bincount(partitions, minlength=len(self._files)))
        for file, part in zip(self._files, np.split(records[order], ends[:-1]), strict=True):
            if len(part):
                file.write(np.ascontiguousarray(part).view(np.uint8).data)

    def as_zeros(self, length: int) -> NDArray[Any]:
        """All of the first partition as zeros that can be changed in place, on disk."""
        self._files[0].truncate(max(1, length) * self._dtype.itemsize)
        zeros: NDArray[Any] = np.memmap(self._paths[0], self._dtype, "r+", shape=(max(1, length),))
        return zeros

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Each partition, whole; may be asked for again and again."""
        for file, path in zip(self._files, self._paths, strict=True):
            file.flush()
            yield np.fromfile(path, self._dtype)


def partitions_for(records: int, *, record_bytes: int, memory_bytes: int) -> int:
    """How many partitions keep each within that much memory, if keys are spread alike."""
    return int(min(MAX_PARTITIONS, max(1, -(-records * record_bytes // memory_bytes))))


def spread(keys: NDArray[np.uint64], count: int) -> NDArray[np.intp]:
    """The partition of each key: the same for equal ones, spread alike for any others."""
    with np.errstate(over="ignore"):
        mixed = (keys * _MIX) >> np.uint64(40)
    return (mixed % np.uint64(count)).astype(np.intp)

"""The checkpoints of a run: whole or not there, the newest and the best kept.

A checkpoint is an object and a small JSON beside it that is put last and says which object it is,
how large, its digest, the step and the score. Only what has its JSON counts, so an upload that
broke off never looks finished; an object that is not what its JSON says is passed over for the one
before. Each attempt at a step is an object of its own: a process that was taken for dead and
writes on can spoil nobody's checkpoint.

Written to a scratch file first and hashed on the way, so that the state is never twice in memory;
a bucket gets it in parts. The scratch file of a remote store needs room in the machine's temporary
folder.
"""

import hashlib
import json
import math
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from pipeline.errors import ShardCorruptError
from pipeline.filesystems import ordinary_errors
from pipeline.storage import Store

BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class CheckpointEntry:
    """What is known of a checkpoint that counts.

    Attributes:
        step: Optimiser steps done.
        key: The object.
        bytes: Its size.
        sha256: Its digest.
        score: Lower is better; None where nothing was measured.
    """

    step: int
    key: str
    bytes: int
    sha256: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints below a prefix of the store."""

    store: Store
    prefix: str

    def write(
        self, step: int, state: dict[str, Any], *, score: float | None = None
    ) -> CheckpointEntry:
        """Put a checkpoint; it counts when this returns.

        ``state`` holds tensors, numbers, text and containers of them. Lower scores are better; one
        that is not finite counts as none.

        Raises:
            StoreFullError: There is no room; the checkpoints before are as they were.
        """
        key = f"{self.prefix}/{step:09d}-{secrets.token_hex(4)}.pt"
        scratch = self.store.scratch_file()
        try:
            with ordinary_errors(f"{key} in {self.store.uri}"):
                size, digest = _save(state, scratch)
            self.store.put_file(scratch, key)
        finally:
            scratch.unlink(missing_ok=True)
        finite = score if score is not None and math.isfinite(score) else None
        entry = CheckpointEntry(step, key, size, digest, finite)
        self.store.put(self._entry_key(step), json.dumps(asdict(entry), indent=2).encode())
        return entry

    def entries(self) -> list[CheckpointEntry]:
        """All that count, oldest first."""
        found = (self._entry(key) for key in self.store.list(self.prefix) if _is_entry(key))
        return [entry for entry in found if entry is not None]

    def best(self) -> CheckpointEntry | None:
        """That of the lowest score, the earlier of two; None where none has a score."""
        return _best(self.entries())

    def load(self, entry: CheckpointEntry) -> dict[str, Any]:
        """The state, on the CPU; nothing in it is unpickled as code.

        Raises:
            FileNotFoundError: The object is gone.
            ShardCorruptError: The object is not what its entry says.
        """
        path = self.store.local_path(entry.key)
        if path is not None:
            with path.open("rb") as reading:
                _check(entry, _Digest.of(reading))
            return _load(path)
        scratch = self.store.scratch_file()
        try:
            with self.store.open(entry.key) as reading, scratch.open("wb") as writing:
                _check(entry, _Digest.of(reading, copy_to=writing))
            return _load(scratch)
        finally:
            scratch.unlink(missing_ok=True)

    def newest(self, note: Callable[[str], None] = lambda _: None) -> dict[str, Any] | None:
        """The state of the newest checkpoint that is whole; others are noted and passed over."""
        for entry in reversed(self.entries()):
            try:
                return self.load(entry)
            except (FileNotFoundError, ShardCorruptError) as error:
                note(f"checkpoint of step {entry.step} is passed over: {error}")
        return None

    def keep(self, newest: int, *, step: int) -> None:
        """Remove all but the newest ones up to ``step`` and the best, and what broke off.

        Those of later steps were passed over when the run went on from an earlier one.
        """
        entries = self.entries()
        reached = [entry for entry in entries if entry.step <= step]
        kept = {*reached[-newest:], _best(reached)}
        for entry in entries:
            if entry not in kept:  # first what makes it count
                self.store.delete(self._entry_key(entry.step))
        objects = {entry.key for entry in kept if entry is not None}
        for key in list(self.store.list(self.prefix)):
            if key.endswith(".pt") and key not in objects:
                self.store.delete(key)

    def _entry_key(self, step: int) -> str:
        return f"{self.prefix}/{step:09d}.json"

    def _entry(self, key: str) -> CheckpointEntry | None:
        try:
            return CheckpointEntry(**json.loads(self.store.get(key)))
        except (FileNotFoundError, ValueError, TypeError):  # removed meanwhile, or damaged
            return None


def _best(entries: Iterable[CheckpointEntry]) -> CheckpointEntry | None:
    scored = [(entry.score, entry) for entry in entries if entry.score is not None]
    return min(scored, key=lambda pair: pair[0])[1] if scored else None


@dataclass(slots=True)
class _Digest:
    """Size and digest of what was read or written."""

    bytes: int = 0
    sha256: str = ""

    @classmethod
    def of(cls, reading: BinaryIO, *, copy_to: BinaryIO | None = None) -> "_Digest":
        hashing, size = hashlib.sha256(), 0
        for block in _blocks(reading):
            hashing.update(block)
            size += len(block)
            if copy_to is not None:
                copy_to.write(block)
        return cls(size, hashing.hexdigest())


class _HashingFile:
    """Hashes what is written through it; enough of a file for ``torch.save``, which only appends.

    A full disk is kept for `_save` to raise: torch turns it into a RuntimeError without a number.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hashing = hashlib.sha256()
        self.size = 0
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Append."""
        try:
            written = self._file.write(data)
        except OSError as error:
            self.failure = error
            raise
        self.hashing.update(data)
        self.size += written
        return written

    def flush(self) -> None:
        """Hand everything to the system."""
        self._file.flush()


def _save(state: dict[str, Any], path: Path) -> tuple[int, str]:
    with path.open("wb") as file:
        hashing = _HashingFile(file)
        try:
            torch.save(state, hashing)  # type: ignore[arg-type]
        except Exception:
            if hashing.failure is not None:
                raise hashing.failure from None
            raise
        return hashing.size, hashing.hashing.hexdigest()


def _load(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _check(entry: CheckpointEntry, found: _Digest) -> None:
    if (found.bytes, found.sha256) != (entry.bytes, entry.sha256):
        raise ShardCorruptError(
            f"{entry.key} has {found.bytes} bytes with digest {found.sha256[:12]}, "
            f"but was written with {entry.bytes} and {entry.sha256[:12]}"
        )


def _blocks(reading: BinaryIO) -> Iterator[bytes]:
    while block := reading.read(BLOCK_BYTES):
        yield block


def _is_entry(key: str) -> bool:
    return key.endswith(".json")

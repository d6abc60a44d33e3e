"""The store: objects under keys, in a folder or behind any fsspec URL.

Objects are built whole, then put at once. An exception inside ``with fs.open(path, "wb")`` commits
half an object on S3, so no writable file is ever handed out. Local objects are written under a
temporary name, flushed to disk and renamed: a reader sees all of it or nothing.
"""

import hashlib
import io
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pipeline import remote_files
from pipeline.filesystems import (
    checked_address,
    checked_file,
    filesystem,
    is_local,
    ordinary_errors,
    public_uri,
)
from pipeline.identity import check_name
from pipeline.local_files import TEMPORARY, copy_whole, keys_below, publish, remove_if_old
from pipeline.ranged_file import ranged_file
from pipeline.raw_files import open_uri, read_range

__all__ = [
    "Store",
    "dropped_key",
    "image_shard_key",
    "label_shard_key",
    "model_prefix",
    "open_uri",
    "read_range",
    "run_prefix",
    "source_prefix",
]

READ_AHEAD_BYTES = 1 << 20
# What file systems call size, time of writing and tag of an object.
_IDENTITY = ("size", "mtime", "created", "LastModified", "last_modified", "updated", "ETag", "etag")
# Buckets have no folders to make, and making one there would create a misspelt bucket.
_BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci"}


def image_shard_key(source: str, shard_id: str) -> str:
    """Where an image shard lies."""
    return f"sources/{check_name(source)}/{check_name(shard_id)}.parquet"


def source_prefix(source: str) -> str:
    """The folder of a source."""
    return f"sources/{check_name(source)}"


def dropped_key(source: str, shard_id: str) -> str:
    """Where it is written what was refused beside an image shard, and why."""
    return f"sources/{check_name(source)}/dropped/{check_name(shard_id)}.parquet"


def label_shard_key(label_set: str, shard_id: str, attempt: str) -> str:
    """Where one attempt at labelling an image shard lies."""
    folder = f"labels/{check_name(label_set)}/{check_name(shard_id)}"
    return f"{folder}/{check_name(attempt)}.parquet"


def model_prefix(name: str) -> str:
    """The folder of a model."""
    return f"models/{check_name(name)}"


def run_prefix(run: str) -> str:
    """The folder of a run: resolved configuration, metrics, report."""
    return f"runs/{check_name(run)}"


class Store:
    """Objects under keys, below one local folder or fsspec URL; cheap to build and to pickle.

    Keys are relative paths with ``/``; one that could leave the store is a ValueError.

    Raises:
        ValueError: Nothing here reads URLs of that kind.
    """

    __slots__ = ("_address", "_open")

    def __init__(self, uri: str) -> None:
        self._address = checked_address(uri)
        self._open: tuple[int, Any, str] | None = None

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self._address,)

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and other._address == self._address

    def __hash__(self) -> int:
        return hash(self._address)

    @property
    def uri(self) -> str:
        """The absolute path or URL, without credentials."""
        return public_uri(self._address)

    @property
    def is_local(self) -> bool:
        """Whether this is a folder of this machine."""
        return is_local(self._address)

    def put(self, key: str, data: bytes | memoryview, *, exclusive: bool = False) -> None:
        """Write one whole object.

        Raises:
            FileExistsError: ``exclusive``, and there is an object under that key; a remote one
                with the same bytes may be ours, from a try whose answer was lost, and will do.
                Stores that do not know exclusive creation are asked first, which is not a fence.
            StoreFullError: There is no room, or the quota is used up.
        """
        _check_key(key)
        with self._errors(key):
            if self.is_local:
                with self._local_scratch() as path:
                    path.write_bytes(data)
                    publish(path, Path(self._address) / key, exclusive=exclusive)
            else:
                fs, target = self._path(key)
                _make_parent(fs, target)
                remote_files.put(fs, target, bytes(data), exclusive=exclusive)

    def put_file(self, path: Path, key: str, *, exclusive: bool = False) -> None:
        """Make a finished file of this machine an object; the file may be gone afterwards.

        Raises:
            FileExistsError: As for `put`; the file stays.
        """
        _check_key(key)
        with self._errors(key):
            if self.is_local:
                publish(path, Path(self._address) / key, exclusive=exclusive)
            else:
                fs, target = self._path(key)
                _make_parent(fs, target)
                remote_files.upload(fs, target, path, exclusive=exclusive)

    def scratch_file(self) -> Path:
        """A new empty file to build an object in: on the store's own disk, where it has one.

        Whoever asks for it removes it. What a killed process leaves behind is never listed.
        """
        if not self.is_local:
            descriptor, name = tempfile.mkstemp(prefix="factory-")
            os.close(descriptor)
            return Path(name)
        with self._errors("a scratch file"):
            Path(self._address).mkdir(parents=True, exist_ok=True)
            path = Path(self._address) / f"{TEMPORARY}{uuid.uuid4().hex}"
            path.touch(exist_ok=False)
        return path

    def remove_leftovers(self, *, older_s: float = 86_400.0) -> int:
        """Remove scratch files that nobody has written to for so long; returns how many."""
        if not self.is_local:
            return 0
        paths = Path(self._address).glob(f"{TEMPORARY}*")
        return sum(remove_if_old(path, older_s=older_s) for path in paths)

    def get(self, key: str) -> bytes:
        """The whole object."""
        _check_key(key)
        with self._errors(key):
            if self.is_local:
                return (Path(self._address) / key).read_bytes()
            fs, path = self._path(key)
            return remote_files.read(fs, path)

    def open(self, key: str) -> BinaryIO:
        """A file for reading anywhere in the object; the caller closes it."""
        _check_key(key)
        with self._errors(key):
            if self.is_local:
                raw: Any = (Path(self._address) / key).open("rb", buffering=0)
            else:
                raw = _remote_file(*self._path(key))
        return checked_file(raw, f"{key} in {self.uri}", buffer_bytes=io.DEFAULT_BUFFER_SIZE)

    def size(self, key: str) -> int:
        """Bytes of the object."""
        _check_key(key)
        with self._errors(key):
            if self.is_local:
                return (Path(self._address) / key).stat().st_size
            fs, path = self._path(key)
            return int(remote_files.describe(fs, path)["size"])

    def fingerprint(self, key: str) -> str:
        """Hex digest over names, sizes, times and tags of what lies there; no content is read."""
        facts = []
        for each in [key] if self.is_file(key) else self.list(key):
            with self._errors(each):
                fs, path = self._path(each)
                known = remote_files.describe(fs, path)
            facts.append([each, *(str(known.get(name)) for name in _IDENTITY)])
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def exists(self, key: str) -> bool:
        """Whether there is an object, or a folder with objects, of that name."""
        _check_key(key)
        with self._errors(key):
            if self.is_local:
                return (Path(self._address) / key).exists()
            fs, path = self._path(key)
            return remote_files.is_object(fs, path) is not None

    def is_file(self, key: str) -> bool:
        """Whether there is an object of exactly that name."""
        _check_key(key)
        with self._errors(key):
            if self.is_local:
                return (Path(self._address) / key).is_file()
            fs, path = self._path(key)
            return remote_files.is_object(fs, path) is True

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys of all objects below the folder ``prefix``, sorted; none without such a folder."""
        if prefix:
            _check_key(prefix)
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        with self._errors(prefix):
            if self.is_local:
                keys = list(keys_below(Path(self._address), prefix))
            else:
                fs, path = self._path(prefix)
                skip = len(self._filesystem()[1].rstrip("/")) + 1
                keys = [found[skip:] for found in remote_files.list_below(fs, path)]
        yield from sorted(key for key in keys if key.startswith(start) and not key.endswith("/"))

    def delete(self, key: str) -> None:
        """Remove one object; that it is not there any more is no error."""
        _check_key(key)
        try:
            with self._errors(key):
                if self.is_local:
                    (Path(self._address) / key).unlink(missing_ok=True)
                else:
                    fs, path = self._path(key)
                    remote_files.remove(fs, path)
        except FileNotFoundError:
            return

    def put_folder(self, folder: Path, prefix: str) -> None:
        """Write each file below a local folder as ``prefix/<its path>``; every file is whole."""
        _check_key(prefix)
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            key = f"{prefix.rstrip('/')}/{file.relative_to(folder).as_posix()}"
            with self._errors(key):
                if self.is_local:
                    copy_whole(file, Path(self._address) / key)
                else:
                    fs, path = self._path(key)
                    _make_parent(fs, path)
                    remote_files.upload(fs, path, file, exclusive=False)

    def get_folder(self, prefix: str, folder: Path) -> None:
        """Bring all objects below ``prefix`` into a local folder.

        Raises:
            FileNotFoundError: There are none.
        """
        keys = list(self.list(prefix))
        if not keys:
            raise FileNotFoundError(f"nothing under {prefix} in {self.uri}")
        for key in keys:
            target = folder / key.removeprefix(f"{prefix.rstrip('/')}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._errors(key):
                if self.is_local:
                    copy_whole(Path(self._address) / key, target)
                else:
                    fs, path = self._path(key)
                    remote_files.download(fs, path, target)

    def local_path(self, key: str) -> Path | None:
        """Where the object lies on this machine, to be read in place; None in a remote store."""
        if key:
            _check_key(key)
        return Path(self._address) / key if self.is_local else None

    @contextmanager
    def _local_scratch(self) -> Iterator[Path]:
        path = self.scratch_file()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _filesystem(self) -> tuple[Any, str]:
        # One client per process: sharing it across a fork is what fsspec forbids.
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), *filesystem(self._address))
        return self._open[1], self._open[2]

    def _path(self, key: str) -> tuple[Any, str]:
        fs, root = self._filesystem()
        return fs, f"{root.rstrip('/')}/{key}".rstrip("/")

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        with ordinary_errors(f"{key} in {self.uri}"):
            yield


def _check_key(key: str) -> None:
    parts = key.split("/")
    if not key.isprintable() or "\\" in key or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{key!r} is no key: use a relative path with '/', without '.' and '..'")


def _remote_file(fs: Any, path: str) -> Any:
    known = remote_files.describe(fs, path)
    if known["type"] != "file":
        raise FileNotFoundError(path)

    def fetch(start: int, end: int) -> bytes:
        return remote_files.read_span(fs, path, start, end)

    return ranged_file(fetch, size=int(known["size"]), ahead=READ_AHEAD_BYTES)


def _make_parent(fs: Any, path: str) -> None:
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if not protocols & _BUCKETS:
        fs.makedirs(fs._parent(path), exist_ok=True)

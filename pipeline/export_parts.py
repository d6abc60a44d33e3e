"""A folder that is being exported into: parts written whole, and the manifest that says it is done.

A part is what was made of one image shard. Its name comes from everything that decides its bytes,
so that the next run keeps what a killed one has finished, and an export can be brought up to date.
`MANIFEST` is removed first and written last: where it is, everything it names is there and nothing
else counts. One run at a time writes into a folder.

    .export/begun.json       what the folder is an export of
    .export/<part>.json      a part that is finished; gone when the export is
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from pipeline.export_samples import UNREADABLE, Piece
from pipeline.storage import Store

EXPORT_FORMAT = 1  # rises with whatever changes the bytes of a part
MANIFEST = "provenance.json"
_BEGUN, _BEFORE, _WORK = ".export/begun.json", ".export/before.json", ".export"
_OF_PART = re.compile(r"(?:data|rgb|depth|index)/(?P<part>s[0-9a-f]+-[0-9a-f]{12})[./].+")
IDENTITY = ("kind", "name", "format", "images")


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of an export, by its path in the folder."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What was made of a piece; ``rows == kept + sum(left_out)``.

    Attributes:
        bytes: Of all its files.
        files: Without those that an index among them lists.
    """

    part: str
    source: str
    shard_id: str
    image_shard_sha256: str
    label_shard_sha256: str | None
    rows: int
    kept: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    files: tuple[ExportedFile, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing could be done better when it is tried again."""
        return not any(self.left_out.get(reason) for reason in UNREADABLE)


def part_name(piece: Piece, *, format: str, pixels: bool) -> str:
    """The id of the image shard, and 12 hex digits over all that decides what becomes of it."""
    labels, label_set = piece.labels, piece.label_set
    decided = [
        EXPORT_FORMAT, format, pixels, piece.shard.sha256, piece.source.name, piece.source.licence,
        piece.source.attribution, labels and labels.sha256,
        label_set and [label_set.name, label_set.teacher, label_set.teacher_sha256],
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(decided).encode()).hexdigest()
    return f"{piece.shard.shard_id}-{digest[:12]}"


class Scratch:
    """A file that is being written; ``files`` has it when it is in its place."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.files: list[ExportedFile] = []


@contextmanager
def put_scratch_file(out: Store, path: str) -> Iterator[Scratch]:
    """A scratch file that becomes ``path`` of the export at the end, unless something fails."""
    put = Scratch(out.scratch_file())
    try:
        yield put
        with put.scratch.open("rb") as file:
            sha256 = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
        size = put.scratch.stat().st_size
        out.put_file(put.scratch, path)
        put.files.append(ExportedFile(path, sha256, size))
    finally:
        put.scratch.unlink(missing_ok=True)


def put_file(out: Store, data: bytes, path: str) -> ExportedFile:
    """Put a small file of the export."""
    out.put(path, data)
    return ExportedFile(path, hashlib.sha256(data).hexdigest(), len(data))


class ExportFolder:
    """The folder, by what it is an export of.

    Args:
        out: Where it is.
        identity: Values of `IDENTITY`.
    """

    def __init__(self, out: Store, identity: Mapping[str, Any]) -> None:
        self._out = out
        self._identity = dict(identity)
        self._resumed = False

    def begin(self) -> dict[str, Part]:
        """Take the folder; the parts that are there from before, by name.

        Raises:
            ValueError: Something else lies there.
        """
        known = self._known()
        if known is not None and known != self._identity:
            words = "{kind} {name} as {format}".format(**known)
            raise ValueError(f"holds an export of {words}: name another folder")
        if known is None and next(self._out.list(), None) is not None:
            raise ValueError("name a folder that is empty or not there yet")
        self._resumed = known is not None
        self._out.put(_BEGUN, json.dumps(self._identity).encode())
        if self._out.is_file(MANIFEST):
            self._out.put(_BEFORE, self._out.get(MANIFEST))
            self._out.delete(MANIFEST)
        if not self._resumed:
            return {}
        self._out.remove_leftovers(older_s=0)
        parts = {part.part: part for part in self._parts()}
        return {name: part for name, part in parts.items() if part.is_whole and self._has(part)}

    def remember(self, part: Part) -> None:
        """Say that all files of a part are there."""
        self._out.put(f"{_WORK}/{part.part}.json", json.dumps(asdict(part)).encode())

    def sweep(self, parts: Sequence[Part]) -> None:
        """Remove what earlier runs have left of other parts."""
        if not self._resumed:
            return
        wanted = {part.part for part in parts if part.kept}
        for key in self._out.list():
            found = _OF_PART.fullmatch(key)
            if found and found["part"] not in wanted:
                self._out.delete(key)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest; from now on the export counts."""
        text = json.dumps({**self._identity, **manifest}, indent=1, ensure_ascii=False)
        self._out.put(MANIFEST, text.encode("utf-8", "backslashreplace"))
        for key in list(self._out.list(_WORK)):
            self._out.delete(key)
        folder = self._out.local_path(_WORK)
        if folder is not None:
            folder.rmdir()

    def _known(self) -> dict[str, Any] | None:
        """What the folder is an export of; None if it is none."""
        for key in (_BEGUN, MANIFEST):
            said = self._read(key) if self._out.is_file(key) else {}
            if isinstance(said, dict) and set(IDENTITY) <= said.keys():
                return {name: said[name] for name in IDENTITY}
        return None

    def _parts(self) -> Iterator[Part]:
        before = self._read(_BEFORE) if self._out.is_file(_BEFORE) else {}
        for said in before.get("parts", ()):
            yield _part(said)
        for key in self._out.list(_WORK):
            if key not in (_BEGUN, _BEFORE):
                yield _part(self._read(key))

    def _has(self, part: Part) -> bool:
        try:
            return all(self._out.size(file.path) == file.bytes for file in part.files)
        except FileNotFoundError:
            return False

    def _read(self, key: str) -> Any:
        try:
            return json.loads(self._out.get(key))
        except ValueError as error:
            raise ValueError(f"{key} there is not what an export writes: {error}") from error


def _part(said: Mapping[str, Any]) -> Part:
    try:
        files = tuple(ExportedFile(**file) for file in said["files"])
        return Part(**{**said, "files": files})
    except (KeyError, TypeError) as error:
        raise ValueError(f"a part there is not what an export writes: {error}") from error

"""Images with files of the same name beside them: WebDataset tars, and what img2dataset writes.

A sample is what has the same name up to the first dot of its last part: ``00000/000000012.jpg``,
``….json``, ``….txt``. The image is the sample. Of the JSON, which img2dataset fills with what it
was told of each picture, licence, author, title and address are taken over; all else beside an
image is ignored, unread. img2dataset also puts ``00000.parquet`` and ``00000_stats.json`` beside
``00000.tar`` or the folder ``00000``: tables about the images, not of images.
"""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pipeline.archives import Entry, EntryError, archive_kind
from pipeline.attribution import attribution_line
from pipeline.choices import Choice
from pipeline.raw_files import FoundFile
from pipeline.records import Ignored

SIDECAR, TABLE = "sidecar", "table"
MAX_JSON_BYTES = 1 << 20
MAX_GROUP = 64  # files of one sample
_IMAGES = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "ppm", "pgm", "pnm"),
    *("avif", "gif", "heic", "jxl", "jp2", "img", "image"),
)


def choose_images(path: str) -> Choice:
    """Archives are opened, images read, all else is ignored; a row of a table has no suffix."""
    kind = archive_kind(path)
    base = path.rpartition("/")[2]
    _, dot, suffix = base.rpartition(".")
    if kind is not None or base.startswith("._") or not dot or suffix.lower() in _IMAGES:
        return kind
    return Ignored(path, TABLE if base.endswith("_stats.json") else SIDECAR)


def without_tables(files: Iterable[FoundFile]) -> Iterator[FoundFile | Ignored]:
    """Files as they are listed, without Parquet files that tell of a tar's or a folder's images.

    What such a file is about comes right before or right after it: a local folder is listed before
    a file that has its name and a suffix, one of a bucket after it.
    """
    before = ""
    waiting: FoundFile | None = None
    for file in files:
        if waiting is not None:
            yield _told(waiting, before, file.path)
            before = waiting.path
        waiting = file if file.path.endswith(".parquet") else None
        if waiting is None:
            yield file
            before = file.path
    if waiting is not None:
        yield _told(waiting, before, "")


def _told(parquet: FoundFile, before: str, after: str) -> FoundFile | Ignored:
    """The file, or that it is a table about its neighbours."""
    name = parquet.path.removesuffix(".parquet")
    beside = (before, after)
    is_table = after == f"{name}.tar" or any(path.startswith(f"{name}/") for path in beside)
    return Ignored(parquet.path, TABLE) if is_table else parquet


def joined(entries: Iterable[Entry], *, max_bytes: int) -> Iterator[Entry]:
    """The same entries; images with what the JSON beside them says.

    The files of a sample stand one after the other, in any order. Its images and JSON wait for each
    other in memory, up to ``max_bytes``; everything else is handed on at once.
    """
    group: list[_Held] = []
    held_bytes = 0
    for entry in entries:
        name = _sample(entry.name)
        is_full = len(group) >= MAX_GROUP or held_bytes + entry.size > max_bytes
        if group and (group[0].sample != name or is_full):
            yield from _credited(group)
            group, held_bytes = [], 0
        if _waits(entry, max_bytes):
            group.append(_hold(entry, name))
            held_bytes += entry.size
        else:
            yield entry
    yield from _credited(group)


@dataclass(frozen=True, slots=True)
class _Held:
    """An entry whose bytes were read; none where they are broken."""

    sample: str
    entry: Entry
    data: bytes = b""


def _waits(entry: Entry, max_bytes: int) -> bool:
    suffix = entry.name.rpartition(".")[2].lower()
    limit = min(max_bytes, MAX_JSON_BYTES) if suffix == "json" else max_bytes
    is_wanted = suffix == "json" or suffix in _IMAGES
    return entry.refusal is None and is_wanted and entry.size <= limit


def _hold(entry: Entry, sample: str) -> _Held:
    try:
        data = entry.read()
    except EntryError as error:
        return _Held(sample, replace(entry, refusal=(error.reason, error.detail)))
    return _Held(sample, replace(entry, open=lambda: io.BytesIO(data)), data)


def _credited(group: list[_Held]) -> Iterator[Entry]:
    said: dict[str, Any] = {}
    for held in group:
        if held.entry.name.lower().endswith(".json"):
            said |= _read(held.data)
    licence = _text(said, "license", "licence")
    line = _text(said, "attribution") or attribution_line(
        author=_text(said, "author", "creator", "artist"),
        title=_text(said, "title"),
        url=_text(said, "url", "original_url", "image_url"),
    )
    for held in group:
        entry = held.entry
        yield replace(
            entry, licence=entry.licence or licence, attribution=entry.attribution or line
        )


def _read(data: bytes) -> dict[str, Any]:
    """An object of JSON; nothing where it is anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(said: dict[str, Any], *names: str) -> str | None:
    texts = (said.get(name) for name in names)
    return next((text.strip() for text in texts if isinstance(text, str) and text.strip()), None)


def _sample(name: str) -> str:
    """The path up to the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]

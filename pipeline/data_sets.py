"""A raw data set as items that can be read by themselves, on any machine and in any order.

An item is a file (an archive, a video, a loose image), some archives of an archive, or a sample
whose image and ground truth are found in several files. Finding reads names alone; reading gives
members. Both are given the same `DataSet`, which is small and picklable.

Which files of a known data set are taken is said by its preset (`pipeline.presets`). Images and
ground truth are joined by their names over all folders, zips and plain tars; archives that can only
be streamed are joined among themselves while they are read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from pipeline.archives import archive_kind
from pipeline.choices import Refused
from pipeline.containers import NATIVE
from pipeline.errors import SourceError
from pipeline.filesystems import public_uri
from pipeline.inner_images import inner_of, read_inner
from pipeline.joins import NOT_IN_SPLIT, Anything, Joined, Names, join
from pipeline.layouts import LAYOUTS, WITH_SIDECARS, choose_in
from pipeline.listing import all_parts, files_of, kind_of, named_kind, streamed_only
from pipeline.lookahead import map_ahead
from pipeline.member_paths import normalised_text
from pipeline.optional import needs
from pipeline.pairs import pairs_encoding, plan_pairs
from pipeline.parts import (
    MAX_MEMBER_BYTES,
    Part,
    Sample,
)
from pipeline.presets import Preset, presets
from pipeline.raw_files import FoundFile, found_file
from pipeline.records import Drop, Ignored, Member
from pipeline.sidecars import without_tables
from pipeline.sources import (
    SYNTHETIC,
    Found,
    Reading,
    found_archive,
    load,
    named_archive,
    part_archive,
    reader_threads,
    weight,
)
from pipeline.splits import read_split
from pipeline.streamed_joins import Bundle, StreamedJoin, joined_stream
from pipeline.synthetic import read_synthetic, split_synthetic
from pipeline.tar_stretches import Stretch, stretches
from pipeline.truth_encodings import TRUTH_ENCODINGS, TruthEncoding

__all__ = [
    "DataSet",
    "Item",
    "Part",
    "Sample",
    "find_items",
    "is_native",
    "read_data_set",
    "read_item",
]

READ_AHEAD_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """What is to be read.

    Attributes:
        uri: Folder, archive, Parquet file or image, local or any fsspec URL; or synthetic://….
        layout: ``auto`` opens archives wherever they are; ``images`` opens none; ``tar``, ``zip``
            … say what the named file is, whatever it is called; ``pairs`` finds ground truth
            beside the images; the name of a preset reads that data set.
        truth: How ground truth is encoded, for ``pairs``.
        split: A text file that lists the images to take, one path per line; None for all.
        every: Of a video every so many-th frame is taken; None for what the layout says.
        max_bytes: A larger file is dropped unread.
    """

    uri: str
    layout: str = "auto"
    truth: str | None = None
    split: str | None = None
    every: int | None = None
    max_bytes: int = MAX_MEMBER_BYTES


Item = FoundFile | Sample | Bundle | Stretch


def find_items(data_set: DataSet) -> Iterator[Item | Drop | Ignored]:
    """Everything in a data set by name, in an order that is the same each time.

    Raises:
        SourceError: At once, if there is nothing at that address, it cannot be read at all, or
            there is no image with ground truth where there should be.
        StorageError: While listing: the file system failed.
    """
    if data_set.layout not in LAYOUTS and data_set.layout not in presets():
        raise ValueError(f"layout {data_set.layout!r} is none of {', '.join(LAYOUTS)}, no preset")
    if data_set.uri.startswith(SYNTHETIC):
        return split_synthetic(data_set.uri)
    files = files_of(data_set.uri, data_set.layout)
    if data_set.layout == "pairs":
        return _pairs(files, data_set)
    preset = presets().get(data_set.layout)
    if preset is not None and preset.video is not None:
        needs("av", "videos")
    if preset is not None and preset.encoding is not None:
        _check_library(TRUTH_ENCODINGS[preset.encoding])
    if preset is not None and _is_joined(preset):
        return iter(_joined(files, data_set, preset))
    return _listed(files, data_set)


def read_item(item: Item, data_set: DataSet) -> Found:
    """What is in one item; what `sources.load` can read is handed on unread, for threads."""
    if isinstance(item, Sample):
        return iter([item])
    if isinstance(item, Bundle):
        return _read_bundle(item, data_set)
    if isinstance(item, FoundFile) and item.uri.startswith(SYNTHETIC):
        return read_synthetic(item.uri)
    # What is on the list and missing is told only where all images go through one object.
    names = _names_for_items(data_set) if item.path else _names(data_set)
    reading = _reading(data_set, names)
    if isinstance(item, Stretch):
        return chain.from_iterable(part_archive(part, "tar", reading) for part in item.archives)
    found = _read_file(item, data_set, reading)
    if isinstance(names, Names) and names.holds_both is not None:
        found = _unfolded(found, names, names.holds_both)
    if not item.path:  # there is nothing else
        found = chain(found, names.missing(public_uri(data_set.uri)))
    return found


def read_data_set(data_set: DataSet) -> Iterator[Member | Drop | Ignored]:
    """Everything in a data set, read in threads, in the order of the listing.

    Raises:
        SourceError: As of `find_items`; or of an archive, while reading.
        StorageError: The file system failed.
    """
    found = chain.from_iterable(
        [item] if isinstance(item, Drop | Ignored) else read_item(item, data_set)
        for item in find_items(data_set)
    )
    return map_ahead(
        lambda item: (
            item if isinstance(item, Ignored) else load(item, max_bytes=data_set.max_bytes)
        ),
        found,
        threads=reader_threads(data_set.uri),
        ahead=64,
        weigh=weight,
        max_weight=READ_AHEAD_BYTES,
    )


def is_native(item: Item, data_set: DataSet) -> bool:
    """Whether native code opens what is in the item, which a crafted file may crash."""
    if isinstance(item, Sample | Bundle):
        encoding = TRUTH_ENCODINGS[item.encoding]
        is_packed = isinstance(item, Bundle) and any(kind_of(file) == "7z" for file in item.files)
        return encoding.native or is_packed
    preset = presets().get(data_set.layout)
    if preset is not None and (preset.video is not None or preset.encoding is not None):
        return True
    if isinstance(item, Stretch) or item.uri.startswith(SYNTHETIC):
        return False
    kind = archive_kind(item.path) if item.path else named_kind(item, data_set.layout)
    return kind in (*NATIVE, "7z")


def _is_joined(preset: Preset) -> bool:
    return preset.truth is not None or preset.index is not None


@lru_cache(maxsize=4)
def _kept_names(data_set: DataSet, version: str) -> Names | Anything:
    """Those of the last data sets, which have been asked for items before."""
    return _names(data_set)


def _names_for_items(data_set: DataSet) -> Names | Anything:
    version = found_file(data_set.split, "").version if data_set.split else ""
    return _kept_names(data_set, version)


def _names(data_set: DataSet) -> Names | Anything:
    split = None if data_set.split is None else read_split(data_set.split)
    preset = presets().get(data_set.layout)
    if preset is not None:
        return Names(preset, split)
    return Anything(split, opens=choose_in(data_set.layout))


def _reading(data_set: DataSet, names: Names | Anything) -> Reading:
    every = data_set.every or names.every
    return Reading(
        choose=names.choose,
        every=every,
        with_sidecars=data_set.layout in WITH_SIDECARS,
        max_bytes=data_set.max_bytes,
    )


def _check_library(encoding: TruthEncoding) -> None:
    """Better now than in the middle of a data set."""
    if encoding.library is not None:
        needs(encoding.library, f"{encoding.name} files")


def _pairs(files: Iterable[FoundFile], data_set: DataSet) -> Iterator[Item | Drop | Ignored]:
    """Images with the depth beside them, those on the list if there is one."""
    encoding = pairs_encoding(data_set.truth)
    _check_library(encoding)
    parts = all_parts(files, max_bytes=data_set.max_bytes, ignores=lambda path: False, later=None)
    plan = plan_pairs(parts, encoding, uri=data_set.uri)
    names = _names(data_set)
    listed = (
        item if names.takes(item.path) or not _is_image(item) else Ignored(item.path, NOT_IN_SPLIT)
        for item in plan
    )
    return chain(listed, names.missing(public_uri(data_set.uri)))


def _is_image(item: Sample | Drop) -> bool:
    return isinstance(item, Sample) or item.reason == "no_truth"


def _listed(files: Iterable[FoundFile], data_set: DataSet) -> Iterator[Item | Drop | Ignored]:
    """The files that are images, or archives of images."""
    names = _names(data_set)
    is_all = True
    for file in without_tables(files) if data_set.layout == "img2dataset" else files:
        if isinstance(file, Ignored):
            yield file
            continue
        path = normalised_text(file.path)
        choice = names.choose(path) if path else named_kind(file, data_set.layout)
        if isinstance(choice, Ignored):
            yield choice
        elif isinstance(choice, Refused):
            uri = normalised_text(public_uri(file.uri))
            yield Drop(path, uri, choice.reason, choice.detail, bytes=file.bytes)
        else:
            is_all &= choice is None
            cut: list[Item] = [*stretches(file)] if choice == "tar" else []
            yield from cut or [file]
    if is_all:
        yield from names.missing(public_uri(data_set.uri))


def _joined(
    files: Iterable[FoundFile], data_set: DataSet, preset: Preset
) -> list[Item | Drop | Ignored]:
    """Images with their ground truth; streamed archives come last."""
    names = _names(data_set)
    assert isinstance(names, Names) and preset.encoding is not None, preset.name
    later: list[FoundFile] = []
    parts = all_parts(
        files,
        max_bytes=data_set.max_bytes,
        ignores=lambda path: names.ignored(path) is not None,
        later=later,
    )
    items: list[Item | Drop | Ignored] = [
        Sample(found.image.path, found.image, found.truth, preset.encoding)
        if isinstance(found, Joined)
        else found
        for found in join(parts, names)
    ]
    if later and preset.index is None:
        if any(kind_of(file) == "7z" for file in later):
            needs("py7zr", "7z archives")
        is_all = not any(isinstance(item, Sample | Drop) for item in items)
        items.append(Bundle(tuple(later), preset.encoding, is_all))
    else:
        items += (streamed_only(file) for file in later)
        items += names.missing(public_uri(data_set.uri))
    if not any(isinstance(item, Sample | Bundle) for item in items):
        raise SourceError(_nothing_found(items, data_set, preset))
    return items


def _nothing_found(items: list[Item | Drop | Ignored], data_set: DataSet, preset: Preset) -> str:
    alone = [item for item in items if isinstance(item, Drop)]
    examples = ", ".join(f"{drop.path} ({drop.reason}: {drop.detail})" for drop in alone[:2])
    outside = [item.path for item in items if item == Ignored(item.path, NOT_IN_SPLIT)]
    off_list = f"; {len(outside):,} are not on the list, such as {outside[0]}" if outside else ""
    return (
        f"{public_uri(data_set.uri)} has no image of {preset.name} with its ground truth; expected "
        f"{preset.help}; found {len(alone):,} other files: {examples or 'nothing'}"
        f"{off_list}"
    )


def _read_file(file: FoundFile, data_set: DataSet, reading: Reading) -> Found:
    if not file.path:
        kind = named_kind(file, data_set.layout)
        assert kind is not None, file
        return named_archive(file, kind, reading)
    choice = reading.choose(normalised_text(file.path)) if file.kind == "file" else None
    if choice is None or isinstance(choice, Ignored | Refused):
        return iter([file])
    return found_archive(file, choice, reading)


def _unfolded(found: Found, names: Names, encoding: TruthEncoding) -> Found:
    """The images inside of files that hold images with their ground truth."""
    for file in found:
        if isinstance(file, FoundFile) and file.kind == "file":
            inner = read_inner(file, encoding)
        elif isinstance(file, Member):
            inner = inner_of(file, encoding)
        else:
            yield file
            continue
        for item in inner:
            is_left_out = isinstance(item, Member) and not names.takes(item.path)
            yield Ignored(item.path, NOT_IN_SPLIT) if is_left_out else item


def _read_bundle(bundle: Bundle, data_set: DataSet) -> Found:
    names = _names(data_set)
    assert isinstance(names, Names), bundle
    with StreamedJoin(names, TRUTH_ENCODINGS[bundle.encoding]) as joining:
        reading = Reading(choose=joining.choose, max_bytes=data_set.max_bytes)
        found = chain.from_iterable(
            found_archive(file, kind_of(file) or "tar", reading) for file in bundle.files
        )
        yield from joined_stream(found, joining)
    if bundle.is_all:
        yield from names.missing(public_uri(data_set.uri))

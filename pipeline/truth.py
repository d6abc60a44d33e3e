"""Ground truth as data sets keep it: a depth file beside each image.

Which files belong together: see `pipeline.pairing`; how numbers mean depth: `truth_encodings`. Each
file of the folder counts as one `Member` with truth, as the truth of one, or as one `Drop`:

====================  ===========================================================================
reason                meaning
====================  ===========================================================================
no_truth              an image without a depth file
no_image              a depth file without an image
ambiguous_pair        several images or depth files that would belong together
corrupt_truth         the depth file is broken, or no such file at all
not_a_depth_map       a sound file of another kind: a coloured picture of depth, 8 bits, 3 channels
empty_truth           not one value is valid
truth_size_mismatch   the depth has another shape than the image (another size of the same shape
                      is kept as it is)
truth_orientation     the image is to be turned by its EXIF tag: whether the depth is, nobody says
other_truth           named like depth, but not a file of this encoding
other_file            neither an image nor depth by its name
apple_double          macOS leaves these (``._name``) beside the real files
====================  ===========================================================================
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import SourceError
from pipeline.filesystems import is_local, public_uri
from pipeline.images import ImageDecodeError, open_image
from pipeline.lookahead import map_ahead
from pipeline.pairing import Group, grouped, name_of
from pipeline.raw_files import FoundFile, is_folder, read_uri, walk_folder
from pipeline.records import Drop, Member, Truth
from pipeline.sources import normalised_text
from pipeline.truth_encodings import TRUTH_ENCODINGS, TruthEncoding, decode_truth
from pipeline.truth_files import TruthFileError

__all__ = ["TRUTH_ENCODINGS", "TruthEncoding", "decode_truth", "read_pairs"]

MAX_FILE_BYTES = 256 << 20
ASPECT_TOLERANCE = 0.01  # a crop shows from 1.5 % on (NYU's 561 x 427), rounding stays below
LOCAL_READERS, REMOTE_READERS = 2, 16
READ_AHEAD_BYTES = 64 << 20


def read_pairs(uri: str, encoding: str | None) -> Iterator[Member | Drop]:
    """Every image of a folder with its ground truth, and a drop for every other file.

    Args:
        uri: A folder, local or any fsspec URL.
        encoding: A name in `TRUTH_ENCODINGS`.

    Raises:
        SourceError: At once, if there is no such folder, no such encoding, or not one pair.
        StorageError: While reading: the file system failed.
    """
    known = ", ".join(TRUTH_ENCODINGS)
    if encoding is None:
        raise SourceError(f"layout pairs needs --truth, one of {known}")
    if encoding not in TRUTH_ENCODINGS:
        raise SourceError(f"--truth {encoding} is unknown; there are {known}")
    return _read_pairs(uri, TRUTH_ENCODINGS[encoding])


@dataclass(frozen=True, slots=True)
class _Pair:
    image: FoundFile
    truth: FoundFile


def _read_pairs(uri: str, encoding: TruthEncoding) -> Iterator[Member | Drop]:
    where = public_uri(uri)
    try:
        if not is_folder(uri):
            raise SourceError(f"source {where} is no folder: unpack it first")
    except (FileNotFoundError, PermissionError, ValueError) as error:
        raise SourceError(f"source {where}: {error}") from error
    plan = _plan(list(walk_folder(uri)), encoding)
    if not any(isinstance(item, _Pair) for item in plan):
        raise SourceError(f"source {where} has no image with its depth; {_sought(plan, encoding)}")
    return map_ahead(
        lambda item: item if isinstance(item, Drop) else _read(item, encoding),
        plan,
        threads=LOCAL_READERS if is_local(uri) else REMOTE_READERS,
        ahead=32,
        weigh=lambda item: 0 if isinstance(item, Drop) else item.image.bytes + item.truth.bytes,
        max_weight=READ_AHEAD_BYTES,
    )


def _plan(files: list[FoundFile], encoding: TruthEncoding) -> list[_Pair | Drop]:
    """What is to become of each file, in the order of the files; a pair stands at its image."""
    named = {file.path: file for file in files if _refusal(file) is None}
    suffixes = frozenset([encoding.suffix])
    groups = grouped(named, suffixes)
    plan: list[_Pair | Drop] = []
    for file in files:
        name = name_of(file.path, suffixes)
        refused = _refusal(file) or (("other_file", "") if name.kind == "other" else None)
        if refused is not None:
            plan.append(_drop(file, *refused))
            continue
        group = groups[name.key]
        if not group.is_pair or name.kind == "foreign_truth":
            plan.append(_drop(file, *_why_alone(name.kind, group, encoding)))
        elif name.kind == "image":
            plan.append(_Pair(file, named[group.truths[0]]))
    return plan


def _refusal(file: FoundFile) -> tuple[str, str] | None:
    """Why a file is not even looked at for its name."""
    if file.path.rpartition("/")[2].startswith("._"):
        return "apple_double", "left by macOS beside the real file"
    if file.kind != "file":
        return "not_a_file", "links and devices are not followed"
    if file.bytes > MAX_FILE_BYTES:
        return "too_many_bytes", f"{file.bytes:,} bytes, the limit is {MAX_FILE_BYTES:,}"
    return None


def _why_alone(kind: str, group: Group, encoding: TruthEncoding) -> tuple[str, str]:
    if kind == "foreign_truth":
        return "other_truth", f"{encoding.name} reads {encoding.suffix} files"
    if group.images and group.truths:
        return (
            "ambiguous_pair",
            f"these would belong together: {', '.join([*group.images, *group.truths][:4])}",
        )
    if kind == "truth":
        return "no_image", "no image is named like it"
    beside = f"; {group.foreign[0]} is no {encoding.suffix} file" if group.foreign else ""
    return "no_truth", f"no {encoding.suffix} file of depth is named like it{beside}"


def _read(pair: _Pair, encoding: TruthEncoding) -> Member | Drop:
    """The image's bytes with its decoded truth; whether the image is sound is for others to say."""
    try:
        data, truth_data = read_uri(pair.image.uri), read_uri(pair.truth.uri)
    except (FileNotFoundError, PermissionError) as error:
        return _drop(pair.image, "unreadable", str(error))
    try:
        truth = decode_truth([truth_data], encoding)
    except TruthFileError as error:
        return _drop(pair.image, error.reason, f"{pair.truth.path}: {error.detail}")
    path, uri = normalised_text(pair.image.path), normalised_text(pair.image.uri)
    member = Member(path, uri, data, offset=0, truth=truth)
    refused = _misfit(member, truth)
    return (
        member
        if refused is None
        else _drop(pair.image, refused[0], f"{pair.truth.path}: {refused[1]}")
    )


def _misfit(member: Member, truth: Truth) -> tuple[str, str] | None:
    """Why a truth does not belong to an image, if it does not."""
    height, width = truth.values_HW.shape
    if not (truth.values_HW == truth.values_HW).any():
        return "empty_truth", "not one valid value"
    try:
        opened = open_image(member.data)
    except ImageDecodeError:
        return None
    if opened.structure.orientation != 1:
        turned = opened.structure.orientation
        return (
            "truth_orientation",
            f"EXIF turns the image ({turned}); nobody says how the depth lies",
        )
    wide, high = opened.shown_size
    if abs(width * high / (height * wide) - 1) > ASPECT_TOLERANCE:
        return "truth_size_mismatch", f"{width} x {height}, the image is {wide} x {high}"
    return None


def _drop(file: FoundFile, reason: str, detail: str) -> Drop:
    path, uri = normalised_text(file.path), normalised_text(file.uri)
    return Drop(path, uri, reason, normalised_text(detail), bytes=file.bytes)


def _sought(plan: list[_Pair | Drop], encoding: TruthEncoding) -> str:
    """What was looked for, and the first files that were found instead."""
    drops = [item for item in plan if isinstance(item, Drop)]
    found = {
        reason: [drop.path for drop in drops if drop.reason == reason]
        for reason in ("no_truth", "no_image")
    }
    images, truths = found["no_truth"], found["no_image"]
    return (
        f"looked for pairs like a_rgb.png + a_depth{encoding.suffix}, rgb/a.png + "
        f"depth/a{encoding.suffix} and a.png + a_depth{encoding.suffix}; found {len(images)} images"
        f"{_example(images)} and {len(truths)} {encoding.suffix} files of depth{_example(truths)}"
    )


def _example(paths: list[str]) -> str:
    return f" ({paths[0]} …)" if paths else ""

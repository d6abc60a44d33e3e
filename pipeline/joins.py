"""Which images and which ground truth belong together in a known data set, from their paths alone.

The named groups of a preset's expressions are the key: an image, its ground truth and its masks
have the same groups with the same text. Ground truth with fewer groups (a calibration per scene)
belongs to every image with that text. Where a file of the data set says what belongs together
(``Preset.index``), its word counts in place of names.

Drops of this step: ``no_truth``, ``no_image``, ``no_mask``, ``ambiguous_pair``, ``other_file`` and
``apple_double`` as in `pipeline.truth`, and ``missing``: on the list of images, but not there.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.archives import EntryError, archive_kind
from pipeline.choices import Choice, Choose, Refused
from pipeline.filesystems import public_uri
from pipeline.member_paths import normalised_text
from pipeline.parts import Part, read_part
from pipeline.presets import Preset, in_words
from pipeline.records import Drop, Ignored
from pipeline.splits import Split, Taken
from pipeline.truth_decoding import IndexEntry
from pipeline.truth_encodings import TRUTH_ENCODINGS
from pipeline.truth_files import TruthFileError
from pipeline.video_frames import EVERY

IMAGE, TRUTH = 0, 1  # masks come after
NOT_IN_SPLIT = "not in split"


@dataclass(frozen=True, slots=True)
class Named:
    """What a path is.

    Attributes:
        role: ``IMAGE``, ``TRUTH``, or after it the number of the mask.
        groups: The text of the expression's named groups.
        is_outside: An image that is not on the list of images.
    """

    role: int
    groups: Mapping[str, str | None]
    is_outside: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """An image and its ground truth, without masks that are optional and missing."""

    image: Part
    truth: tuple[Part, ...]


class Names:
    """What the paths of a known data set are, by its preset and a list of images.

    Attributes:
        holds_both: The encoding, where what matches ``image`` are files that hold images and
            ground truth.
    """

    def __init__(self, preset: Preset, split: Split | None = None) -> None:
        patterns = [preset.image]
        holds = TRUTH_ENCODINGS[preset.encoding] if preset.encoding else None
        self.holds_both = holds if holds is not None and holds.members is not None else None
        if preset.truth is not None and preset.index is None:
            patterns += [preset.truth, *preset.masks]
        self.preset = preset
        self._taken = Taken(split)
        self._ignored = [(_compiled(text), what) for text, what in preset.ignored.items()]
        self._roles = [_compiled(text) for text in patterns]
        self._groups = [tuple(sorted(pattern.groupindex)) for pattern in self._roles]
        self._index = None if preset.index is None else _compiled(preset.index)
        self._video = None if preset.video is None else _compiled(preset.video)

    @property
    def every(self) -> int:
        """Of a video every so many-th frame is taken."""
        return self.preset.every if self.preset.video else EVERY

    @property
    def roles(self) -> int:
        """How many files make a sample."""
        return len(self._roles)

    def named(self, path: str) -> Named | Ignored | Refused:
        """What one path is."""
        if path.rpartition("/")[2].startswith("._"):
            return Refused("apple_double", "left by macOS beside the real file")
        if (what := self.ignored(path)) is not None:
            return Ignored(path, what)
        for role, pattern in enumerate(self._roles):
            if found := pattern.search(path):
                return Named(role, found.groupdict(), role == IMAGE and self._is_outside(path))
        return Refused("other_file", f"no file of {self.preset.name} is called like this")

    def choose(self, path: str) -> Choice:
        """What is to be done with a path of the data set."""
        if (what := self.ignored(path)) is not None:
            return Ignored(path, what)
        kind = archive_kind(path)
        if kind is not None and (kind != "video" or self.is_video(path)):
            return kind
        named = self.named(path)
        if isinstance(named, Named):
            return Ignored(path, NOT_IN_SPLIT) if named.is_outside else None
        return named

    def is_video(self, path: str) -> bool:
        """Whether frames are to be taken of it."""
        return self._video is not None and bool(self._video.search(path))

    def ignored(self, path: str) -> str | None:
        """What a file is that is no sample."""
        return next((what for pattern, what in self._ignored if pattern.search(path)), None)

    def is_index(self, path: str) -> bool:
        """Whether the file says what belongs together."""
        return self._index is not None and bool(self._index.search(path))

    def key(self, role: int, groups: Mapping[str, str | None]) -> str:
        """By which files of a role are found; an image's groups give the keys of all roles."""
        return "\0".join(groups.get(name) or "" for name in self._groups[role])

    def keys(self, groups: Mapping[str, str | None]) -> list[str]:
        """By which the files of an image are found, one for each role."""
        known = {names: self.key(role, groups) for role, names in enumerate(self._groups)}
        return [known[names] for names in self._groups]  # one text for equal keys

    def missing(self, uri: str) -> Iterator[Drop]:
        """What is on the list of images, but was never named."""
        return self._taken.missing(uri)

    def is_shared(self, role: int) -> bool:
        """Whether one file of that role may belong to several images."""
        return self._groups[role] != self._groups[IMAGE]

    def takes(self, path: str) -> bool:
        """Whether an image is on the list of images, if there is one."""
        return path in self._taken

    def _is_outside(self, path: str) -> bool:
        # Of a file that holds images, those in it are on the list.
        return self.holds_both is None and not self.takes(path)


class Anything:
    """Files of a data set that is not known: all are taken, or those on a list of images."""

    every = EVERY
    holds_both = None

    def __init__(self, split: Split | None, *, opens: Choose) -> None:
        self._taken = Taken(split)
        self._opens = opens

    def choose(self, path: str) -> Choice:
        """What is to be done with a path."""
        kind = self._opens(path)
        return kind if kind is not None or self.takes(path) else Ignored(path, NOT_IN_SPLIT)

    def takes(self, path: str) -> bool:
        """Whether an image is on the list of images, if there is one."""
        return path in self._taken

    def missing(self, uri: str) -> Iterator[Drop]:
        """What is on the list of images, but was never named."""
        return self._taken.missing(uri)


def join(parts: Iterable[Part | Drop], names: Names) -> Iterator[Joined | Drop | Ignored]:
    """Every image with its ground truth where the image stands, and what becomes of all else.

    What belongs to no image by its name alone is given at once, the rest when all is known.
    """
    if names.preset.index is not None:
        yield from _join_by_index(parts, names)
        return
    table = _Table(names)
    for part in parts:
        if isinstance(part, Drop):
            yield part
        elif (refused := table.add(part)) is not None:
            yield refused
    yield from table.joined()


class _Table:
    """All files of images and ground truth by their keys; some 700 bytes for each."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._parts: list[tuple[int, str, Part]] = []
        self._found: list[dict[str, list[Part]]] = [{} for _ in range(names.roles)]
        self._wanted: list[set[str]] = [set() for _ in range(names.roles)]
        self._outside: list[set[str]] = [set() for _ in range(names.roles)]

    def add(self, part: Part) -> Drop | Ignored | None:
        """Take in one file, or say why not."""
        named = self._names.named(part.path)
        if not isinstance(named, Named):
            return named if isinstance(named, Ignored) else refuse(part, named)
        if named.role == IMAGE:
            keys = self._names.keys(named.groups)
            for role in range(TRUTH, self._names.roles):
                (self._outside if named.is_outside else self._wanted)[role].add(keys[role])
            if named.is_outside:
                return Ignored(part.path, NOT_IN_SPLIT)
        key = self._names.key(named.role, named.groups)
        self._parts.append((named.role, key, part))
        self._found[named.role].setdefault(key, []).append(part)
        return None

    def joined(self) -> Iterator[Joined | Drop | Ignored]:
        """What becomes of each file that was taken in, in their order."""
        for role, key, part in self._parts:
            same = self._found[role][key]
            if len(same) > 1:
                yield refuse(part, _ambiguous(same))
            elif role == IMAGE:
                yield self._image(part)
            elif key in self._wanted[role]:
                continue
            elif key in self._outside[role]:
                yield Ignored(part.path, NOT_IN_SPLIT)
            else:
                yield refuse(part, Refused("no_image", "no image is named like it"))

    def _image(self, image: Part) -> Joined | Drop:
        named = self._names.named(image.path)
        assert isinstance(named, Named)
        keys = self._names.keys(named.groups)
        truth: list[Part] = []
        for role in range(TRUTH, self._names.roles):
            found = self._found[role].get(keys[role], [])
            if len(found) > 1:
                return refuse(image, _ambiguous(found))
            if not found:
                return refuse(image, lacks(role, self._names))
            truth += found
        return Joined(image, tuple(truth))


def lacks(role: int, names: Names) -> Refused:
    """Why an image without its file of that role is not taken."""
    if role == TRUTH:
        expected = in_words(names.preset.truth or "")
        return Refused("no_truth", f"no file of depth belongs to it; expected {expected}")
    expected = in_words(names.preset.masks[role - TRUTH - 1])
    return Refused("no_mask", f"no mask belongs to it; expected {expected}")


def refuse(part: Part, why: Refused) -> Drop:
    """The drop of one file."""
    uri = normalised_text(public_uri(part.uri))
    return Drop(part.path, uri, why.reason, why.detail, bytes=part.size)


def _ambiguous(parts: list[Part]) -> Refused:
    names = ", ".join(part.path for part in parts[:4])
    return Refused("ambiguous_pair", f"these would belong to one image: {names}")


def _join_by_index(parts: Iterable[Part | Drop], names: Names) -> Iterator[Joined | Drop | Ignored]:
    found: dict[str, Part] = {}
    indices: list[Part] = []
    for part in parts:
        if isinstance(part, Drop):
            yield part
            continue
        found[part.path] = part
        if names.is_index(part.path):
            indices.append(part)
    entries: dict[str, IndexEntry] = {}
    for part in indices:
        yield from _read_index(part, names, entries)
    used = {path for entry in entries.values() for path in entry.truth}
    used.update(part.path for part in indices)
    for path, part in found.items():
        named = names.named(path)
        if path in used:
            continue
        if isinstance(named, Ignored):
            yield named
        elif isinstance(named, Refused):
            yield refuse(part, named)
        elif named.is_outside:
            yield Ignored(path, NOT_IN_SPLIT)
        else:
            yield _by_entry(part, entries.get(path), found)


def _read_index(part: Part, names: Names, entries: dict[str, IndexEntry]) -> Iterator[Drop]:
    """Add what one file says belongs together; a drop where it cannot be read."""
    read = TRUTH_ENCODINGS[names.preset.encoding or ""].index
    assert read is not None, names.preset.name
    try:
        for entry in read(read_part(part).data, part.path):
            entries[entry.image] = entry
    except (TruthFileError, EntryError) as error:
        yield refuse(part, Refused(error.reason, error.detail))
    except (FileNotFoundError, PermissionError) as error:
        yield refuse(part, Refused("unreadable", normalised_text(str(error))))


def _by_entry(image: Part, entry: IndexEntry | None, found: Mapping[str, Part]) -> Joined | Drop:
    if entry is None:
        return refuse(image, Refused("no_truth", "no index of the data set names it"))
    lost = next((path for path in entry.truth if path not in found), None)
    if lost is not None:
        return refuse(image, Refused("no_truth", f"its ground truth {lost} is not there"))
    return Joined(image, tuple(found[path] for path in entry.truth))


def _compiled(pattern: str) -> re.Pattern[str]:
    """Matches at the end of a path, from the beginning of a name; see `presets.match_end`."""
    return re.compile(rf"(?:^|/)(?:{pattern})$")

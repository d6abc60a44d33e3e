"""Images and ground truth joined while archives are streamed: a sample comes when it is complete.

What has to wait for its partner waits on disk; in memory are only paths.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline.choices import Choice
from pipeline.joins import IMAGE, NOT_IN_SPLIT, TRUTH, Named, Names, lacks
from pipeline.raw_files import FoundFile
from pipeline.records import Drop, Ignored, Member
from pipeline.sources import Unread
from pipeline.spool import Spool, Spooled
from pipeline.truth import decoded
from pipeline.truth_encodings import TruthEncoding


@dataclass(frozen=True, slots=True)
class Bundle:
    """Archives of images and ground truth that can only be streamed, joined while they are read.

    Attributes:
        encoding: Name in ``TRUTH_ENCODINGS``.
        is_all: There are no other images in the data set.
    """

    files: tuple[FoundFile, ...]
    encoding: str
    is_all: bool

    @property
    def path(self) -> str:
        """That of the first one."""
        return self.files[0].path

    @property
    def bytes(self) -> int:
        """Of all archives, as packed."""
        return sum(file.bytes for file in self.files)

    @property
    def version(self) -> str:
        """Changes when an archive is overwritten or added; empty where nobody can tell."""
        known = all(file.version for file in self.files)
        return " ".join(f"{file.uri} {file.version}" for file in self.files) if known else ""

    @property
    def uri(self) -> str:
        """Of the first one."""
        return self.files[0].uri

    @property
    def kind(self) -> Literal["file"]:
        """As of a file."""
        return "file"


@dataclass(slots=True)
class _Waiting:
    """A file on disk; ``place`` is None once it is spent."""

    member: Member
    place: Spooled | None
    size: int
    keys: list[str] = field(default_factory=list)
    is_used: bool = False


class StreamedJoin:
    """Give it `choose` to read archives with, and what is then found in them; for one thread.

    Use in a ``with`` block.
    """

    def __init__(self, names: Names, encoding: TruthEncoding) -> None:
        self._names = names
        self._encoding = encoding
        # What may belong to later images, too, must not keep the other file from being emptied.
        self._spool, self._shared = Spool(), Spool()
        self._images: dict[str, _Waiting | None] = {}  # None once it was given
        self._files: dict[tuple[int, str], _Waiting] = {}
        self._wanted: dict[tuple[int, str], list[str]] = {}
        self._outside: set[tuple[int, str]] = set()

    def __enter__(self) -> "StreamedJoin":
        return self

    def __exit__(self, *error: object) -> None:
        self._spool.__exit__(*error)
        self._shared.__exit__(*error)

    def choose(self, path: str) -> Choice:
        """What is to be done with a path; remembers which images are left out."""
        choice = self._names.choose(path)
        if isinstance(choice, Ignored) and choice.what == NOT_IN_SPLIT:
            named = self._names.named(path)
            if isinstance(named, Named):
                self._outside.update(enumerate(self._names.keys(named.groups)))
        return choice

    def take(self, member: Member) -> Iterator[Member | Drop]:
        """One file of an archive, and the samples that are complete with it."""
        named = self._names.named(member.path)
        assert isinstance(named, Named), member.path
        keys = self._names.keys(named.groups)
        if named.role == IMAGE:
            yield from self._take_image(member, keys)
        else:
            yield from self._take_truth(member, named.role, keys[named.role])

    def rest(self) -> Iterator[Member | Drop | Ignored]:
        """What never found its partners."""
        for image in self._images.values():
            if image is not None:  # a file of it is missing, or it would have been handed out
                why = lacks(self._missing(image.keys)[0], self._names)
                yield _drop(image, why.reason, why.detail)
                self._mark_used(image.keys)
        for (role, key), file in self._files.items():
            if file.is_used:
                continue
            if (role, key) in self._outside:
                yield Ignored(file.member.path, NOT_IN_SPLIT)
            else:
                yield _drop(file, "no_image", "no image is named like it")

    def _take_image(self, member: Member, keys: list[str]) -> Iterator[Member | Drop]:
        key = keys[IMAGE]
        if key in self._images:
            yield _twice(member)
            return
        image = self._put(member, keys, self._spool)
        self._images[key] = image
        if missing := self._missing(keys):
            for role in missing:
                self._wanted.setdefault((role, keys[role]), []).append(key)
        else:
            yield self._finish(image)

    def _take_truth(self, member: Member, role: int, key: str) -> Iterator[Member | Drop]:
        if (role, key) in self._files:
            yield _twice(member)
            return
        spool = self._shared if self._names.is_shared(role) else self._spool
        self._files[role, key] = self._put(member, [], spool)
        for image_key in self._wanted.pop((role, key), []):
            image = self._images[image_key]
            if image is not None and not self._missing(image.keys):
                yield self._finish(image)

    def _put(self, member: Member, keys: list[str], spool: Spool) -> _Waiting:
        place = spool.put(member.data)
        return _Waiting(replace(member, data=b""), place, len(member.data), keys)

    def _missing(self, keys: list[str]) -> list[int]:
        roles = range(TRUTH, self._names.roles)
        return [role for role in roles if (role, keys[role]) not in self._files]

    def _finish(self, image: _Waiting) -> Member | Drop:
        self._images[image.keys[IMAGE]] = None
        return self._sample(image)

    def _sample(self, image: _Waiting) -> Member | Drop:
        assert image.place is not None
        member = replace(image.member, data=self._spool.take(image.place))
        parts, names = [], []
        for role in range(TRUTH, self._names.roles):
            file = self._files.get((role, image.keys[role]))
            if file is None:  # an optional mask
                continue
            names.append(file.member.path)
            parts.append(self._spend(file, is_shared=self._names.is_shared(role)))
        return decoded(member, parts, self._encoding, names=names)

    def _spend(self, file: _Waiting, *, is_shared: bool) -> bytes:
        assert file.place is not None, file.member.path
        file.is_used = True
        if is_shared:
            return self._shared.get(file.place)
        data, file.place = self._spool.take(file.place), None
        return data

    def _mark_used(self, keys: list[str]) -> None:
        """The ground truth of an image is spent on it, also where the image is dropped."""
        for role in range(TRUTH, self._names.roles):
            if (file := self._files.get((role, keys[role]))) is not None:
                file.is_used = True


def _twice(member: Member) -> Drop:
    detail = "another file with the same names came before it"
    return Drop(member.path, member.uri, "ambiguous_pair", detail, bytes=len(member.data))


def _drop(file: _Waiting, reason: str, detail: str) -> Drop:
    return Drop(file.member.path, file.member.uri, reason, detail, bytes=file.size)


def joined_stream(
    found: Iterable[Member | Drop | Ignored | Unread], joining: StreamedJoin
) -> Iterator[Member | Drop | Ignored]:
    """Samples in the order in which they are complete; everything else as it comes."""
    for item in found:
        if isinstance(item, Member):
            yield from joining.take(item)
        elif isinstance(item, Drop | Ignored):
            yield item
    yield from joining.rest()

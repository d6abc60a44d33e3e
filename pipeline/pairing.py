"""Which image and which depth file belong together, from their paths alone.

One rule covers the usual conventions. ``_``, ``-`` and ``.`` separate the words of a name; a first
or last word that says what the file is (``rgb``, ``depth`` …; see the tables) is taken out of the
file's stem and of each folder's name, and files with the same remaining path are a pair:

    kitchen/0001_rgb.png       kitchen/0001_depth.png         -> kitchen/0001
    kitchen/rgb/0001.jpg       kitchen/depth/0001.png         -> kitchen/0001
    frame-01.color.png         frame-01.depth.png             -> frame_01
    image_left/01_left.png     depth_left/01_left_depth.npy   -> left/01_left
    01.png                     01_depth.npy                   -> 01

The last such word in a path decides what the file is. Without any, a file is an image if it has an
image's extension, else depth if it has the encoding's.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif"]
)
IMAGE_WORDS = frozenset(["rgb", "color", "colour", "image", "images", "img", "imgs"])
TRUTH_WORDS = frozenset(["depth", "depths", "disparity", "disparities", "disp", "gt", "gts"])

Kind = Literal["image", "truth", "foreign_truth", "other"]


@dataclass(frozen=True, slots=True)
class Named:
    """What a path says.

    Attributes:
        kind: ``foreign_truth`` is named like depth, but has not the encoding's extension.
        key: The path without the words that say so; equal for the two of a pair.
    """

    kind: Kind
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """All paths with one key; a pair where there is one of each."""

    images: list[str]
    truths: list[str]
    foreign: list[str]

    @property
    def is_pair(self) -> bool:
        """One image, one depth file."""
        return len(self.images) == 1 and len(self.truths) == 1


def grouped(paths: Iterable[str], suffixes: frozenset[str]) -> dict[tuple[str, ...], Group]:
    """Paths by key; ``suffixes`` are those of the encoding's files, lower case, with the dot."""
    groups: dict[tuple[str, ...], Group] = {}
    for path in paths:
        named = name_of(path, suffixes)
        if named.kind != "other":
            group = groups.setdefault(named.key, Group([], [], []))
            lists = {"image": group.images, "truth": group.truths, "foreign_truth": group.foreign}
            lists[named.kind].append(path)
    return groups


def name_of(path: str, suffixes: frozenset[str]) -> Named:
    """What one path says, with ``/`` between folders."""
    *folders, name = path.split("/")
    stem, dot, extension = name.rpartition(".")
    suffix = f".{extension.lower()}" if dot and stem else ""
    key, says = [], None
    for part in (*folders, stem if suffix else name):
        rest, word = _without_word(part)
        says = word or says
        if rest:
            key.append(rest)
    return Named(_kind(suffix, says, suffixes), tuple(key))


def _kind(suffix: str, says: Literal["image", "truth"] | None, suffixes: frozenset[str]) -> Kind:
    if says == "truth":
        if suffix in suffixes:
            return "truth"
        # A photograph may lie in a folder called depth; depth is never a JPEG.
        return "image" if suffix in (".jpg", ".jpeg") else "foreign_truth"
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "truth" if suffix in suffixes and says is None else "other"


def _without_word(part: str) -> tuple[str, Literal["image", "truth"] | None]:
    """The part without a telling first and last word, and what they tell; the last one decides."""
    words = [word for word in re.split(r"[._-]+", part) if word]
    says: Literal["image", "truth"] | None = None
    for at in (0, -1):
        told = _told(words[at]) if words else None
        if told:
            says = told
            words.pop(at)
    return "_".join(words), says


def _told(word: str) -> Literal["image", "truth"] | None:
    if word.lower() in IMAGE_WORDS:
        return "image"
    return "truth" if word.lower() in TRUTH_WORDS else None

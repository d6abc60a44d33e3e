r"""Known data sets: what lies where in them, what its numbers mean, and what may be done with it.

A preset is data, one `Preset` in ``presets_unlabelled``, ``presets_labelled`` or
``presets_benchmarks``. Paths inside a data set are matched by regular expressions at their end, on
whole names: ``sa_\\d+\\.jpg`` finds ``sa_000000.tar/sa_1.jpg`` wherever somebody keeps it, loose or
in an archive. Named groups say which files belong together: an image and its ground truth have the
same ones with the same text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Literal

from pipeline.records import Role

Permission = Literal["yes", "conditions", "no", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What the owners of a data set allow and ask for. A summary, not legal advice.

    Attributes:
        title: The data set's own name.
        homepage: Where it is described and where its terms stand.
        citation: Authors, title, venue, year.
        licence: SPDX id where there is one, else a sentence.
        rehost: May the images be published again by others?
        commercial: May they be used commercially, training included?
        attribution: Whether each image's author is to be named wherever it is published.
        note: Conditions in a sentence, and what could not be confirmed.
    """

    title: str
    homepage: str
    citation: str
    licence: str
    rehost: Permission
    commercial: Permission
    attribution: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttributionTable:
    """A CSV file beside the images that says whose each one is.

    Attributes:
        files: Matches the path of the file; several may match.
        example: What such a file is called.
        key: Column that names the image.
        image_key: Named group of the preset's ``image`` whose text is the key.
        licence: Column of the licence, if there is one.
        author: Column of the author.
        title, url: Columns for the attribution line; may be missing.
        required: Refuse to ingest without such a file.
    """

    files: str
    example: str
    key: str
    image_key: str
    licence: str | None = None
    author: str | None = None
    title: str | None = None
    url: str | None = None
    required: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """How one data set is laid out.

    Attributes:
        name: What people write after ``--layout``.
        help: One line: what is expected at the URI.
        image: Matches paths of images.
        ignored: What else lies there and is no sample, by the expression that matches it: counted
            under its name, never read. It is asked before ``image``.
        truth: Matches paths of ground truth, with the named groups of ``image``; None for
            unlabelled sets. A path that matches neither is dropped like any stray file.
        masks: Further files that the encoding takes, in its order, matched likewise.
        encoding: Name in ``TRUTH_ENCODINGS``.
        index: Matches files that say which images and which ground truth belong together, where
            names do not tell: read while listing, by the encoding's ``index``. Only `image` is
            then matched besides; the files that an index names are the truth, in its order.
        video: Matches paths of videos, of which every ``every``-th frame is taken.
        every: See ``video``.
        attribution: Where the authors of single images are named.
        images: How many the full set has, as published; None where nobody says.
    """

    name: str
    help: str
    role: Role
    terms: Terms
    image: str
    ignored: Mapping[str, str] = field(default_factory=dict)
    truth: str | None = None
    masks: tuple[str, ...] = ()
    encoding: str | None = None
    index: str | None = None
    video: str | None = None
    every: int = 1
    attribution: AttributionTable | None = None
    images: int | None = None


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name."""
    from pipeline.presets_benchmarks import BENCHMARKS
    from pipeline.presets_labelled import LABELLED
    from pipeline.presets_unlabelled import UNLABELLED

    return MappingProxyType({p.name: p for p in (*UNLABELLED, *LABELLED, *BENCHMARKS)})


def match_end(pattern: str, path: str) -> re.Match[str] | None:
    """The match of a pattern with the last names of a path, from the beginning of a name."""
    return re.search(rf"(?:^|/)(?:{pattern})$", path)


def in_words(pattern: str) -> str:
    r"""An expression as a person would write it: ``<frame>.png`` for ``(?P<frame>\d+)\.png``."""
    text, before = pattern, ""
    while text != before:  # from the inside out
        before = text
        text = re.sub(r"\(\?P<(\w+)>[^()]*\)", r"<\1>", text)
        text = re.sub(r"\(\?:([^()|]*)\)\??", r"\1", text)
        text = re.sub(r"\(\?:([^()]*)\)\??", r"{\1}", text)
    return re.sub(r"\\(.)", r"\1", re.sub(r"\[[^]]*\]\+", "*", text)).replace("|", ",")


def ignored_as(preset: Preset, path: str) -> str | None:
    """What a file is that is no sample, by the preset."""
    found = (what for pattern, what in preset.ignored.items() if match_end(pattern, path))
    return next(found, None)

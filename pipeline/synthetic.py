"""A labelled source without any download: procedural pictures with exact depth.

``synthetic://mixed?n=200&seed=0&width=320&height=240`` names a kind of scene (or a mixture), how
many pictures, and their size; ``first=100`` begins with another than the first. Each picture is a
function of kind, seed, index and size alone: the first hundred of a thousand are the hundred, so
that a source can grow. Bytes are the same wherever numpy and the JPEG library are the same.

Depth is z-depth in metres along the optical axis, exact at pixel centres, at most 1,000; beyond
that is sky, where the depth is NaN and the sky mask True. A picture of 320 x 240 costs about 50 ms
of one core.
"""

import io
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from PIL import Image

from pipeline.errors import SourceError
from pipeline.raw_files import FoundFile
from pipeline.records import Geometry, Member, Truth
from pipeline.worlds.rendering import Picture, render
from pipeline.worlds.scenes import MIXTURES, SCENES
from pipeline.worlds.themes import one_of

LICENCE = "CC0-1.0"
RUN_PICTURES = 50
# Rendering takes as long as reading so many bytes from a slow disk: 20 runs of 320 x 240 are work
# for a minute, and a shard.
WORK_BYTES_PER_PIXEL = 28


@dataclass(frozen=True, slots=True)
class _Request:
    """What a URI asks for, in the order in which messages list it."""

    n: int = 200
    seed: int = 0
    width: int = 320
    height: int = 240
    first: int = 0


_BOUNDS = {
    "n": (1, 100_000_000),
    "seed": (0, 2**63),
    "width": (32, 4096),
    "height": (32, 4096),
    "first": (0, 100_000_000),
}


def read_synthetic(uri: str) -> Iterator[Member]:
    """Pictures with ground truth, as JPEG.

    Raises:
        SourceError: At once, if the URI names no such scene, or what it asks for is impossible.
    """
    kind, request = _parsed(uri)
    return (
        synthetic_member(kind, index, seed=request.seed, width=request.width, height=request.height)
        for index in range(request.first, request.first + request.n)
    )


def split_synthetic(uri: str) -> Iterator[FoundFile]:
    """The same pictures as runs of `RUN_PICTURES`, each with a URI of its own.

    Raises:
        SourceError: At once, as of `read_synthetic`.
    """
    kind, asked = _parsed(uri)
    end = asked.first + asked.n
    return (
        _run(kind, replace(asked, first=first, n=min(RUN_PICTURES, end - first)))
        for first in range(asked.first, end, RUN_PICTURES)
    )


def _run(kind: str, run: _Request) -> FoundFile:
    query = "&".join(f"{name}={value}" for name, value in asdict(run).items())
    path = f"{kind}/seed-{run.seed}/{run.first:08d}"
    work_bytes = run.n * run.width * run.height * WORK_BYTES_PER_PIXEL
    return FoundFile(path, f"synthetic://{kind}?{query}", work_bytes)


def synthetic_member(kind: str, index: int, *, seed: int, width: int, height: int) -> Member:
    """The picture of a kind or mixture with that index; sizes in pixels."""
    rng = np.random.default_rng([seed, index, zlib.crc32(kind.encode())])
    name = one_of(rng, MIXTURES.get(kind, (kind,)))
    scene = SCENES[name](rng)
    picture = render(scene, width=width, height=height, rng=rng)
    return Member(
        path=f"{kind}/seed-{seed}/{index:08d}-{name}.jpg",
        uri=f"synthetic://{kind}?seed={seed}&width={width}&height={height}",
        data=_jpeg(picture, quality=scene.film.quality),
        truth=Truth(picture.depth_HW, Geometry.DEPTH_METRIC, picture.sky_HW),
        licence=LICENCE,
    )


def _jpeg(picture: Picture, *, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture.rgb_HW3).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _parsed(uri: str) -> tuple[str, _Request]:
    parts = urlsplit(uri)
    problems, values = [], {}
    if parts.netloc not in SCENES and parts.netloc not in MIXTURES:
        known = ", ".join((*MIXTURES, *SCENES))
        problems.append(f"there is no {parts.netloc or 'nameless'!r} scene; there are {known}")
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _BOUNDS or name in values:
            what = "twice" if name in values else "unknown"
            problems.append(f"{name} is {what}; there are {', '.join(_BOUNDS)}")
            continue
        values[name], (low, high) = text, _BOUNDS[name]
        if not text.isdecimal() or not low <= int(text) <= high:
            problems.append(f"{name}={text} is no whole number from {low} to {high}")
    if parts.path.strip("/") or parts.fragment:
        problems.append(
            "nothing may follow the scene's name but ?n=…&seed=…&width=…&height=…&first=…"
        )
    if problems:
        raise SourceError(f"{uri}: {'; '.join(problems)}")
    return parts.netloc, _Request(**{name: int(text) for name, text in values.items()})

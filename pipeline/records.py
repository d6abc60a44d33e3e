"""The records that cross borders: what is found, kept, refused, stored and labelled.

Paths inside a source use ``/``; sizes are in pixels unless a name says bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Role(StrEnum):
    """What a source is used for."""

    UNLABELLED = "unlabelled"
    LABELLED = "labelled"
    BENCHMARK = "benchmark"


class Geometry(StrEnum):
    """What is known about the numbers of a map (the vocabulary of MoGe)."""

    DEPTH_METRIC = "depth_metric"  # z-depth in metres
    DEPTH_SCALE_INVARIANT = "depth_scale_invariant"  # z-depth up to one positive factor
    DISPARITY_METRIC = "disparity_metric"  # 1 / metres
    DISPARITY_AFFINE_INVARIANT = "disparity_affine_invariant"  # 1 / depth up to scale and shift

    @property
    def is_disparity(self) -> bool:
        """Larger is nearer."""
        return self.value.startswith("disparity")


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of one image.

    Attributes:
        values_HW: float32; NaN where there is no value.
        geometry: What the values are.
        sky_HW: bool, True where the pixel is sky; None where nobody knows.
    """

    values_HW: NDArray[np.float32]
    geometry: Geometry
    sky_HW: NDArray[np.bool_] | None = None


class PointPair(NamedTuple):
    """Two points of an image, and which is nearer; pixels from zero at the top left, as shown."""

    row1: int
    column1: int
    row2: int
    column2: int
    closer: int  # 1 or 2


@dataclass(frozen=True, slots=True)
class Member:
    """One file found in a data set, read but not yet looked at.

    Attributes:
        path: Path inside the source, unique there: what the sample id is derived from.
        uri: The file, or the archive that holds it.
        data: Its bytes.
        offset: Where its bytes start in ``uri``; None where they cannot be read in place.
        truth: Ground truth that belongs to it, for labelled and benchmark layouts.
        points: Pairs of points that are ground truth in place of a map, or beside one.
    """

    path: str
    uri: str
    data: bytes
    offset: int | None = None
    truth: Truth | None = None
    licence: str | None = None
    attribution: str | None = None
    points: tuple[PointPair, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """A file that is not taken into the source, and why.

    Attributes:
        reason: A short stable code (``truncated``); counted.
        detail: A sentence for a person.
    """

    path: str
    uri: str
    reason: str
    detail: str = ""
    sha256: str | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A file that belongs to a data set and is no sample of it: an annotation, a masked twin.

    Attributes:
        what: A short stable word; counted.
    """

    path: str
    what: str


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header of an encoded image says.

    Attributes:
        width: As shown, that is after EXIF orientation.
        height: As shown, that is after EXIF orientation.
        format: Pillow's name, for example ``JPEG``.
        exif_orientation: 1 to 8; 1 where there is none.
    """

    width: int
    height: int
    format: str
    exif_orientation: int = 1


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a source, as a row of an image shard.

    Attributes:
        sample_id: 32 hex digits, from source name and path inside it.
        sha256: Of the original bytes, hex.
        data: The original bytes; None where the shard stores a reference (``uri, offset, length``).
    """

    sample_id: str
    sha256: str
    path: str
    uri: str
    offset: int | None
    length: int
    data: bytes | None
    header: ImageHeader
    licence: str | None = None
    attribution: str | None = None
    truth: Truth | None = None
    points: tuple[PointPair, ...] = ()


@dataclass(frozen=True, slots=True)
class ShardRef:
    """A committed image shard.

    Attributes:
        shard_id: From its content.
        key: Path inside the store.
        sha256: Of the shard file, hex.
    """

    source: str
    shard_id: str
    key: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """One row of a label shard: a quantised disparity map, or why there is none.

    Attributes:
        status: ``labelled`` or ``quarantined``.
        reason: Short stable code when quarantined, else None.
        codec: Name of the codec of ``disparity`` (see ``depth_codec``), None when quarantined.
        minimum: Value that the smallest code stands for.
        maximum: Value that the largest code stands for.
        height: Of the map, pixels. A map has the network's output size, not the image's.
        width: Of the map, pixels.
        geometry: ``disparity_affine_invariant`` or ``disparity_metric``.
        saturated: Share of pixels, 0..1, at the first or the last code of the map; 1 for a
            constant one.
        flat: Share of pixels, 0..1, with the code of both their right and their lower neighbour.
        flip_correlation: Pearson correlation, -1..1, between the map and that of the mirrored
            image, mirrored back; None where it was not asked for, or one of them is constant.
    """

    sample_id: str
    sha256: str
    status: str
    reason: str | None = None
    codec: str | None = None
    disparity: bytes | None = None
    minimum: float | None = None
    maximum: float | None = None
    height: int | None = None
    width: int | None = None
    geometry: str | None = None
    saturated: float | None = None
    flat: float | None = None
    flip_correlation: float | None = None


@dataclass(frozen=True, slots=True)
class LabelManifest:
    """What a worker says it wrote: one label shard, not yet committed.

    Attributes:
        key: Path inside the store, unique to this attempt.
        sha256: Of the label shard file, hex.
        quarantined: Count per reason; ``rows == labelled + sum(quarantined)``.
        forward_s: Seconds that the device computed, for ``forward_images_per_s``.
        wall_s: Seconds for the whole shard.
        stages: Seconds per stage (``read, decode, forward, encode, write``), added up over
            threads; they overlap, so their sum exceeds ``wall_s``.
        batch_size: Images per forward pass at the end; smaller than at first after the device ran
            out of memory.
    """

    label_set: str
    shard_id: str
    key: str
    sha256: str
    bytes: int
    rows: int
    labelled: int
    quarantined: Mapping[str, int] = field(default_factory=dict)
    forward_s: float = 0.0
    wall_s: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    batch_size: int | None = None

"""What an evaluation knows when it is done: plain values, without Ray, catalog or network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.evaluation import ImageScore
from model.protocols import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatedModel:
    """A model as results name it.

    Attributes:
        name: In the catalog, or what was asked for.
        side: Shorter side at the network's input, pixels.
        parameters: How many numbers its weights are.
        licence: Of the weights; None where nobody said.
    """

    name: str
    sha256: str
    family: str
    geometry: str
    parameters: int
    side: int
    precision: str
    licence: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredImage:
    """An image of a benchmark and its scores."""

    sample_id: str
    sha256: str
    path: str
    shard_id: str
    score: ImageScore


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaks:
    """Images of a benchmark that the evaluated model was trained on.

    Attributes:
        checked: ``none`` (nothing is known of the training, or nobody asked), ``exact`` (same
            bytes) or ``near`` (also looks alike).
        why: Why no more was checked; empty where everything was.
        trained_on: Images that the benchmark was held against.
        exact: Sample ids of the benchmark whose very bytes were trained on.
        near: Sample ids of those that only look alike.
        examples: Up to 20 pairs: path in the benchmark, source and path in the training data.
        validated: Models, this one or some behind it, that were scored on the source while they
            were trained: nothing was learnt from it, but they may have been chosen by it.
    """

    checked: str
    why: str = ""
    trained_on: int = 0
    exact: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    examples: tuple[tuple[str, str, str], ...] = ()
    validated: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkResult:
    """A model under a protocol on a source.

    Attributes:
        source_digest: Of the image shards that the source has.
        upsampling: How maps were brought to the size of the truth.
        images: Every image that the protocol takes, in the order of the shards, skipped ones too.
        left_out: Images of the source that the protocol does not take (`Protocol.only`).
        forward_images_per_s: Images per second through the network alone, decoding and scoring not
            counted, as measured in this run; None where all scores came from an earlier one. On a
            CPU they go on beside it, and take of its threads.
        device: What measured it, for example ``cpu`` or the names of GPUs; None with the above.
    """

    model: EvaluatedModel
    protocol: Protocol
    source: str
    source_digest: str
    upsampling: str
    images: tuple[ScoredImage, ...]
    left_out: int = 0
    forward_images_per_s: float | None = None
    device: str | None = None
    leaks: Leaks | None = None


@dataclass(frozen=True, slots=True)
class MarkedPair:
    """Two points of a picture, each as row and column, and whether the prediction is right.

    Attributes:
        near: The one that is nearer, as people noted it.
    """

    near: tuple[int, int]
    far: tuple[int, int]
    is_right: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredPicture:
    """What a page shows of one image: three maps of one size, at most 512 pixels long.

    Attributes:
        image_HWC: uint8, RGB.
        truth_HW: Float32, true disparity, NaN where the protocol does not look; None for pairs.
        aligned_HW: Float32, predicted disparity after the protocol's alignment.
        pairs: Of a protocol of pairs; none of maps.
    """

    scored: ScoredImage
    image_HWC: NDArray[np.uint8]
    truth_HW: NDArray[np.float32] | None
    aligned_HW: NDArray[np.float32]
    pairs: tuple[MarkedPair, ...] = ()

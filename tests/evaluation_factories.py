"""Made-up results of an evaluation: what tables and pages are tested with."""

from dataclasses import replace
from typing import Any

import numpy as np

from jobs.evaluation_result import (
    BenchmarkResult,
    EvaluatedModel,
    ScoredImage,
    ScoredPicture,
)
from model.alignment import Affine
from model.evaluation import ImageScore
from model.protocols import Protocol, protocol

NOT_SCORED = ImageScore(skipped="too_few_valid_pixels")


def evaluated(name: str = "teacher", **changes: Any) -> EvaluatedModel:
    """A model of that name, whose weights are its own."""
    whole = EvaluatedModel(
        name=name,
        sha256=(name.encode("utf-8", "surrogateescape").hex() * 64)[:64],
        family="depth_anything",
        geometry="disparity_affine_invariant",
        parameters=24_800_000,
        side=518,
        precision="fp32",
        licence="Apache-2.0",
    )
    return replace(whole, **changes)


def image(number: int, score: ImageScore) -> ScoredImage:
    """One image of a benchmark; the number makes its names."""
    return ScoredImage(
        sample_id=f"{number:032x}",
        sha256=f"{number:064x}",
        path=f"scene/{number:04d}.png",
        shard_id="s",
        score=score,
    )


def scored(error: float | None, *, spaces: tuple[str, ...] = ("disparity", "depth")) -> ImageScore:
    """A score whose every metric follows from one error; None: skipped."""
    if error is None:
        return NOT_SCORED
    metrics = {"abs_rel": error, "delta1": 1 - error, "rmse": 3 * error}
    return ImageScore(
        valid_pixels=1000, metrics=dict.fromkeys(spaces, metrics), affine=Affine(2.0, 0.5)
    )


def benchmark_result(
    name: str = "teacher",
    errors: tuple[float | None, ...] = (0.1, 0.2, 0.3),
    *,
    rules: Protocol | None = None,
    source: str = "kitti",
    **changes: Any,
) -> BenchmarkResult:
    """A model's result, an error per image."""
    whole = BenchmarkResult(
        model=evaluated(name),
        protocol=rules or protocol("relative@1"),
        source=source,
        source_digest="d" * 64,
        upsampling="bilinear",
        images=tuple(image(number, scored(error)) for number, error in enumerate(errors)),
        forward_images_per_s=12.5,
        device="cpu",
    )
    return replace(whole, **changes)


def picture(of: ScoredImage, *, height: int = 60, width: int = 80) -> ScoredPicture:
    """A slope from far above to near below, and a prediction that is wrong on the right."""
    rows = np.linspace(0.1, 1, height, dtype=np.float32)[:, None]
    truth = np.repeat(rows, width, axis=1)
    aligned = truth * np.linspace(0.9, 1.3, width, dtype=np.float32)
    truth[: height // 5] = np.nan
    shade = np.repeat((rows * 255).astype(np.uint8), width, axis=1)
    return ScoredPicture(
        scored=of,
        image_HWC=np.stack([shade, shade[:, ::-1], 255 - shade], axis=-1),
        truth_HW=truth,
        aligned_HW=aligned,
    )

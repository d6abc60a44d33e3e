"""One scored image as pictures: what was seen, what is true, what was predicted, and the error."""

import numpy as np
from numpy.typing import NDArray

from jobs.colour import colourise, limits_of
from jobs.evaluation_marks import mark_pairs
from jobs.evaluation_ranking import value_of
from jobs.evaluation_result import BenchmarkResult, ScoredPicture
from jobs.evaluation_words import number
from jobs.report_charts import nice_ceiling
from jobs.report_images import disparity_map, error_map, photograph
from jobs.report_page import Figure, Picture

ERROR_PERCENTILE = 95.0  # of absolute errors, which lies within the colours
SHOWN = 4  # metrics named below an image


def figure(picture: ScoredPicture, result: BenchmarkResult) -> Figure:
    """The image with its maps, in the colours of the truth; without truth image and prediction."""
    path = picture.scored.path
    if picture.pairs:
        return Figure(_with_pairs(picture), path, _facts(picture, result))
    seen = photograph(picture.image_HWC, alt=f"photograph {path}", label="image")
    return Figure((seen, *_maps(picture)), path, _facts(picture, result))


def error_of(
    aligned_HW: NDArray[np.floating], truth_HW: NDArray[np.floating], *, relative: bool
) -> NDArray[np.float64]:
    """Prediction − truth in disparity; with ``relative`` as a share of the truth.

    NaN where the truth is none, and as a share also where it is not above 0.
    """
    truth = np.asarray(truth_HW, np.float64)
    error = np.asarray(aligned_HW, np.float64) - truth
    if not relative:
        return error
    known = np.isfinite(truth) & (truth > 0)
    return np.where(known, error / np.where(known, truth, 1.0), np.nan)


def error_limit(error_HW: NDArray[np.floating]) -> float:
    """A round number that most absolute errors lie below, 0.01 to 1; 1 where none is known."""
    known = np.abs(error_HW[np.isfinite(error_HW)])
    if not known.size:
        return 1.0
    most = float(np.percentile(known, ERROR_PERCENTILE)) * (1 - 1e-6)  # 0.1 of float32 is above 0.1
    return min(nice_ceiling(max(most, 0.01)), 1.0)


def _maps(picture: ScoredPicture) -> tuple[Picture, ...]:
    path, truth_HW, aligned_HW = picture.scored.path, picture.truth_HW, picture.aligned_HW
    if truth_HW is None or not np.isfinite(truth_HW).any():
        return (disparity_map(aligned_HW, alt=f"prediction for {path}", label="prediction"),)
    limits = limits_of(truth_HW)
    # Where the zero of the truth is unknown it is 0..1 over the image: a share of it says nothing.
    is_relative = _has_ratio(picture)
    error_HW = error_of(aligned_HW, truth_HW, relative=is_relative)
    limit = error_limit(error_HW)
    extent = f"±{limit:.0%}" if is_relative else f"±{limit:.0%} of the range"
    label = f"error, {extent}"
    return (
        disparity_map(truth_HW, alt=f"truth of {path}", label="truth", limits=limits),
        disparity_map(
            aligned_HW, alt=f"prediction for {path}", label="prediction, aligned", limits=limits
        ),
        error_map(error_HW, limit=limit, alt=f"{label}, of {path}", label=label),
    )


def _with_pairs(picture: ScoredPicture) -> tuple[Picture, Picture]:
    """The image and the prediction, both with the points that were asked about."""
    path, pairs = picture.scored.path, picture.pairs
    right = sum(pair.is_right for pair in pairs)
    said = f"{right} of {len(pairs)} pair{'s' if len(pairs) != 1 else ''} right"
    predicted = colourise(picture.aligned_HW)
    return (
        photograph(
            mark_pairs(picture.image_HWC, pairs), alt=f"photograph {path}, {said}", label="image"
        ),
        photograph(
            mark_pairs(predicted, pairs),
            alt=f"prediction for {path}, {said}",
            label=f"prediction, {said}",
        ),
    )


def _has_ratio(picture: ScoredPicture) -> bool:
    """Whether a ratio of disparities was scored; affine-invariant truth has none."""
    names = ("abs_rel", "sq_rel", "delta1", "log10", "silog", "rmse_log")
    return any(
        value_of(picture.scored, space, name) is not None
        for space in picture.scored.score.metrics
        for name in names
    )


def _facts(picture: ScoredPicture, result: BenchmarkResult) -> str:
    rules, scored = result.protocol, picture.scored
    values = {
        f"{space} {metric}": value_of(scored, space, metric)
        for space in rules.spaces
        for metric in rules.metrics
    }
    parts = [f"{name} {number(value)}" for name, value in values.items() if value is not None]
    affine = scored.score.affine
    if affine is not None and rules.alignment != "none":
        parts[SHOWN:] = [f"scale {affine.scale:.4g}, shift {affine.shift:.4g}"]
    return " · ".join(parts)

"""Scores of images by space and metric: which metric ranks, and which images to look at."""

import math
from collections.abc import Sequence
from itertools import groupby

from jobs.evaluation_result import BenchmarkResult, ScoredImage
from model.metrics import HIGHER_IS_BETTER


def benchmarks(results: Sequence[BenchmarkResult]) -> list[list[BenchmarkResult]]:
    """Results of all models under the same protocol on the same source, in the order given."""
    first_seen = {_benchmark(result): place for place, result in reversed([*enumerate(results)])}
    ordered = sorted(results, key=lambda result: first_seen[_benchmark(result)])
    return [list(group) for _, group in groupby(ordered, key=_benchmark)]


def headline(results: Sequence[BenchmarkResult]) -> tuple[str, str] | None:
    """The space and metric to rank by: the protocol's first that all of a benchmark have."""
    rules = results[0].protocol
    for space in rules.spaces:
        for metric in rules.metrics:
            if all(scores_of(result, space, metric) for result in results):
                return space, metric
    return None


def scores_of(result: BenchmarkResult, space: str, metric: str) -> dict[str, float]:
    """Sample id and score of every image that has one."""
    values = ((image.sample_id, value_of(image, space, metric)) for image in result.images)
    return {sample_id: value for sample_id, value in values if value is not None}


def value_of(image: ScoredImage, space: str, metric: str) -> float | None:
    """One score; None for an image that has none, or none that is a number."""
    value = image.score.metrics.get(space, {}).get(metric)
    return value if value is not None and math.isfinite(value) else None


def best_and_worst(
    result: BenchmarkResult, *, count: int
) -> tuple[list[ScoredImage], list[ScoredImage]]:
    """The images to look at, best first and worst first; no image is in both.

    Of equal scores the lower sample id comes first, so that runs agree.
    """
    ranked = ranking(result)
    worst = ranked[::-1][: min(count, len(ranked) // 2)]
    return ranked[: min(count, len(ranked) - len(worst))], worst


def ranking(result: BenchmarkResult) -> list[ScoredImage]:
    """Images with a score by the headline metric, best first."""
    measure = headline([result])
    if measure is None:
        return []
    sign = -1 if measure[1] in HIGHER_IS_BETTER else 1
    scores = scores_of(result, *measure)
    scored = [image for image in result.images if image.sample_id in scores]
    return sorted(scored, key=lambda image: (sign * scores[image.sample_id], image.sample_id))


def measures(result: BenchmarkResult) -> list[tuple[str, str]]:
    """Every space and metric that an image of a result was scored by, in the order of scoring."""
    return list(
        dict.fromkeys(
            (space, metric)
            for image in result.images
            for space, metrics in image.score.metrics.items()
            for metric in metrics
        )
    )


def _benchmark(result: BenchmarkResult) -> tuple[str, str]:
    return result.protocol.ref, result.source

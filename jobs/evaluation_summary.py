"""What an evaluation comes to: means with intervals, and comparisons of models.

Everything here is worked out from plain values (`jobs.evaluation_result`), without a model.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from jobs.evaluation_ranking import benchmarks, measures, scores_of, value_of
from jobs.evaluation_result import BenchmarkResult, Leaks, ScoredImage
from model.evaluation import summarise
from model.metrics import HIGHER_IS_BETTER
from model.statistics import Interval, bootstrap_interval, holm, paired_difference

SIGNIFICANT = 0.05  # of p values corrected for how many there are


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A model against the first one, by one metric on the images that both were scored on.

    Attributes:
        protocol: ``name@version``.
        images: In common.
        difference: Mean of model − baseline.
        interval: Of that mean, 95 %; None for a single image.
        p_holm: The p value corrected for all comparisons by the same metric in the same space.
        verdict: ``better``, ``worse``, or ``open`` where `p_holm` is not below `SIGNIFICANT`.
    """

    protocol: str
    source: str
    baseline: str
    model: str
    space: str
    metric: str
    images: int
    difference: float
    interval: Interval | None
    p_value: float
    p_holm: float
    verdict: str


def compare_results(results: Sequence[BenchmarkResult]) -> list[Comparison]:
    """Every model against the first of each benchmark, by every metric that both have."""
    found = [
        comparison
        for baseline, *others in benchmarks(results)
        for other in others
        for comparison in _compared(baseline, other)
    ]
    return _corrected(found)


def summarise_results(
    results: Sequence[BenchmarkResult], comparisons: Sequence[Comparison]
) -> dict[str, Any]:
    """The summary of `factory evaluate`; plain values, no number that is not finite."""
    models = {result.model.name: result.model for result in results}
    first = next(iter(models.values()), None)
    return {
        "model": first.name if first else None,
        "model_sha256": first.sha256 if first else None,
        "models": [asdict(model) for model in models.values()],
        "results": [summarise_result(result) for result in results],
        "comparisons": [comparison_row(comparison) for comparison in comparisons],
    }


def summarise_result(result: BenchmarkResult) -> dict[str, Any]:
    """One model on one benchmark: counts, means with intervals, and all that decided them."""
    rules = result.protocol
    return {
        "model": result.model.name,
        "protocol": rules.name,
        "version": rules.version,
        "source": result.source,
        **_means(result.images),
        "intervals": intervals(result),
        "left_out": result.left_out,
        "expected_images": rules.images,
        "size": result.model.side,
        "precision": result.model.precision,
        "upsampling": result.upsampling,
        "forward_images_per_s": result.forward_images_per_s,
        "device": result.device,
        "leaks": leak_counts(result.leaks),
        "without_leaks": without_leaks(result),
        "rules": rules.as_dict(),
        "source_digest": result.source_digest,
        "model_sha256": result.model.sha256,
    }


def intervals(result: BenchmarkResult) -> dict[str, dict[str, list[float] | None]]:
    """Confidence intervals (95 %) of the means, as ``[low, high]``; None where there is none."""
    found: dict[str, dict[str, list[float] | None]] = {}
    for space, metric in measures(result):
        interval = bootstrap_interval([*scores_of(result, space, metric).values()])
        found.setdefault(space, {})[metric] = None if interval is None else [*interval]
    return found


def leak_counts(leaks: Leaks | None) -> dict[str, Any] | None:
    """How many images of the benchmark were trained on, with examples."""
    if leaks is None:
        return None
    return {
        "checked": leaks.checked,
        "why": leaks.why,
        "trained_on": leaks.trained_on,
        "exact": len(leaks.exact),
        "near": len(leaks.near),
        "examples": [list(example) for example in leaks.examples],
        "validated": list(leaks.validated),
    }


def without_leaks(result: BenchmarkResult) -> dict[str, Any] | None:
    """Counts and means over the images that were not trained on; None where none was."""
    leaked = set((*result.leaks.exact, *result.leaks.near)) if result.leaks else set()
    if not leaked:
        return None
    return _means(image for image in result.images if image.sample_id not in leaked)


def comparison_row(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain values."""
    interval = comparison.interval
    return asdict(comparison) | {"interval": None if interval is None else [*interval]}


def image_rows(result: BenchmarkResult) -> list[dict[str, Any]]:
    """What is known of every image that the protocol takes, skipped ones too."""
    return [_image_row(image) for image in result.images]


def _image_row(image: ScoredImage) -> dict[str, Any]:
    score = image.score
    affine = None if score.affine is None else [score.affine.scale, score.affine.shift]
    return {
        "path": image.path,
        "sample_id": image.sample_id,
        "sha256": image.sha256,
        "skipped": score.skipped,
        "valid_pixels": score.valid_pixels,
        "affine": affine,
        "metrics": {
            space: {name: value_of(image, space, name) for name in metrics}
            for space, metrics in score.metrics.items()
        },
    }


def _means(images: Iterable[ScoredImage]) -> dict[str, Any]:
    summary = summarise(image.score for image in images)
    metrics = {
        space: {name: _number(value) for name, value in names.items()}
        for space, names in summary["metrics"].items()
    }
    return summary | {"metrics": metrics}


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _compared(baseline: BenchmarkResult, other: BenchmarkResult) -> Iterator[Comparison]:
    for space, metric in measures(other):
        before, after = (scores_of(result, space, metric) for result in (baseline, other))
        common = [sample_id for sample_id in before if sample_id in after]
        if not common:
            continue
        found = paired_difference([before[i] for i in common], [after[i] for i in common])
        yield Comparison(
            protocol=other.protocol.ref,
            source=other.source,
            baseline=baseline.model.name,
            model=other.model.name,
            space=space,
            metric=metric,
            images=found.images,
            difference=found.mean,
            interval=found.interval,
            p_value=found.p_value,
            p_holm=found.p_value,
            verdict="open",
        )


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """P values corrected within each metric and space: those are read side by side."""
    families: dict[tuple[str, str], list[int]] = {}
    for place, each in enumerate(comparisons):
        families.setdefault((each.space, each.metric), []).append(place)
    judged = list(comparisons)
    for places in families.values():
        corrected = holm([comparisons[place].p_value for place in places])
        for place, p_value in zip(places, corrected, strict=True):
            judged[place] = _judged(comparisons[place], p_value)
    return judged


def _judged(comparison: Comparison, p_holm: float) -> Comparison:
    if p_holm >= SIGNIFICANT:
        return replace(comparison, p_holm=p_holm, verdict="open")
    is_better = (comparison.difference > 0) == (comparison.metric in HIGHER_IS_BETTER)
    return replace(comparison, p_holm=p_holm, verdict="better" if is_better else "worse")

"""From scores per image and seed to a table: means, spreads, and differences row by row.

Scores of one stage and set are S x I, seeds by images. Rows differ by little and images by much, so
rows are compared image by image: the mean over images of (this row - the row above), where an
image's value is its mean over the seeds. Its standard error is that of a mean over images and, as
the seeds' networks differ too, not smaller than that of a mean over seeds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

TITLES = {
    "teacher": "teacher",
    "labelled": "labelled only",
    "pseudo": "+ pseudo-labels, no perturbation",
    "perturbed": "+ perturbation",
    "aligned": "+ feature alignment",
}
# arXiv:2401.10891, Table 9: AbsRel of ViT-L, the mean over its six sets.
PAPER = {"labelled": 0.180, "pseudo": 0.179, "perturbed": 0.173, "aligned": 0.167}

Results = Sequence[Mapping[str, Any]]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """A row less another one, image by image.

    Attributes:
        mean: Below 0 where the score fell.
        error: Standard error of the mean.
        better: Share of images that got better, 0 to 1.
        seeds: Of how many seeds the mean got better.
    """

    mean: float
    error: float
    better: float
    seeds: int


def collected(results: Results, stage: str, where: str, metric: str) -> Scores:
    """Scores of one stage on one set, seeds by images, NaN where an image has none."""
    found = sorted(
        (result for result in results if result["stage"] == stage), key=lambda r: r["seed"]
    )
    return np.array([result["scores"][where][metric] for result in found], np.float64)


def mean_and_spread(scores_SI: ArrayLike) -> tuple[float, float]:
    """Mean over images and seeds, and the deviation (n - 1) over seeds, NaN for a single one."""
    means = np.nanmean(np.asarray(scores_SI, np.float64), axis=1)
    return float(means.mean()), float(means.std(ddof=1)) if len(means) > 1 else float("nan")


def difference(above_SI: ArrayLike, below_SI: ArrayLike, *, lower_is_better: bool) -> Difference:
    """The lower row less the one above; images that either lacks are left out.

    Raises:
        ValueError: Where the two are of different images or seeds.
    """
    above, below = np.asarray(above_SI, np.float64), np.asarray(below_SI, np.float64)
    if above.shape != below.shape:
        raise ValueError(f"cannot pair scores of {above.shape} with {below.shape} images")
    change = (below - above)[:, ~np.isnan(above + below).any(axis=0)]
    gain = -change if lower_is_better else change
    errors = [_standard_error(change.mean(axis=0))]
    if len(change) > 1:
        errors.append(_standard_error(change.mean(axis=1)))
    return Difference(
        mean=float(change.mean()),
        error=max(errors),
        better=float((gain.mean(axis=0) > 0).mean()),
        seeds=int((gain.mean(axis=1) > 0).sum()),
    )


def table(results: Results, where: str, *, stages: Sequence[str]) -> Iterator[str]:
    """A Markdown table of one set; each difference is to the row above it."""
    seeds = complete_seeds(results, stages)
    results = [result for result in results if result["seed"] in seeds]
    images = collected(results, stages[0], where, "abs_rel").shape[1]
    yield f"{where}: {images} images, seeds {', '.join(map(str, seeds))}"
    yield ""
    yield "| | AbsRel | change | better in | δ1 | change | paper's AbsRel |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    above: str | None = None
    for stage in stages:
        abs_rel, delta1 = (
            _with_spread(collected(results, stage, where, metric))
            for metric in ("abs_rel", "delta1")
        )
        change, better, delta = ("", "", "") if not above else _cells(results, above, stage, where)
        paper = f"{PAPER[stage]:.3f}" if stage in PAPER else ""
        cells = (TITLES[stage], abs_rel, change, better, delta1, delta, paper)
        yield f"| {' | '.join(cells)} |"
        above = stage
    yield ""
    for first in stages[: min(2, len(stages) - 1)]:
        absolute, better, delta = _cells(results, first, stages[-1], where)
        yield f"Last row less {TITLES[first]}: AbsRel {absolute}, better in {better}; δ1 {delta}."


def complete_seeds(results: Results, stages: Sequence[str]) -> list[int]:
    """The seeds of which every stage is there."""
    have: dict[int, set[str]] = {}
    for result in results:
        have.setdefault(result["seed"], set()).add(result["stage"])
    return sorted(seed for seed, found in have.items() if found.issuperset(stages))


def _with_spread(scores_SI: Scores) -> str:
    mean, spread = mean_and_spread(scores_SI)
    return f"{mean:.4f}" if np.isnan(spread) else f"{mean:.4f} ± {spread:.4f}"


def _cells(results: Results, above: str, below: str, where: str) -> tuple[str, str, str]:
    """How one row differs from another: AbsRel, how often it is better, δ1."""
    before, after = (collected(results, stage, where, "abs_rel") for stage in (above, below))
    abs_rel = difference(before, after, lower_is_better=True)
    share = abs_rel.mean / mean_and_spread(before)[0]
    before_delta, after_delta = (
        collected(results, stage, where, "delta1") for stage in (above, below)
    )
    delta1 = difference(before_delta, after_delta, lower_is_better=False)
    return (
        f"{abs_rel.mean:+.4f} ± {abs_rel.error:.4f} ({share:+.1%})",
        f"{abs_rel.seeds} of {len(after)} seeds, {abs_rel.better:.0%} of images",
        f"{delta1.mean:+.4f} ± {delta1.error:.4f}",
    )


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")

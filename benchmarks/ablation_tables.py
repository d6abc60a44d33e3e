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

LOWER_IS_BETTER = {"abs_rel": True, "delta1": False}
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
    """A Markdown table of one set; each difference is to the row above it among the students."""
    seeds = complete_seeds(results, stages)
    results = [result for result in results if result["seed"] in seeds]
    images = collected(results, stages[0], where, "abs_rel").shape[1]
    yield f"{where}: {images} images, {len(seeds)} seeds"
    yield ""
    yield "| | AbsRel | change | seeds, images better | δ1 | change | paper's AbsRel |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    above: str | None = None
    for stage in stages:
        cells = [TITLES[stage]]
        for metric in ("abs_rel", "delta1"):
            scores = collected(results, stage, where, metric)
            cells.append("{:.4f} ± {:.4f}".format(*mean_and_spread(scores)))
            cells += _change(results, above, stage, where, metric)
        cells.append(f"{PAPER[stage]:.3f}" if stage in PAPER else "")
        yield f"| {' | '.join(cells)} |"
        above = None if stage == "teacher" else stage


def complete_seeds(results: Results, stages: Sequence[str]) -> list[int]:
    """The seeds of which every stage is there."""
    have: dict[int, set[str]] = {}
    for result in results:
        have.setdefault(result["seed"], set()).add(result["stage"])
    return sorted(seed for seed, found in have.items() if found.issuperset(stages))


def _change(
    results: Results, above: str | None, stage: str, where: str, metric: str
) -> Iterator[str]:
    """The cells that compare a row with the one above it; counts for AbsRel alone."""
    lower = LOWER_IS_BETTER[metric]
    if above is None:
        yield from ("", "") if lower else ("",)
        return
    before = collected(results, above, where, metric)
    after = collected(results, stage, where, metric)
    change = difference(before, after, lower_is_better=lower)
    if lower:
        share = change.mean / mean_and_spread(before)[0]
        yield f"{change.mean:+.4f} ± {change.error:.4f} ({share:+.1%})"
        yield f"{change.seeds} of {len(after)}, {change.better:.0%}"
    else:
        yield f"{change.mean:+.4f} ± {change.error:.4f}"


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")

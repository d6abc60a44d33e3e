"""An evaluation in words: numbers as cells, a protocol spelt out, what must be known of a result.

They are made of the rows of `jobs.evaluation_summary.summarise_results`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.evaluation_summary import Comparison
from jobs.report_page import Fact
from model.metrics import HIGHER_IS_BETTER

Row = Mapping[str, Any]  # of a summary's results: one model on one benchmark

ALIGNMENTS = {
    "affine_disparity": "scale and shift by least squares in disparity, per image",
    "affine_depth": "scale and shift by least squares in depth, per image",
    "median_scale": "ratio of the medians in depth, per image",
    "none": "none: metres against metres",
}
UPSAMPLINGS = {
    "bilinear": "bilinear, pixel centres in place, as Depth Anything V1",
    "bilinear_corners": "bilinear, corners in place, as Depth Anything V2",
    "bicubic": "bicubic, as transformers",
}
FEW = 20  # images, below which a bootstrap interval is too narrow


def title_of(row: Row) -> str:
    """A benchmark in words: protocol and source."""
    return f"{row['protocol']}@{row['version']} on {row['source']}"


def headline(group: Sequence[Row]) -> tuple[str, str] | None:
    """The space and metric to rank by: the protocol's first that all of a benchmark have."""
    rules = group[0]["rules"]
    for space in rules["spaces"]:
        for metric in rules["metrics"]:
            if all(mean_of(row, space, metric) is not None for row in group):
                return space, metric
    return None


def mean_of(row: Row, space: str, metric: str) -> float | None:
    """None where there is none."""
    mean: float | None = row["metrics"].get(space, {}).get(metric)
    return mean


def protocol_facts(group: Sequence[Row]) -> tuple[Fact, ...]:
    """A protocol spelt out: what decides its numbers."""
    rules = group[0]["rules"]
    is_map = rules["truth"] == "map"
    ways = dict.fromkeys(row["upsampling"] for row in group)
    size = rules["size"]
    images = rules["images"]
    facts = {
        "Protocol": f"{rules['name']}@{rules['version']}",
        "Truth": "a value per pixel" if is_map else "which of two points is nearer",
        "Split": rules["split"] or "all that the source has",
        "Images in the split": None if images is None else f"{images:,}",
        "Taken by path": rules["only"],
        "Alignment": ALIGNMENTS.get(rules["alignment"], rules["alignment"]) if is_map else None,
        "Crop": _crop(rules["crop"]) if is_map else None,
        "Depth limits": _limits(rules["minimum_depth"], rules["maximum_depth"]) if is_map else None,
        "Interpolation": ", ".join(UPSAMPLINGS.get(way, way) for way in ways),
        "Size at the input": f"{size} px, shorter side" if size else "the model's own",
        "Spaces": ", ".join(rules["spaces"]),
        "Equally far": None if is_map else f"within {rules.get('equality', 0):.1%} of disparity",
        "Fewest valid pixels": f"{rules['minimum_valid_pixels']:,}" if is_map else None,
    }
    return tuple(Fact(label, value) for label, value in facts.items() if value is not None)


def remarks(group: Sequence[Row]) -> list[str]:
    """What a reader must know before believing a number, one sentence each."""
    return [f"{row['model']}: {remark}" for row in group for remark in _remarks(row)]


def leak_sentence(leaks: Row) -> str:
    """What is known of images that were trained on."""
    text = _search_sentence(leaks)
    if validated := leaks.get("validated"):
        text += f" {validation_sentence(validated)}."
    return text


def validation_sentence(models: Sequence[str]) -> str:
    """What it means that models were validated on a benchmark."""
    named = ", ".join(models)
    return f"Scored on while in training (--validation), and perhaps chosen by it: {named}"


def _search_sentence(leaks: Row) -> str:
    if leaks["checked"] == "none":
        why = leaks["why"] or "not asked for"
        return f"not checked for images that it was trained on: {why.rstrip('.')}."
    against = f"{leaks['trained_on']:,} images it was trained on"
    if leaks["exact"] or leaks["near"]:
        text = (
            f"not zero-shot: among the {against} are {leaks['exact']:,} of this benchmark "
            f"and {leaks['near']:,} that look like one of it."
        )
    elif leaks["checked"] == "exact":
        text = f"none of the {against} has the bytes of one of this benchmark."
    else:
        text = f"none of the {against} is one of this benchmark or looks like one."
    more = str(leaks["why"]).rstrip(".")
    return f"{text} {more[:1].upper()}{more[1:]}." if more else text


def metric_title(space: str, metric: str) -> str:
    """For example ``depth abs_rel ↓``."""
    return f"{space} {metric}{arrow(metric)}"


def short_name(name: str, names: Sequence[str]) -> str:
    """The last part of a model's path or address, where that tells it from the others."""
    tails = [each.rstrip("/").rpartition("/")[2] for each in names]
    tail = name.rstrip("/").rpartition("/")[2]
    return tail if tails.count(tail) == 1 else name


def arrow(metric: str) -> str:
    """Where better is, behind a space that does not break."""
    return "\u00a0↑" if metric in HIGHER_IS_BETTER else "\u00a0↓"


def mean_cell(row: Row, space: str, metric: str) -> str:
    """A mean with its interval."""
    mean = number(mean_of(row, space, metric))
    interval = row["intervals"].get(space, {}).get(metric)
    return mean if interval is None else f"{mean} ({number(interval[0])} to {number(interval[1])})"


def difference_cell(comparison: Comparison) -> str:
    """A difference with its interval."""
    text = signed(comparison.difference)
    if comparison.interval is None:
        return text
    low, high = (signed(bound) for bound in comparison.interval)
    return f"{text} ({low} to {high})"


def number(value: float | None) -> str:
    """Four decimals, fewer of large numbers; powers of ten where that says 0 or fills a line."""
    if value is None:
        return "–"
    if 0 < abs(value) < 5e-5 or abs(value) >= 1e6:
        return f"{value:.1e}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"


def signed(value: float) -> str:
    """With its sign, a true minus."""
    return f"{'−' if value < 0 else '+'}{number(abs(value))}"


def p_value(value: float) -> str:
    """To the fourth decimal, below which no permutation sees."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def parameters(count: int) -> str:
    """For example ``24.8 M``."""
    return f"{count / 1e6:,.1f} M" if count >= 1e5 else f"{count:,}"


def _remarks(row: Row) -> Iterator[str]:
    taken = row["images"] + sum(row["skipped"].values())
    if row["expected_images"] not in {None, taken}:
        yield f"{taken:,} images, and the split has {row['expected_images']:,}."
    if row["leaks"]:
        yield leak_sentence(row["leaks"])
    if (clean := row["without_leaks"]) and (measure := headline([row])):
        mean = number(mean_of(clean, *measure))
        yield f"without those {metric_title(*measure)} is {mean} (images: {clean['images']:,})."
    if 1 < row["images"] < FEW:
        yield f"intervals from {row['images']} images are too narrow."
    if flipped := row["flipped"]:
        yield f"images in which alignment turned the prediction round, far for near: {flipped:,}."
    if flat := row["flat"]:
        yield f"images of which it made one value, scored as the mean of the truth: {flat:,}."


def _limits(nearest: float | None, farthest: float | None) -> str | None:
    if nearest is None and farthest is None:
        return "none"
    low = "0" if nearest is None else f"{nearest:g}"
    return f"{low} m to {farthest:g} m" if farthest is not None else f"from {low} m"


def _crop(crop: Sequence[Any] | None) -> str:
    """Of a `model.protocol_fields.Crop`, also after a round trip through JSON."""
    if crop is None:
        return "none"
    top, bottom, left, right, *rest = crop
    if rest and rest[0]:
        height, width = rest[0]
        size = f"of {height} x {width} pixels"
        return f"rows {top:g} to {bottom:g} and columns {left:g} to {right:g} {size}"
    return f"rows {top:.2%} to {bottom:.2%} and columns {left:.2%} to {right:.2%}"

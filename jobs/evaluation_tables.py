"""The tables of an evaluation, as cells of text: what Markdown and the page both show.

They are made of the rows of `jobs.evaluation_summary.summarise_results`. A mean stands with its
95 % interval; ``↓`` behind a metric says that lower is better. A cell may have several lines.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.evaluation_ranking import is_higher_better
from jobs.evaluation_summary import Comparison
from jobs.readable import readable_number
from jobs.report_page import Fact, Table

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
VERDICTS = {"better": "better", "worse": "worse", "open": "not shown"}
MARKS = {"better": " *", "worse": " *", "open": ""}
Row = Mapping[str, Any]  # of a summary's results: one model on one benchmark

FEW = 20  # images, below which a bootstrap interval is too narrow


def benchmarks(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of all models under the same protocol on the same source, in the order given."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(title_of(row), []).append(row)
    return list(groups.values())


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


def title_of(row: Row) -> str:
    """A benchmark in words: protocol and source."""
    return f"{row['protocol']}@{row['version']} on {row['source']}"


def models_table(models: Sequence[Row]) -> Table:
    """Who was evaluated."""
    rows = [
        (
            model["name"],
            model["family"].replace("_", " "),
            model["geometry"].replace("_", " "),
            parameters(model["parameters"]),
            f"{model['side']} px",
            model["precision"],
            model["licence"] or "not known",
            model["sha256"][:12],
        )
        for model in models
    ]
    columns = (
        "Model", "Family", "Predicts", "Parameters", "Shorter side", "Precision", "Licence",
        "Weights",
    )  # fmt: skip
    return Table(columns, tuple(rows), (False, False, False, True, True, False, False, False))


def overview_table(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> Table | None:
    """Models by benchmarks, each by its first metric; None where nothing could be scored."""
    groups = [(group, headline(group)) for group in benchmarks(rows)]
    ranked = [(group, measure) for group, measure in groups if measure is not None]
    if not ranked:
        return None
    lines = tuple(
        (name, *(_overview_cell(name, group, measure, comparisons) for group, measure in ranked))
        for name in dict.fromkeys(row["model"] for row in rows)
    )
    columns = tuple(f"{title_of(group[0])}\n{metric_title(*measure)}" for group, measure in ranked)
    return Table(("Model", *columns), lines, (False, *(True for _ in columns)))


def scores_table(group: Sequence[Row]) -> Table:
    """All metrics of a benchmark: a metric per row, a model per column."""
    measures = dict.fromkeys(
        (space, metric)
        for row in group
        for space, metrics in row["metrics"].items()
        for metric in metrics
    )
    lines = tuple(
        (metric_title(*measure), *(mean_cell(row, *measure) for row in group))
        for measure in measures
    )
    columns = ("Mean over images (95 % interval)", *(row["model"] for row in group))
    return Table(columns, lines, (False, *(True for _ in group)))


def runs_table(group: Sequence[Row]) -> Table:
    """How each model came to its scores: counts, settings, speed."""
    columns = (
        "Model", "Scored", "Skipped", "Left out", "Flipped", "Valid pixels", "Shorter side",
        "Precision", "Upsampling", "Images/s", "Device",
    )  # fmt: skip
    numeric = (False, True, False, True, True, True, True, False, False, True, False)
    return Table(columns, tuple(map(_run_row, group)), numeric)


def differences_table(comparisons: Sequence[Comparison]) -> Table | None:
    """Models against the first; None for a single model."""
    if not comparisons:
        return None
    rows = tuple(
        (
            each.model,
            metric_title(each.space, each.metric),
            f"{each.images:,}",
            difference_cell(each),
            p_value(each.p_value),
            p_value(each.p_holm),
            VERDICTS[each.verdict],
        )
        for each in comparisons
    )
    columns = (
        f"Against {comparisons[0].baseline}", "Metric", "Images in common",
        "Mean difference (95 % interval)", "p", "p, Holm", "Difference",
    )  # fmt: skip
    return Table(columns, rows, (False, False, True, True, True, True, False))


def differences_of(group: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those of one benchmark."""
    here = f"{group[0]['protocol']}@{group[0]['version']}", group[0]["source"]
    return [each for each in comparisons if (each.protocol, each.source) == here]


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
    return f"{text} {leaks['why']}".rstrip()


def metric_title(space: str, metric: str) -> str:
    """For example ``depth abs_rel ↓``."""
    return f"{space} {metric} {'↑' if is_higher_better(metric) else '↓'}"


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
    """Four decimals, fewer of large numbers."""
    if value is None:
        return "–"
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


def _overview_cell(
    name: str, group: Sequence[Row], measure: tuple[str, str], comparisons: Sequence[Comparison]
) -> str:
    found = [row for row in group if row["model"] == name]
    if not found:
        return "–"
    lines = [mean_cell(found[0], *measure).replace(" (", "\n(", 1)]
    for each in differences_of(group, comparisons):
        if (each.model, each.space, each.metric) == (name, *measure):
            lines.append(f"{signed(each.difference)}{MARKS[each.verdict]}")
    return "\n".join(lines)


def _run_row(row: Row) -> tuple[str, ...]:
    speed = row["forward_images_per_s"]
    return (
        row["model"],
        f"{row['images']:,}",
        ", ".join(f"{reason} {count:,}" for reason, count in row["skipped"].items()) or "–",
        f"{row['left_out']:,}",
        f"{row.get('flipped', 0):,}",
        f"{row['valid_pixels']:,}",
        f"{row['size']} px",
        row["precision"],
        row["upsampling"],
        "–" if speed is None else readable_number(speed),
        row["device"] or "–",
    )


def _remarks(row: Row) -> Iterator[str]:
    taken = row["images"] + sum(row["skipped"].values())
    if row["expected_images"] not in {None, taken}:
        yield f"{taken:,} images, and the split has {row['expected_images']:,}."
    if row["leaks"]:
        yield leak_sentence(row["leaks"])
    if (clean := row["without_leaks"]) and (measure := headline([row])):
        mean = number(mean_of(clean, *measure))
        yield f"over the {clean['images']:,} others {metric_title(*measure)} is {mean}."
    if 0 < row["images"] < FEW:
        yield f"intervals from {row['images']} images are too narrow."
    if flipped := row.get("flipped", 0):
        yield f"alignment turned the prediction round, far for near, in {flipped:,} images."


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

"""The tables of an evaluation, as cells of text: what Markdown and the page both show.

They are made of the rows of `jobs.evaluation_summary.summarise_results`. A mean stands with its
95 % interval; ``↓`` behind a metric says that lower is better. A cell may have several lines.
"""

from collections.abc import Sequence

from jobs.evaluation_summary import Comparison
from jobs.evaluation_words import (
    Row,
    arrow,
    difference_cell,
    headline,
    mean_cell,
    mean_of,
    metric_title,
    number,
    p_value,
    parameters,
    short_name,
    signed,
    title_of,
)
from jobs.readable import readable_number
from jobs.report_page import Table
from model.protocols import Protocol
from model.published import Published, published_for

VERDICTS = {"better": "better", "worse": "worse", "open": "not shown"}
FITTING = 2  # models whose means and intervals stand on one line
MARKS = {"better": " *", "worse": " *", "open": ""}
HOW_TO_READ = (
    "Means over images with their 95 % intervals (bootstrap over images, BCa). Below a mean: the "
    "difference from the first model on the images that both were scored on; * where a sign-flip "
    "permutation test finds it (p < 0.05 after Holm, corrected over all comparisons by the same "
    "metric). Frames of one video are not independent, and their intervals too narrow."
)
AGAIN = {"yes": "yes", "about": "about", "no": "no", "untried": "not tried"}


def benchmarks(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of all models under the same protocol on the same source, in the order given."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(title_of(row), []).append(row)
    return list(groups.values())


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
    before = "\n(" if len(group) > FITTING else " ("
    lines = tuple(
        (
            metric_title(*measure),
            *(mean_cell(row, *measure).replace(" (", before, 1) for row in group),
        )
        for measure in measures
    )
    names = [row["model"] for row in group]
    columns = ("Mean over images", *(short_name(name, names) for name in names))
    title = "All metrics, with 95 % intervals"
    return Table(columns, lines, (False, *(True for _ in group)), title)


def runs_table(group: Sequence[Row]) -> Table:
    """How each model came to its scores: counts, settings, speed."""
    compared = "Valid pixels" if group[0]["rules"]["truth"] == "map" else "Pairs"
    columns = (
        "Model", "Scored", "Skipped", "Left out", "Flipped", "Flat", compared,
        "Shorter side", "Precision", "Upsampling", "Images/s", "Device",
    )  # fmt: skip
    numeric = (False, True, False, True, True, True, True, True, False, False, True, False)
    return Table(columns, tuple(map(_run_row, group)), numeric, "How each model was run")


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
        "Model", "Metric", "Images in common",
        "Mean difference (95 % interval)", "p", "p, Holm", "Difference",
    )  # fmt: skip
    title = f"Against {comparisons[0].baseline}"
    return Table(columns, rows, (False, False, True, True, True, True, False), title)


def published_table(group: Sequence[Row]) -> Table | None:
    """What is printed of the benchmark under our numbers; None where nothing is."""
    rules = Protocol(**group[0]["rules"])
    printed = published_for(rules)
    lines: list[tuple[str, ...]] = []
    for metric in dict.fromkeys(each.metric for each in printed):
        lines += [
            (metric_title(space, metric), row["model"], number(mean), "this evaluation", "")
            for space in rules.spaces
            for row in group
            if (mean := mean_of(row, space, metric)) is not None
        ]
        lines += [_printed_row(each) for each in printed if each.metric == metric]
    columns = ("Metric", "Model", "Mean", "Where", "Came out again")
    title = "Beside what others printed"
    return (
        Table(columns, tuple(lines), (False, False, True, False, False), title) if lines else None
    )


def leaks_table(group: Sequence[Row]) -> Table | None:
    """Examples of images that were trained on; None without any."""
    lines = tuple(
        (row["model"], *example)
        for row in group
        for example in (row["leaks"] or {}).get("examples", ())
    )
    columns = ("Model", "Image of the benchmark", "Trained on, source", "Image")
    return Table(columns, lines, (False,) * 4, "Images that were trained on") if lines else None


def benchmark_tables(group: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Table]:
    """All that is told of one benchmark, in the order of reading; the scores come first."""
    tables = (
        scores_table(group),
        runs_table(group),
        leaks_table(group),
        published_table(group),
        differences_table(differences_of(group, comparisons)),
    )
    return [table for table in tables if table is not None]


def differences_of(group: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those of one benchmark."""
    here = f"{group[0]['protocol']}@{group[0]['version']}", group[0]["source"]
    return [each for each in comparisons if (each.protocol, each.source) == here]


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


def _printed_row(printed: Published) -> tuple[str, ...]:
    again = AGAIN[printed.reproduces]
    if printed.found:
        again += f": {printed.found}"
    if printed.trained_on_it:
        again += "; trained on this data set"
    metric = f"{printed.metric}{arrow(printed.metric)}"
    return metric, printed.model, f"{printed.value:g}", printed.source, again


def _run_row(row: Row) -> tuple[str, ...]:
    speed = row["forward_images_per_s"]
    return (
        row["model"],
        f"{row['images']:,}",
        ", ".join(f"{reason} {count:,}" for reason, count in row["skipped"].items()) or "–",
        f"{row['left_out']:,}",
        f"{row['flipped']:,}",
        f"{row['flat']:,}",
        f"{row['valid_pixels']:,}",
        f"{row['size']} px",
        row["precision"],
        row["upsampling"],
        "–" if speed is None else readable_number(speed),
        row["device"] or "–",
    )

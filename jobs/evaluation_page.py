"""An evaluation as a page: tables, accuracy against cost, and the best and worst images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobs.evaluation_figures import figure
from jobs.evaluation_pareto import cost_charts
from jobs.evaluation_ranking import benchmarks as by_benchmark
from jobs.evaluation_ranking import headline, ranking, scores_of
from jobs.evaluation_result import BenchmarkResult, ScoredPicture
from jobs.evaluation_summary import Comparison
from jobs.evaluation_tables import (
    HOW_TO_READ,
    benchmark_tables,
    benchmarks,
    models_table,
    overview_table,
)
from jobs.evaluation_words import protocol_facts, remarks, short_name, title_of
from jobs.report_charts import Chart, histogram
from jobs.report_page import Fact, Page, Section
from model.metrics import HIGHER_IS_BETTER

LONG = 12  # rows of a table, beyond which it is folded
LOOKING = (
    "Disparity: bright is near, and prediction and truth have the same colours. Error: red is "
    "predicted too near, blue too far, in shares of the true disparity; full colour at the number "
    "below it, which is each image's own. Grey is not scored."
)
LOOKING_AT_PAIRS = (
    "The two points of a pair are joined, and the larger mark is the nearer one, as people noted "
    "it. Blue discs ●: the prediction says so too. Orange crosses ✕: it does not. In the "
    "prediction bright is near."
)


def evaluation_page(
    summary: Mapping[str, Any],
    results: Sequence[BenchmarkResult],
    comparisons: Sequence[Comparison],
    pictures: Sequence[Sequence[ScoredPicture]] = (),
    *,
    colophon: str,
) -> Page:
    """Build the page; ``pictures`` are those of each result, in the order of the results."""
    shown = {id(result): some for result, some in zip(results, pictures, strict=False)}
    models = {model["name"]: model for model in summary["models"]}
    groups = [*zip(by_benchmark(results), benchmarks(summary["results"]), strict=True)]
    sections = [*_overview(summary, comparisons)]
    if charts := tuple(chart for _, rows in groups for chart in cost_charts(rows, models)):
        sections.append(Section("cost", "Accuracy and cost", charts=charts))
    for number, (group, rows) in enumerate(groups, start=1):
        sections += _benchmark(f"b{number}", group, rows, comparisons, shown)
    return Page(
        kind="Evaluation",
        name=_name(list(models), len(groups)),
        summary=f"{', '.join(models)} on {', '.join(title_of(rows[0]) for _, rows in groups)}.",
        tiles=_tiles(summary["results"], len(groups)),
        sections=tuple(sections),
        colophon=colophon,
    )


def _overview(summary: Mapping[str, Any], comparisons: Sequence[Comparison]) -> Iterator[Section]:
    table = overview_table(summary["results"], comparisons)
    if table is not None:
        yield Section("overview", "Overview", HOW_TO_READ, table=table)
    yield Section("models", "Models", table=models_table(summary["models"]))


def _benchmark(
    anchor: str,
    group: Sequence[BenchmarkResult],
    rows: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Comparison],
    shown: Mapping[int, Sequence[ScoredPicture]],
) -> Iterator[Section]:
    scores, *others = benchmark_tables(rows, comparisons)
    yield Section(
        anchor,
        title_of(rows[0]),
        text=rows[0]["rules"]["description"],
        notes=tuple(remarks(rows)),
        table=scores,
    )
    if charts := tuple(_histograms(group)):
        yield Section(f"{anchor}-spread", "Image by image", charts=charts, below=True)
    yield Section(f"{anchor}-rules", "How it was scored", facts=protocol_facts(rows), below=True)
    for number, table in enumerate(others, start=1):
        yield Section(
            f"{anchor}-t{number}",
            table.title,
            table=replace(table, title=""),
            below=True,
            folded=len(table.rows) > LONG,
        )
    for number, result in enumerate(group, start=1):
        yield from _images(
            f"{anchor}-m{number}", result, shown.get(id(result), ()), is_open=number == 1
        )


def _images(
    anchor: str, result: BenchmarkResult, pictures: Sequence[ScoredPicture], *, is_open: bool
) -> Iterator[Section]:
    """The better half of what is shown, best first, and the rest, worst first."""
    places = {image.sample_id: place for place, image in enumerate(ranking(result))}
    ranked = sorted(
        (each for each in pictures if each.scored.sample_id in places),
        key=lambda each: places[each.scored.sample_id],
    )
    best = [each for each in ranked if 2 * places[each.scored.sample_id] < len(places)]
    halves = {"Best": best, "Worst": ranked[len(best) :][::-1]}
    first = best or halves["Worst"]
    for name, some in halves.items():
        if some:
            yield Section(
                f"{anchor}-{name.lower()}",
                f"{name} images of {result.model.name}",
                text=_looking(result) if some is first else "",
                figures=tuple(figure(each, result) for each in some),
                below=True,
                folded=not is_open,
            )


def _looking(result: BenchmarkResult) -> str:
    return LOOKING_AT_PAIRS if result.protocol.truth == "pairs" else LOOKING


def _histograms(group: Sequence[BenchmarkResult]) -> Iterator[Chart]:
    """Scores of single images, all models on the same axis."""
    measure = headline(group)
    if measure is None:
        return
    names = [result.model.name for result in group]
    columns = [[*scores_of(result, *measure).values()] for result in group]
    low, high = min(map(min, columns)), max(map(max, columns))
    is_log = low > 0 and measure[1] not in HIGHER_IS_BETTER
    for result, values in zip(group, columns, strict=True):
        chart = histogram(
            short_name(result.model.name, names),
            values,
            caption=f"Images by {' '.join(measure)}.",
            log=is_log,
            span=(low, high) if high > low else None,
        )
        if chart is not None:
            yield chart


def _name(models: Sequence[str], groups: int) -> str:
    if len(models) == 1:
        return models[0]
    return f"{len(models)} models on {groups} benchmark{'s' if groups != 1 else ''}"


def _tiles(rows: Sequence[Mapping[str, Any]], groups: int) -> tuple[Fact, ...]:
    images = {(row["protocol"], row["version"], row["source"]): row["images"] for row in rows}
    skipped = sum(sum(row["skipped"].values()) for row in rows)
    leaks = [row["leaks"] for row in rows if row["leaks"]]
    leaked = sum(each["exact"] + each["near"] for each in leaks)
    unchecked = sum(each["checked"] == "none" for each in leaks) + len(rows) - len(leaks)
    return (
        Fact("Benchmarks", f"{groups:,}"),
        Fact("Images scored", f"{sum(images.values()):,}", "by each model"),
        Fact("Skipped", f"{skipped:,}", "over all results"),
        Fact(
            "Trained on",
            f"{leaked:,}" if unchecked < len(rows) else "not known",
            f"{unchecked:,} of {len(rows):,} results not checked" if unchecked else "all checked",
        ),
    )

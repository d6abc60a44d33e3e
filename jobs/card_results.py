"""The results of a model card: one table per set of metrics, how each was scored, and leaks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.card_facts import CardFacts
from jobs.card_front_matter import scores_by_space
from jobs.evaluation_words import validation_sentence
from jobs.markdown import code, inline, table
from jobs.readable import readable_time
from model.metrics import HIGHER_IS_BETTER
from model.protocols import protocol
from pipeline.catalog import EvaluationRow

_TITLES = {
    "abs_rel": "AbsRel",
    "sq_rel": "SqRel",
    "rmse": "RMSE",
    "rmse_log": "RMSE log",
    "silog": "SILog",
    "delta1": "δ1",
    "delta2": "δ2",
    "delta3": "δ3",
    "boundary_f1": "Boundary F1",
    "pair_accuracy": "Pair accuracy",
    "whdr": "WHDR",
}
_UNKNOWN_TO_THIS_VERSION = "a protocol that this version does not know"

Cells = tuple[EvaluationRow, str, Mapping[str, float]]


def results_section(facts: CardFacts) -> list[str]:
    """Lines of the section."""
    if not facts.evaluations:
        return ["## Results", "", "It has not been evaluated, as far as the catalog knows."]
    return [
        "## Results",
        "",
        "Means over images, with 95 % confidence intervals where the evaluation has them; ↓ means "
        "lower is better. The newest result per protocol and benchmark.",
        "",
        *_tables(facts.evaluations),
        "How each was scored:",
        "",
        *(f"- {_how(row)}" for row in facts.evaluations),
        "",
        *_seen(facts),
    ]


def _tables(rows: Sequence[EvaluationRow]) -> Iterator[str]:
    """Results with the same metrics share a table: pairs of points have others than maps."""
    groups: dict[tuple[str, ...], list[Cells]] = {}
    for row in rows:
        for space, scores in scores_by_space(row).items():
            groups.setdefault(tuple(scores), []).append((row, space, scores))
    for metrics, group in groups.items():
        header = ["Benchmark", "Protocol", "Space", "Images", *map(_title, metrics)]
        yield from table(header, [_row(*each, metrics) for each in group], right=len(metrics) + 1)
        yield ""


def _row(
    row: EvaluationRow, space: str, scores: Mapping[str, float], metrics: Sequence[str]
) -> list[str]:
    about = [inline(row.source), code(f"{row.protocol}@{row.version}"), inline(space)]
    cells = [_cell(scores[metric], _interval(row, space, metric)) for metric in metrics]
    return [*about, f"{row.images:,}", *cells]


def _title(metric: str) -> str:
    return f"{_TITLES.get(metric, inline(metric))} {'↑' if metric in HIGHER_IS_BETTER else '↓'}"


def _cell(value: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return f"{value:.4g}"
    low, high = interval
    return f"{value:.4g} ({low:.4g} to {high:.4g})"


def _interval(row: EvaluationRow, space: str, metric: str) -> tuple[float, float] | None:
    """What the evaluation kept; results of earlier versions have none."""
    bounds = ((row.config.get("intervals") or {}).get(space) or {}).get(metric)
    return None if bounds is None else (float(bounds[0]), float(bounds[1]))


def _how(row: EvaluationRow) -> str:
    """The protocol in words, what was scored, and the settings that a result depends on."""
    facts = [f"{row.images:,} images{_of_split(row)}", f"{row.valid_pixels:,} valid pixels"]
    facts += [
        f"{words} {inline(row.config[key])}"
        for key, words in (("size", "size"), ("precision", "in"), ("upsampling", "upsampled"))
        if row.config.get(key)
    ]
    return (
        f"{code(f'{row.protocol}@{row.version}')} on {inline(row.source)}: {_description(row)} "
        f"{', '.join(facts)}; benchmark digest {code(row.source_digest)}, "
        f"code {code(row.code_version)}, {readable_time(row.created_at)} UTC."
    )


def _of_split(row: EvaluationRow) -> str:
    """What is missing of the images that the protocol's numbers are about."""
    expected, skipped = row.config.get("expected_images"), row.config.get("skipped") or {}
    notes = [f"{count:,} skipped: {inline(reason)}" for reason, count in skipped.items()]
    if expected not in (None, row.images + sum(skipped.values())):
        notes.insert(0, f"the split has {expected:,}")
    return f" ({'; '.join(notes)})" if notes else ""


def _description(row: EvaluationRow) -> str:
    """As the result carries it; those of earlier versions leave it to the protocol's name."""
    said = (row.config.get("protocol") or {}).get("description")
    try:
        return inline(said or protocol(f"{row.protocol}@{row.version}").description)
    except ValueError:
        return f"{_UNKNOWN_TO_THIS_VERSION}."


def _seen(facts: CardFacts) -> list[str]:
    """What is known of benchmark images that were trained on."""
    trained_on = {origin.name for origin in facts.behind if origin.kind == "source"}
    whole = sorted({row.source for row in facts.evaluations} & trained_on)
    lines = [f"- {inline(name)} is among what the model was made from." for name in whole]
    lines += [line for row in facts.evaluations if (line := _leaks(row))]
    if facts.trained_here and not whole:
        lines.insert(0, "- None of these benchmarks is among the sources that it was made from.")
    return ["Whether it has seen them in training:", "", *lines] if lines else []


def _leaks(row: EvaluationRow) -> str | None:
    leaks: Mapping[str, Any] = row.config.get("leaks") or {}
    checked = leaks.get("checked")
    if checked is None:
        return None
    where = f"- {inline(row.source)} ({code(f'{row.protocol}@{row.version}')}):"
    models = leaks.get("validated") or ()  # results of earlier versions have none
    validated = f" {inline(validation_sentence(models))}." if models else ""
    if checked == "none":
        return f"{where} not checked. {inline(leaks.get('why') or '')}".rstrip() + validated
    same = f"{leaks.get('exact', 0):,} of the same bytes"
    alike = f", {leaks.get('near', 0):,} that look alike" if checked == "near" else ""
    against = f"against {leaks.get('trained_on', 0):,} training images."
    return f"{where} {same}{alike}, {against}{validated}"

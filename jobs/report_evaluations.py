"""How a model scored, from the catalog: the newest result of each protocol, source and settings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.evaluation_words import leak_sentence, number
from jobs.readable import readable_time
from jobs.report_page import Section, Table
from pipeline.catalog import EvaluationRow, ModelRow

SETTINGS = ("size", "precision", "upsampling")

Scores = Mapping[str, float | None]


def evaluations_section(
    rows: Sequence[EvaluationRow], model: ModelRow, *, trained_on: set[str]
) -> Section:
    """The section of a model's page; results of other weights under its name are not shown."""
    own = [row for row in rows if row.model_sha256 == model.sha256]
    if not own:
        return Section("evaluation", "Evaluation", "It has not been evaluated yet.")
    kept = newest(own)
    return Section(
        "evaluation",
        "Evaluation",
        text=_origin({row.source for row in kept} & trained_on),
        notes=tuple(_notes(kept, older=len(own) - len(kept))),
        table=_table(kept),
    )


def newest(rows: Sequence[EvaluationRow]) -> list[EvaluationRow]:
    """The last of the rows, oldest first, that agree in protocol, source and settings."""
    last = {_key(row): row for row in rows}
    return sorted(last.values(), key=lambda row: row.created_at)


def by_space(metrics: Scores) -> dict[str, Scores]:
    """Scores are stored as ``space/metric``."""
    spaces: dict[str, dict[str, float | None]] = {}
    for key, value in metrics.items():
        space, _, name = key.rpartition("/")
        spaces.setdefault(space, {})[name] = value
    return dict(spaces)


def _key(row: EvaluationRow) -> tuple[object, ...]:
    settings = (row.config.get(name) for name in SETTINGS)
    return (row.protocol, row.version, row.source, *settings)


def _origin(seen: set[str]) -> str:
    if seen:
        return f"Not zero-shot: {', '.join(sorted(seen))} is among what the model was made from."
    return "Zero-shot: none of these sources is among what the model was made from."


def _notes(rows: Sequence[EvaluationRow], *, older: int) -> Iterator[str]:
    """What the protocols are, what was trained on, and what is not shown."""
    rules = {_ref(row): row.config.get("protocol") or {} for row in rows}
    for ref, fields in rules.items():
        if fields.get("description"):
            yield f"{ref}: {fields['description']}"
    for row in rows:
        leaks = row.config.get("leaks") or {}
        if leaks.get("exact") or leaks.get("near") or leaks.get("validated"):
            yield f"{_ref(row)} on {row.source}: {leak_sentence(leaks)}"
    if older:
        yield f"Older results of the same protocol, source and settings, not shown: {older:,}."


def _table(rows: Sequence[EvaluationRow]) -> Table:
    spaces = [(row, *space) for row in rows for space in by_space(row.metrics).items()]
    metrics = list(dict.fromkeys(name for _, _, scores in spaces for name in scores))
    before = ("Protocol", "Source", "Space")  # few, so that scores are seen on a narrow screen
    after = ("Images", "Valid pixels", "Input", "Device", "When (UTC)")
    return Table(
        (*before, *metrics, *after),
        tuple(_line(row, space, scores, metrics) for row, space, scores in spaces),
        (False, False, False, *(True for _ in metrics), True, True, False, False, False),
    )


def _line(
    row: EvaluationRow, space: str, scores: Scores, metrics: Sequence[str]
) -> tuple[str, ...]:
    return (
        _ref(row),
        row.source,
        space,
        *(_cell(row, space, name, scores.get(name)) for name in metrics),
        f"{row.images:,}",
        f"{row.valid_pixels:,}",
        _input(row.config),
        _unbroken(str(row.config.get("device") or "–")),
        _unbroken(readable_time(row.created_at) or ""),
    )


def _cell(row: EvaluationRow, space: str, metric: str, mean: float | None) -> str:
    """A mean, and its interval below where one was recorded."""
    interval = ((row.config.get("intervals") or {}).get(space) or {}).get(metric)
    if mean is None or not interval:
        return number(mean)
    return f"{number(mean)}\n({number(interval[0])} to {number(interval[1])})"


def _input(config: Mapping[str, Any]) -> str:
    """Settings in a few words; results of earlier versions have none."""
    size = config.get("size")
    words = [f"{size} px" if size else None, config.get("precision"), config.get("upsampling")]
    return _unbroken(", ".join(str(word) for word in words if word)) or "–"


def _unbroken(text: str) -> str:
    """On one line: the table is scrolled sideways in any case."""
    return text.replace(" ", "\u00a0")


def _ref(row: EvaluationRow) -> str:
    return f"{row.protocol}@{row.version}"

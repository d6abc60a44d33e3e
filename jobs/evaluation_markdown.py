"""An evaluation as Markdown: what goes into a pull request or a paper's appendix."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.evaluation_summary import Comparison
from jobs.evaluation_tables import (
    Row,
    benchmarks,
    differences_of,
    differences_table,
    models_table,
    overview_table,
    protocol_facts,
    remarks,
    runs_table,
    scores_table,
    title_of,
)
from jobs.readable import printable
from jobs.report_page import Table

HOW_TO_READ = (
    "Means over images with their 95 % intervals (bootstrap over images, BCa). Below a mean: the "
    "difference from the first model on the images that both were scored on; `*` where a sign-flip "
    "permutation test finds it (p < 0.05 after Holm, corrected over all comparisons by the same "
    "metric). Frames of one video are not independent, and their intervals too narrow."
)


def markdown(
    summary: Mapping[str, Any], comparisons: Sequence[Comparison], *, colophon: str
) -> str:
    """The whole of an evaluation but single images."""
    rows = summary["results"]
    overview = overview_table(rows, comparisons)
    blocks = [
        "# Evaluation",
        escaped(colophon),
        *([HOW_TO_READ, table(overview)] if overview else []),
        "## Models",
        table(models_table(summary["models"])),
        *(block for group in benchmarks(rows) for block in _benchmark(group, comparisons)),
    ]
    return "\n\n".join(blocks) + "\n"


def table(content: Table) -> str:
    """A table; a line break in a cell stays one."""
    rules = ["---:" if numeric else "---" for numeric in content.numeric]
    rows = [content.columns, *content.rows]
    head, *body = (f"| {' | '.join(map(_cell, row))} |" for row in rows)
    return "\n".join([head, f"| {' | '.join(rules)} |", *body])


def escaped(text: str) -> str:
    """Names cannot become markup: what has a meaning in Markdown or HTML loses it."""
    plain = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = re.sub(r"([\\`*|\[\]#~$])", r"\\\1", plain)
    return re.sub(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])", r"\\_", plain)


def _cell(text: str) -> str:
    return escaped(text).replace("\n", "<br>")


def _benchmark(group: Sequence[Row], comparisons: Sequence[Comparison]) -> list[str]:
    notes = [f"- {escaped(remark)}" for remark in remarks(group)]
    facts = [f"- {fact.label}: {escaped(fact.value)}" for fact in protocol_facts(group)]
    differences = differences_table(differences_of(group, comparisons))
    return [
        f"## {escaped(title_of(group[0]))}",
        escaped(group[0]["rules"]["description"]),
        table(scores_table(group)),
        *(["\n".join(notes)] if notes else []),
        *([table(differences)] if differences else []),
        table(runs_table(group)),
        "\n".join(facts),
    ]

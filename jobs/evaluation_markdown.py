"""An evaluation as Markdown: what goes into a pull request or a paper's appendix."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.evaluation_summary import Comparison
from jobs.evaluation_tables import (
    HOW_TO_READ,
    benchmark_tables,
    benchmarks,
    models_table,
    overview_table,
)
from jobs.evaluation_words import Row, protocol_facts, remarks, title_of
from jobs.markdown import inline
from jobs.report_page import Table


def markdown(
    summary: Mapping[str, Any], comparisons: Sequence[Comparison], *, colophon: str
) -> str:
    """The whole of an evaluation but single images."""
    rows = summary["results"]
    overview = overview_table(rows, comparisons)
    blocks = [
        "# Evaluation",
        inline(colophon),
        *([inline(HOW_TO_READ), table(overview)] if overview else []),
        "## Models",
        table(models_table(summary["models"])),
        *(block for group in benchmarks(rows) for block in _benchmark(group, comparisons)),
    ]
    return "\n\n".join(blocks) + "\n"


def table(content: Table) -> str:
    """A table under its title; a line break in a cell stays one."""
    rules = ["---:" if numeric else "---" for numeric in content.numeric]
    head, *body = (f"| {' | '.join(map(_cell, row))} |" for row in (content.columns, *content.rows))
    title = [f"**{inline(content.title)}**\n"] if content.title else []
    return "\n".join([*title, head, f"| {' | '.join(rules)} |", *body])


def _cell(text: str) -> str:
    return "<br>".join(map(inline, text.split("\n")))


def _benchmark(group: Sequence[Row], comparisons: Sequence[Comparison]) -> list[str]:
    notes = [f"- {inline(remark)}" for remark in remarks(group)]
    facts = [f"- {fact.label}: {inline(fact.value)}" for fact in protocol_facts(group)]
    return [
        f"## {inline(title_of(group[0]))}",
        inline(group[0]["rules"]["description"]),
        *(["\n".join(notes)] if notes else []),
        *(table(each) for each in benchmark_tables(group, comparisons)),
        "\n".join(facts),
    ]

"""The summary of a command, as people read it on stdout."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from jobs.plan_view import is_plan, plan_block
from jobs.readable import printable, readable_bytes, readable_duration, readable_time
from jobs.status_view import is_status, status_block
from jobs.summary_doctor import are_checks, checks_table
from jobs.summary_evaluation import evaluation_rows, is_cut

WIDTH_IN_FILES = 200  # a table in a log or a pipe is not folded to the 80 columns of no terminal
FOLDED = 16  # characters to which a long cell may be folded
FEWEST = 4  # columns beside the model to which a table that may lose some is cut
BETWEEN = 3  # characters of a table beside those of each column
DURATIONS = ("stages",)  # mappings whose values are seconds
SHARES = ("device_busy",)
# What a person is shown of lists with more columns than a table can have; --json has all.
COLUMNS = {
    "sources": (
        "name", "role", "images", "shards", "bytes", "dropped",
        "licence", "rehost", "commercial", "withdrawn",
    ),
    "presets": (
        "name", "title", "role", "images", "licence", "rehost", "commercial", "expected",
    ),
}  # fmt: skip
# What is not worth a line or a column where there is none of it.
ONLY_IF_ANY = (
    "withdrawn", "ignored", "by_reference", "pieces_known", "pieces_failed", "problems",
    "comparisons",
)  # fmt: skip
IN_TOTAL = ("dropped",)  # of those columns: counts per reason, added up
DIGESTS = ("sha256", "hash", "digest")
DIGEST_CHARACTERS = 12  # enough to tell things apart; --json has them whole


def print_summary(summary: Mapping[str, Any], *, stream: TextIO | None = None) -> None:
    """A line per key, a table per list of records, a tree per lineage."""
    stream = stream or sys.stdout
    if "card" in summary:  # Markdown, for a file as it is
        stream.write(summary["card"])
        return
    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        console = Console(file=stream, highlight=False, width=WIDTH_IN_FILES)
    if is_plan(summary):
        console.print(plan_block(summary))
        return
    if is_status(summary):
        console.print(status_block(summary))
        return
    console.print(_render_summary(summary, width=console.width))


def _render_summary(summary: Mapping[str, Any], *, width: int) -> RenderableType:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="bold")
    lines.add_column(overflow="fold")
    blocks: list[RenderableType] = []
    for key, value in summary.items():
        if key in ONLY_IF_ANY and not value:
            continue
        if key == "checks" and _is_records(value) and are_checks(value):
            blocks.append(checks_table(value))
        elif _is_records(value):
            rows = _for_people(key, evaluation_rows(key, value))
            blocks.append(_records(key, rows, width=width))
        elif _is_node(value):
            blocks += [Text(f"\n{_words(key)}", style="bold"), _tree(value)]
        else:
            lines.add_row(Text(_words(key)), Text(_cell(key, value)))
    return Group(*([lines] if lines.row_count else []), *blocks)


def _is_records(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and len(value) > 0
        and all(isinstance(item, Mapping) for item in value)
    )


def _for_people(title: str, records: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The columns to show, where there are more than can be read."""
    if title not in COLUMNS:
        return records
    empty = {name for name in ONLY_IF_ANY if not any(record.get(name) for record in records)}
    shown = [name for name in COLUMNS[title] if name not in empty]
    return [{name: _total(name, record.get(name)) for name in shown} for record in records]


def _total(name: str, value: Any) -> Any:
    return sum(value.values()) if name in IN_TOTAL and isinstance(value, Mapping) else value


def _is_node(value: object) -> bool:
    return isinstance(value, Mapping) and ("from" in value or "into" in value)


def _records(title: str, records: Sequence[Mapping[str, Any]], *, width: int) -> RenderableType:
    """A table; where it is too wide to be read, the records below each other."""
    every = list(dict.fromkeys(name for record in records for name in record))
    cells = {name: [_cell(name, record.get(name)) for record in records] for name in every}
    columns, widths = cells, _widths(cells, width)
    fewest = FEWEST + ("model" in cells) if is_cut(title) else len(cells)
    while widths is None and len(columns) > fewest:
        columns = {name: cells[name] for name in every[: len(columns) - 1]}
        widths = _widths(columns, width)
    if widths is None:
        return _one_below_the_other(title, cells)
    table = Table(
        title=Text(_words(title)), title_justify="left", header_style="bold", box=box.SIMPLE_HEAD
    )
    if hidden := len(cells) - len(columns):
        more = "column" if hidden == 1 else "columns"
        table.caption = Text(f"{hidden} more {more} in a wider window, or with --json", "dim")
        table.caption_justify = "left"
    for name, characters in zip(columns, widths, strict=True):
        numeric = all(isinstance(record.get(name), int | float | None) for record in records)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        header = Text(_words(name))
        table.add_column(header, justify=justify, overflow="fold", width=characters)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, row))
    return table


def _widths(columns: Mapping[str, Sequence[str]], width: int) -> list[int] | None:
    """Characters of each column: no word of a header is broken; None where that does not fit."""
    longest = [max(map(cell_len, cells)) for cells in columns.values()]
    words = [max(map(len, _words(name).split())) for name in columns]
    wanted = [max(cell, len(name)) for cell, name in zip(longest, columns, strict=True)]
    widths = [max(min(cell, FOLDED), word) for cell, word in zip(longest, words, strict=True)]
    spare = width - 1 - sum(widths) - BETWEEN * len(widths)
    for _ in range(spare):
        hungry = [i for i, characters in enumerate(widths) if characters < wanted[i]]
        if hungry:
            widths[min(hungry, key=widths.__getitem__)] += 1
    return widths if spare >= 0 else None


def _one_below_the_other(title: str, columns: Mapping[str, Sequence[str]]) -> RenderableType:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="bold", no_wrap=True)
    lines.add_column(overflow="fold")
    for cells in zip(*columns.values(), strict=True):
        lines.add_row("", "")
        for name, cell in zip(columns, cells, strict=True):
            lines.add_row(Text(f"  {_words(name)}"), Text(cell))
    return Group(Text(_words(title)), lines)


def _tree(node: Mapping[str, Any]) -> Tree:
    """A lineage: ``kind, name``, facts, and the next nodes under ``from`` or ``into``."""
    tree = Tree(_node_text(node))
    for child in (*node.get("from", ()), *node.get("into", ())):
        tree.children.append(_tree(child))
    return tree


def _node_text(node: Mapping[str, Any]) -> Text:
    facts = [
        f"{_words(key)} {_cell(key, value)}"
        for key, value in node.items()
        if key not in ("kind", "name") and isinstance(value, str | int | float)
    ]
    text = Text.assemble((f"{node['kind']} ", "dim"), (printable(str(node["name"])), "bold"))
    return text.append(f"  {', '.join(facts)}", style="dim") if facts else text


def _cell(key: str, value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return readable_bytes(value) if key == "bytes" else f"{value:,}"
    if isinstance(value, float) and key in SHARES:
        return f"{value:.0%}"
    if isinstance(value, float):
        return (readable_time(value) or "") if key.endswith("_at") else f"{value:,.4g}"
    if isinstance(value, Mapping) and key in DURATIONS:
        return ", ".join(f"{name} {readable_duration(s)}" for name, s in value.items()) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(name, item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(key, item) for item in value) or "none"
    if key.endswith(DIGESTS):
        return str(value)[:DIGEST_CHARACTERS]
    return printable(str(value))


def _words(key: str) -> str:
    return key.replace("_", " ")

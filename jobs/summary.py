"""The summary of a command, as people read it on stdout."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from jobs.readable import printable, readable_bytes, readable_duration, readable_time

WIDTH_IN_FILES = 200  # a table in a log or a pipe is not folded to the 80 columns of no terminal
DURATIONS = ("stages",)  # mappings whose values are seconds
SHARES = ("device_busy",)
DIGESTS = ("sha256", "hash", "digest")
DIGEST_CHARACTERS = 12  # enough to tell things apart; --json has them whole


def print_summary(summary: Mapping[str, Any], *, stream: TextIO | None = None) -> None:
    """A line per key, a table per list of records, a tree per lineage."""
    stream = stream or sys.stdout
    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        console = Console(file=stream, highlight=False, width=WIDTH_IN_FILES)
    console.print(_render_summary(summary))


def _render_summary(summary: Mapping[str, Any]) -> RenderableType:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="bold")
    lines.add_column(overflow="fold")
    blocks: list[RenderableType] = []
    for key, value in summary.items():
        if _is_records(value):
            blocks.append(_records_table(key, _one_row_per_space(value)))
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


def _one_row_per_space(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Scores lie in a mapping from space to metrics; a row of a table has one space."""
    rows: list[Mapping[str, Any]] = []
    for record in records:
        spaces = record.get("metrics")
        if not isinstance(spaces, Mapping):
            rows.append(record)
            continue
        rest = {name: value for name, value in record.items() if name != "metrics"}
        rows += [{**rest, "space": space, **metrics} for space, metrics in spaces.items()]
    return rows


def _is_node(value: object) -> bool:
    return isinstance(value, Mapping) and ("from" in value or "into" in value)


def _records_table(title: str, records: Sequence[Mapping[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for record in records for name in record))
    table = Table(
        title=Text(_words(title)), title_justify="left", header_style="bold", box=box.SIMPLE_HEAD
    )
    for name in names:
        numeric = all(isinstance(record.get(name), int | float | None) for record in records)
        table.add_column(
            Text(_words(name)), justify="right" if numeric else "left", overflow="fold"
        )
    for record in records:
        table.add_row(*(Text(_cell(name, record.get(name))) for name in names))
    return table


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

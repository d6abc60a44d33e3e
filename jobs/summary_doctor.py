"""What a terminal shows of `factory doctor`: a line per check, and below it what to do."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from jobs.doctor_checks import OK, PROBLEM, WARNING
from jobs.readable import printable

COLOURS = {OK: "green", WARNING: "yellow", PROBLEM: "bold red"}
KEYS = {"name", "verdict", "found", "advice"}


def are_checks(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a list of a summary is one of checks."""
    return all(set(record) == KEYS for record in records)


def checks_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """The verdict, the name, and what was found; advice has a line of its own."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for record in records:
        verdict = str(record["verdict"])
        table.add_row(
            Text(verdict, style=COLOURS.get(verdict, "")),
            Text(printable(str(record["name"]))),
            Text(_in_one_line(record["found"])),
        )
        if record["advice"]:
            table.add_row("", "", Text(f"→ {_in_one_line(record['advice'])}", style="italic"))
    return table


def _in_one_line(text: str) -> str:
    """Servers answer in several lines, and indent them."""
    return " ".join(printable(text).split())

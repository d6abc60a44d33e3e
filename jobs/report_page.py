"""What a report page is made of, and its rendering to one self-contained HTML file.

The page has no script and asks for nothing: its content security policy allows inline styles and
inline images only. All text goes through the template's escaping; nothing is marked as safe.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jobs.report_charts import HEIGHT, WIDTH, Chart
from jobs.report_svg import Drawing


@dataclass(frozen=True, slots=True)
class Fact:
    """A labelled value; ``note`` explains it, ``code`` shows it as an identifier."""

    label: str
    value: str
    note: str = ""
    code: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """An inline image: a ``data:`` URI with its size, pixels; ``label`` stands below it."""

    source: str
    alt: str
    width: int
    height: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """Pictures that belong together, side by side."""

    pictures: tuple[Picture, ...]
    title: str
    facts: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why images were left out: how many, which share, and some of them."""

    code: str
    count: int
    share: float
    examples: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text, of several lines if need be; columns of numbers are aligned to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under a heading; empty parts of it are not shown.

    Attributes:
        notes: Sentences below the text, a line each.
        drawings: Marks that code has placed, for example a graph; the text says the same.
        below: Whether it belongs to the section before, under a smaller heading.
        folded: Whether it is only shown when its heading is opened.
    """

    anchor: str
    title: str
    text: str = ""
    notes: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    charts: tuple[Chart, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    figures: tuple[Figure, ...] = ()
    reasons: tuple[Reason, ...] = ()
    table: Table | None = None
    tables: tuple[Table, ...] = ()
    tree: Mapping[str, Any] | None = None
    below: bool = False
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report."""

    kind: str
    name: str
    summary: str
    tiles: tuple[Fact, ...]
    sections: tuple[Section, ...]
    colophon: str


def render(page: Page) -> str:
    """The HTML of a page."""
    environment = Environment(
        loader=PackageLoader("jobs"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    return template.render(page=page, width=WIDTH, height=HEIGHT)

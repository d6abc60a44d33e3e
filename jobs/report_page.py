"""What a report page is made of, and its rendering to one self-contained HTML file.

The page asks for nothing: its content security policy allows inline styles, inline images and one
script, by its hash. The script holds no data and only makes looking easier: without it everything
is shown. All text goes through the template's escaping; nothing is marked as safe.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jobs.colour import scale_colours
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
class Spread:
    """How often each value of one map is, from the first colour to the last: heights of 0 to 100.

    ``text`` says it in words.
    """

    heights: tuple[int, ...]
    low: str
    high: str
    text: str

    @property
    def outline(self) -> str:
        """Its bars as one SVG path in a box as wide as there are bars, 100 high."""
        bars = (f"V{100 - height}H{end}" for end, height in enumerate(self.heights, start=1))
        return f"M0 100{''.join(bars)}V100Z"


@dataclass(frozen=True, slots=True)
class Figure:
    """Pictures that belong together, side by side; in the large view one slides over another.

    Attributes:
        whys: Why this one was chosen, if there is a reason.
    """

    pictures: tuple[Picture, ...]
    title: str
    facts: str = ""
    whys: tuple[str, ...] = ()
    spread: Spread | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why images were left out: how many, which share, and some of them.

    Attributes:
        examples: Path and detail of those of which no picture can be shown.
        figures: Those of which one can.
    """

    code: str
    count: int
    share: float
    examples: tuple[tuple[str, str], ...] = ()
    figures: tuple[Figure, ...] = ()


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
        scale: What the first and the last colour of its maps mean; empty where it has no maps.
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
    scale: tuple[str, ...] = ()
    below: bool = False
    folded: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing below its heading."""
        about = {"anchor", "title", "scale", "below", "folded"}
        return not any(getattr(self, each.name) for each in fields(self) if each.name not in about)


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report; sections with nothing below their heading are not shown."""

    kind: str
    name: str
    summary: str
    tiles: tuple[Fact, ...]
    sections: tuple[Section, ...]
    colophon: str

    @property
    def has_pictures(self) -> bool:
        """Whether there is anything to look at large."""
        return any(
            section.figures or any(reason.figures for reason in section.reasons)
            for section in self.sections
        )


def render(page: Page) -> str:
    """The HTML of a page."""
    page = replace(page, sections=tuple(each for each in page.sections if not each.is_empty))
    environment = Environment(
        loader=PackageLoader("jobs"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = environment.get_template("report.js.j2").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        page=page,
        width=WIDTH,
        height=HEIGHT,
        script_sha256=digest,
        scale_colours=scale_colours(),
    )

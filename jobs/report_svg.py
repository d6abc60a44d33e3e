"""A drawing made by code, as plain marks: the page's template writes it as inline SVG.

Only elements and attributes of the lists below exist, so that a name in a catalog can never become
an element, a handler or an address; texts and values are escaped by the template.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

ELEMENTS = frozenset(
    {"circle", "g", "line", "path", "polygon", "polyline", "rect", "text", "title", "tspan"}
)
ATTRIBUTES = frozenset(
    {
        *("class", "tabindex", "role", "aria-label", "text-anchor", "dominant-baseline"),
        *("x", "x1", "x2", "dx", "cx", "rx", "width", "y", "y1", "y2", "dy", "cy", "ry", "height"),
        *("d", "points", "r", "transform"),
    }
)


@dataclass(frozen=True, slots=True)
class Mark:
    """One SVG element with its attributes, its text and what is inside it.

    Colours come from classes: ``report.css.j2`` knows them, for light and for dark.

    Raises:
        ValueError: The element or one of the attributes is none that a page may have.
    """

    element: str
    attributes: Mapping[str, str | float] = field(default_factory=dict)
    text: str = ""
    inside: tuple["Mark", ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could do more than draw."""
        unknown = sorted({*self.attributes} - ATTRIBUTES)
        if self.element not in ELEMENTS or unknown:
            raise ValueError(f"no mark of a page: <{self.element}> with {unknown}")


@dataclass(frozen=True, slots=True)
class Drawing:
    """Marks in a view box of its own, as wide as the page or scrolled sideways.

    Attributes:
        caption: What is drawn, in words; also what a screen reader says.
        width: Of the view box; a wider one is not shrunk below ``least_width`` pixels.
        note: Beside the title.
        legend: Class and words of what colours mean.
    """

    title: str
    caption: str
    width: float
    height: float
    marks: tuple[Mark, ...]
    note: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    least_width: int = 0

"""A graph of things made of one another, drawn in layers from left to right.

`jobs.graph_layers` finds the places; here they become boxes of text and curves between them. Too
many of a kind become one box, so that thirty sources are still a drawing that fits a page.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from unicodedata import east_asian_width

from jobs.graph_layers import (
    Layers,
    Links,
    centres_of,
    layers,
    order_,
    with_passing,
    without_circles,
)

BOX_WIDTH, BOX_HEIGHT = 174.0, 60.0
GAP_X, GAP_Y = 44.0, 14.0
PASSING = 10.0  # height of a link that passes a layer
MARGIN = 4.0
MOST = 9  # boxes of one kind in a layer, the one that stands for others included
LETTERS = 20  # of a name in a box
NOTE_LETTERS = 26
TOP_LETTERS = 23  # of the kind and the mark beside it
NAMED = 60  # of those that one box stands for
WIDE = frozenset("mwMW@%—")


@dataclass(frozen=True, slots=True)
class Thing:
    """Something with a name, known by its key.

    Attributes:
        note: A line below the name.
        marks: What to beware of, in a word or two each, the worst first.
        is_subject: Whether the page is about it.
    """

    key: str
    kind: str
    name: str
    note: str = ""
    marks: tuple[str, ...] = ()
    is_subject: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A thing in its place; x and y are of the upper left corner, ``title`` says all of it."""

    key: str
    x: float
    y: float
    kind: str
    name: str
    note: str
    mark: str
    title: str
    is_subject: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """Boxes in their places, and the links between them as SVG path data."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    paths: tuple[str, ...]


def laid_out(
    things: Iterable[Thing], links: Iterable[tuple[str, str]], *, most: int = MOST
) -> Graph:
    """Place things and links.

    Args:
        things: Each key once; the first ones are kept where there are too many of a kind.
        links: Key of what something was made of, key of what was made. Those to unknown keys, and
            those that would close a circle, are left out.
        most: Boxes of one kind in a layer; the last stands for all others. 2 at least.
    """
    known = {thing.key: thing for thing in things}
    after = without_circles(known, links)
    layer_of = layers(known, after)
    known, layer_of, after = _together(known, layer_of, after, most=most)
    placed = with_passing(layer_of, after)
    order_(placed)
    height = {key: BOX_HEIGHT if key in known else PASSING for row in placed.rows for key in row}
    found = centres_of(placed, height, gap=GAP_Y)
    centres = {key: MARGIN + centre for key, centre in found.items()}
    boxes = tuple(
        _box(known[key], layer, centres[key])
        for layer, row in enumerate(placed.rows)
        for key in row
        if key in known
    )
    return Graph(
        width=2 * MARGIN + len(placed.rows) * (BOX_WIDTH + GAP_X) - GAP_X if boxes else 0.0,
        height=max(centres.values(), default=0.0) + BOX_HEIGHT / 2 + MARGIN,
        boxes=boxes,
        paths=tuple(_paths(placed, known, layer_of, centres)),
    )


def _together(
    known: Mapping[str, Thing], layer_of: Mapping[str, int], after: Links, *, most: int
) -> tuple[dict[str, Thing], dict[str, int], dict[str, list[str]]]:
    """Too many of one kind in one layer become one; its links are all of theirs."""
    alike: dict[tuple[int, str], list[Thing]] = defaultdict(list)
    for thing in known.values():
        alike[layer_of[thing.key], thing.kind].append(thing)
    things: dict[str, Thing] = {}
    stands_for: dict[str, str] = {}
    for group in alike.values():
        first = sorted(group, key=lambda thing: (not thing.is_subject, not thing.marks))
        kept = {thing.key for thing in (first if len(group) <= most else first[: most - 1])}
        rest = [thing for thing in group if thing.key not in kept]
        for thing in group:
            stands_for[thing.key] = thing.key if thing.key in kept else f"more of {rest[0].key}"
        shown = [thing for thing in group if thing.key in kept]
        things |= {thing.key: thing for thing in [*shown, *([_more(rest)] if rest else [])]}
    new_layers = {stands_for[key]: layer for key, layer in layer_of.items()}
    merged: dict[str, list[str]] = {key: [] for key in things}
    for left in known:
        merged[stands_for[left]] += [stands_for[right] for right in after[left]]
    return things, new_layers, {key: [*dict.fromkeys(each)] for key, each in merged.items()}


def _more(rest: Sequence[Thing]) -> Thing:
    marks = tuple(dict.fromkeys(thing.marks[0] for thing in rest if thing.marks))
    return Thing(
        f"more of {rest[0].key}",
        rest[0].kind,
        f"and {len(rest):,} more",
        note=", ".join(thing.name for thing in rest[:NAMED]),
        marks=marks,
    )


def _box(thing: Thing, layer: int, centre: float) -> Box:
    said = (f"{thing.kind} {thing.name}", thing.note, ", ".join(thing.marks))
    return Box(
        key=thing.key,
        x=_left(layer),
        y=round(centre - BOX_HEIGHT / 2, 1),
        kind=thing.kind,
        name=clipped(thing.name, LETTERS),
        note=clipped(thing.note, NOTE_LETTERS),
        mark=clipped(_mark(thing.marks), TOP_LETTERS - len(thing.kind)),
        title="\n".join(line for line in said if line),
        is_subject=thing.is_subject,
    )


def _mark(marks: Sequence[str]) -> str:
    """The first, and that there are more."""
    return marks[0] + " +" * (len(marks) > 1) if marks else ""


def _left(layer: int) -> float:
    return MARGIN + layer * (BOX_WIDTH + GAP_X)


def _paths(
    placed: Layers,
    known: Mapping[str, Thing],
    layer_of: Mapping[str, int],
    centres: Mapping[str, float],
) -> Iterator[str]:
    """Each link as one path that leaves its box on the right, and ends on the left of another."""
    for left in known:
        for place in placed.after[left]:
            layer, at, path = layer_of[left], left, []
            x = _left(layer) + BOX_WIDTH
            path.append(f"M{x:.1f},{centres[at]:.1f}")
            while True:
                x, layer = x + GAP_X, layer + 1
                bend, y = x - GAP_X / 2, centres[place]
                path.append(f"C{bend:.1f},{centres[at]:.1f} {bend:.1f},{y:.1f} {x:.1f},{y:.1f}")
                if place in known:
                    break
                x += BOX_WIDTH
                path.append(f"H{x:.1f}")
                at, place = place, placed.after[place][0]
            yield "".join(path)


def clipped(text: str, letters: int) -> str:
    """At most the width of so many usual letters, the last … where something was cut."""
    text = " ".join(text.split())
    ends = list(accumulate(map(_width, text)))
    if not ends or ends[-1] <= letters:
        return text
    return text[: bisect_right(ends, letters - 1)] + "…"


def _width(letter: str) -> float:
    """Of a letter in a font of no certain kind, in usual ones: rather too wide than too narrow."""
    if letter in WIDE or east_asian_width(letter) in "WF":
        return 2.0
    return 1.3 if letter.isupper() else 1.0

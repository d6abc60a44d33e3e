"""A graph of things made of one another, drawn in layers from left to right.

The usual four steps (Sugiyama and others, IEEE SMC 11(2), 1981): every link goes to the right, so
a thing stands one layer after the last of those it was made of; links over several layers get an
empty place in each; the order inside a layer follows the neighbours' (barycentres); and then each
layer lies as near to its neighbours as its order and the gaps permit, by least squares.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from statistics import fmean
from unicodedata import east_asian_width

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
SWEEPS = 4

Links = Mapping[str, Sequence[str]]


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


@dataclass(slots=True)
class _Layers:
    """Keys by layer in their order; those that nothing belongs to are links passing through."""

    rows: list[list[str]]
    after: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    before: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def link(self, left: str, right: str) -> None:
        """From one layer to the next."""
        self.after[left].append(right)
        self.before[right].append(left)


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
    placed = _with_passing(known, layer_of, after)
    _order(placed)
    centres = _centres(placed, known)
    boxes = tuple(
        _box(known[key], layer, centres[key])
        for layer, row in enumerate(placed.rows)
        for key in row
        if key in known
    )
    return Graph(
        width=2 * MARGIN + len(placed.rows) * (BOX_WIDTH + GAP_X) - GAP_X if boxes else 0.0,
        height=max((box.y for box in boxes), default=0.0) + BOX_HEIGHT + MARGIN,
        boxes=boxes,
        paths=tuple(_paths(placed, known, layer_of, centres)),
    )


def without_circles(known: Iterable[str], links: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """What each key leads to, links that close a circle left out; those given first stay."""
    after: dict[str, list[str]] = {key: [] for key in known}
    for left, right in dict.fromkeys(links):
        if left in after and right in after and not _reaches(after, right, left):
            after[left].append(right)
    return after


def _reaches(after: Links, start: str, end: str) -> bool:
    seen, stack = {start}, [start]
    while stack:
        key = stack.pop()
        if key == end:
            return True
        stack += [each for each in after[key] if each not in seen]
        seen.update(after[key])
    return False


def layers(known: Iterable[str], after: Links) -> dict[str, int]:
    """The layer of each key: after all that it was made of, and what began just before its use."""
    order = _sorted(known, after)
    found = dict.fromkeys(order, 0)
    for key in order:
        for each in after[key]:
            found[each] = max(found[each], found[key] + 1)
    led_to = {each for key in order for each in after[key]}
    for key in order:
        if key not in led_to and after[key]:
            found[key] = min(found[each] for each in after[key]) - 1
    return found


def _sorted(known: Iterable[str], after: Links) -> list[str]:
    """Each key after those that lead to it."""
    missing = {key: 0 for key in known}
    for key in missing:
        for each in after[key]:
            missing[each] += 1
    ready = [key for key, count in missing.items() if not count]
    for key in ready:
        for each in after[key]:
            missing[each] -= 1
            if not missing[each]:
                ready.append(each)
    return ready


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


def _with_passing(known: Mapping[str, Thing], layer_of: Mapping[str, int], after: Links) -> _Layers:
    placed = _Layers([[] for _ in range(max(layer_of.values(), default=-1) + 1)])
    for key in known:
        placed.rows[layer_of[key]].append(key)
    for left in known:
        for right in after[left]:
            place = left
            for layer in range(layer_of[left] + 1, layer_of[right]):
                passing = f"{left} to {right} past {layer}"
                placed.rows[layer].append(passing)
                placed.link(place, passing)
                place = passing
            placed.link(place, right)
    return placed


def _order(placed: _Layers) -> None:
    """Sweep to the right and to the left; each place follows the mean place of its neighbours."""
    for sweep in range(SWEEPS):
        rightwards = sweep % 2 == 0
        rows = placed.rows if rightwards else placed.rows[::-1]
        beside = placed.before if rightwards else placed.after
        for before, row in pairwise(rows):
            place = {key: index for index, key in enumerate(before)}
            share = len(before) / max(len(row), 1)  # of one without neighbours: stay about there
            wanted = {
                key: fmean(place[each] for each in beside[key]) if beside[key] else index * share
                for index, key in enumerate(row)
            }
            row.sort(key=wanted.__getitem__)


def _centres(placed: _Layers, known: Mapping[str, Thing]) -> dict[str, float]:
    """The height of each place, such that none overlap and links are as level as may be."""
    height = {key: BOX_HEIGHT if key in known else PASSING for row in placed.rows for key in row}
    centres: dict[str, float] = {}
    for row in placed.rows:
        centres |= _apart(row, dict.fromkeys(row, 0.0), height)
    for sweep in range(SWEEPS):
        for row in placed.rows if sweep % 2 else placed.rows[::-1]:
            beside = placed.before if sweep % 2 else placed.after
            wanted = {
                key: fmean(centres[each] for each in beside[key]) if beside[key] else centres[key]
                for key in row
            }
            centres |= _apart(row, wanted, height)
    top = min((centres[key] - height[key] / 2 for key in centres), default=0.0)
    return {key: centre - top + MARGIN for key, centre in centres.items()}


def _apart(
    row: Sequence[str], wanted: Mapping[str, float], height: Mapping[str, float]
) -> dict[str, float]:
    """Places in their order with gaps between them, nearest to those wanted by least squares.

    Less the heights above each, this is an isotonic regression: pools of adjacent violators.
    """
    above, total = {}, 0.0
    for key in row:
        above[key] = total + height[key] / 2
        total += height[key] + GAP_Y
    pools: list[list[float]] = []
    for key in row:
        pools.append([wanted[key] - above[key]])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    levels = [fmean(pool) for pool in pools for _ in pool]
    return {key: level + above[key] for key, level in zip(row, levels, strict=True)}


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
    placed: _Layers,
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

"""Which layer each thing of a graph stands in, in which order, and how high.

The usual four steps (Sugiyama and others, IEEE SMC 11(2), 1981): every link goes to the right, so
a thing stands one layer after the last of those it was made of; links over several layers get an
empty place in each; the order inside a layer follows the neighbours' (barycentres); and then each
layer lies as near to its neighbours as its order and the gaps permit, by least squares.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean

SWEEPS = 4

Links = Mapping[str, Sequence[str]]


@dataclass(slots=True)
class Layers:
    """Keys by layer in their order; those that nothing belongs to are links passing through."""

    rows: list[list[str]]
    after: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    before: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def link(self, left: str, right: str) -> None:
        """From one layer to the next."""
        self.after[left].append(right)
        self.before[right].append(left)


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


def with_passing(layer_of: Mapping[str, int], after: Links) -> Layers:
    """Things in their layers, and a place for each link in the layers that it passes."""
    placed = Layers([[] for _ in range(max(layer_of.values(), default=-1) + 1)])
    for key in layer_of:
        placed.rows[layer_of[key]].append(key)
    for left in layer_of:
        for right in after[left]:
            place = left
            for layer in range(layer_of[left] + 1, layer_of[right]):
                passing = f"{left} to {right} past {layer}"
                placed.rows[layer].append(passing)
                placed.link(place, passing)
                place = passing
            placed.link(place, right)
    return placed


def order_(placed: Layers) -> None:
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


def centres_of(placed: Layers, height: Mapping[str, float], *, gap: float) -> dict[str, float]:
    """Where the middle of each place is, such that none overlap and links are as level as may be.

    The highest place begins at 0.
    """
    centres: dict[str, float] = {}
    for row in placed.rows:
        centres |= _apart(row, dict.fromkeys(row, 0.0), height, gap=gap)
    for sweep in range(SWEEPS):
        for row in placed.rows if sweep % 2 else placed.rows[::-1]:
            beside = placed.before if sweep % 2 else placed.after
            wanted = {
                key: fmean(centres[each] for each in beside[key]) if beside[key] else centres[key]
                for key in row
            }
            centres |= _apart(row, wanted, height, gap=gap)
    top = min((centres[key] - height[key] / 2 for key in centres), default=0.0)
    return {key: centre - top for key, centre in centres.items()}


def _apart(
    row: Sequence[str], wanted: Mapping[str, float], height: Mapping[str, float], *, gap: float
) -> dict[str, float]:
    """Places in their order with gaps between them, nearest to those wanted by least squares.

    Less the heights above each, this is an isotonic regression: pools of adjacent violators.
    """
    above, total = {}, 0.0
    for key in row:
        above[key] = total + height[key] / 2
        total += height[key] + gap
    pools: list[list[float]] = []
    for key in row:
        pools.append([wanted[key] - above[key]])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    levels = [fmean(pool) for pool in pools for _ in pool]
    return {key: level + above[key] for key, level in zip(row, levels, strict=True)}

"""Fewer input sizes for a little distortion: the long side from a ladder of twelve steps an octave.

Under the lower-bound rule nearly every photograph of a mixed source has a size of its own, and a
batch takes one size. With a ladder there are few, at the price of a slight change of aspect.

Twelve steps, because equal temperament puts its tones where photographs have their aspects: 4:3 is
a fourth (5 steps), 3:2 a fifth (7), 16:9 two fourths (10), and 1:1 and 2:1 are exact. At 518 pixels
that is 73 sizes up to an aspect of 8, where the exact rule has 519, and no aspect changes by more
than 3.8 %; the four named ones by less than 1 %.

Sides are counted in multiples (patches) here. All comparisons are of whole numbers: no rounding
decides differently on another machine.
"""

import functools
import itertools
import math
from bisect import bisect_left

STEPS_PER_OCTAVE = 12
BUCKET_RATIO: float = 2 ** (1 / STEPS_PER_OCTAVE)
MAX_ASPECT = 1 << 16  # where the ladder ends; no network takes such a strip


def bucket_long_side(long: int, short: int, *, units: int, ratio: float = BUCKET_RATIO) -> int:
    """The rung nearest to the image's own aspect, as a ratio; the shorter one where two are.

    Args:
        long: Longer side of the image, pixels.
        short: Shorter side of the image, pixels.
        units: Short side of the network's input, multiples.
        ratio: Between neighbouring rungs, before they are rounded.

    Returns:
        Long side of the network's input, multiples.
    """
    rungs = ladder(units, ratio)

    def is_near(index: int) -> bool:
        """The wanted side, units x long / short, lies below the root of this rung and the next."""
        return (units * long) ** 2 <= rungs[index] * rungs[index + 1] * short**2

    return rungs[bisect_left(range(len(rungs) - 1), True, key=is_near)]


@functools.lru_cache(maxsize=64)
def ladder(units: int, ratio: float = BUCKET_RATIO) -> tuple[int, ...]:
    """Long sides for one short side, ascending, without repeats: units x ratio^k, rounded.

    Raises:
        ValueError: ``ratio`` is not above 1, or ``units`` below 1.
    """
    if not (math.isfinite(ratio) and ratio > 1 and units >= 1):
        raise ValueError(f"no ladder from {units} by a ratio of {ratio}")
    rungs, height = [units], float(units)
    while rungs[-1] < units * MAX_ASPECT:
        height *= ratio
        if round(height) > rungs[-1]:
            rungs.append(round(height))
    return tuple(rungs)


def max_distortion(units: int, ratio: float = BUCKET_RATIO) -> float:
    """Largest relative change of an aspect, |aspect of the input / aspect of the image - 1|.

    An aspect between two rungs goes to the one that is nearer as a ratio, so the worst lies at
    their geometric mean, where going up changes it by sqrt(upper / lower) - 1 and going down by
    less. Rounding to whole multiples weighs most on the lowest rungs, so this is exact for every
    image up to `MAX_ASPECT`. Width / height and height / width have the same bound.
    """
    rungs = ladder(units, ratio)
    return max(math.sqrt(high / low) for low, high in itertools.pairwise(rungs)) - 1

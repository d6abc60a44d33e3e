"""Which pseudo-labels are good enough to learn from, by what each says of its own quality.

====================  ===========================================================================
reason                meaning
====================  ===========================================================================
saturated             too many pixels at the first or last code of the map
flat                  too many pixels with the code of both their neighbours
inconsistent          too far from the map of the mirrored image, or one of the two is constant
====================  ===========================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pipeline.errors import ShardCorruptError
from pipeline.records import LabelRecord

SIGNALS = {"max_saturated": "saturated", "max_flat": "flat", "min_flip_correlation": "inconsistent"}


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFilter:
    """Limits on the quality signals of a `LabelRecord`; None asks nothing.

    Attributes:
        max_saturated: Largest share of pixels at the first or last code, 0..1.
        max_flat: Largest share of pixels equal to their neighbours, 0..1.
        min_flip_correlation: Smallest correlation with the map of the mirrored image, -1..1.
    """

    max_saturated: float | None = None
    max_flat: float | None = None
    min_flip_correlation: float | None = None

    @property
    def asked(self) -> dict[str, float]:
        """The limits that are set, by name."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: limit for name, limit in given.items() if limit is not None}

    def reason_against(self, label: LabelRecord) -> str | None:
        """Why a labelled row is not good enough; None if it is.

        Raises:
            ShardCorruptError: It does not say how saturated or flat it is, and a limit is set.
        """
        if _exceeds(label.saturated, self.max_saturated, label):
            return SIGNALS["max_saturated"]
        if _exceeds(label.flat, self.max_flat, label):
            return SIGNALS["max_flat"]
        smallest, found = self.min_flip_correlation, label.flip_correlation
        # A constant map correlates with nothing: that the two agree is then not shown.
        if smallest is not None and (found is None or not found >= smallest):
            return SIGNALS["min_flip_correlation"]
        return None

    def unanswered(self, recipe: Mapping[str, Any]) -> list[str]:
        """The limits that labels of this recipe say nothing about, by name.

        Labels say how saturated and flat they are since recipes have the key ``consistency``,
        and how well they agree with the mirrored image where it is true.
        """
        return [
            name
            for name in self.asked
            if "consistency" not in recipe
            or (name == "min_flip_correlation" and not recipe["consistency"])
        ]


EVERY_LABEL = LabelFilter()


def _exceeds(value: float | None, limit: float | None, label: LabelRecord) -> bool:
    if limit is None:
        return False
    if value is None:
        raise ShardCorruptError(
            f"the label of sample {label.sample_id} says nothing of its quality"
        )
    return not value <= limit

"""Which labels pass: at the limit they do, and what says nothing never passes unseen."""

import math
from dataclasses import replace

import pytest

from pipeline.errors import ShardCorruptError
from pipeline.label_filter import EVERY_LABEL, LabelFilter
from pipeline.records import LabelRecord

LABEL = LabelRecord("a" * 32, "b" * 64, "labelled", saturated=0.2, flat=0.4, flip_correlation=0.9)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({}, None),
        ({"max_saturated": 0.2, "max_flat": 0.4, "min_flip_correlation": 0.9}, None),
        ({"max_saturated": 0.19}, "saturated"),
        ({"max_saturated": 0.0, "max_flat": 0.0}, "saturated"),
        ({"max_flat": 0.39}, "flat"),
        ({"min_flip_correlation": 0.91}, "inconsistent"),
        ({"min_flip_correlation": -1.0}, None),
    ],
)
def test_a_label_at_the_limit_passes(limits: dict[str, float], reason: str | None) -> None:
    assert LabelFilter(**limits).reason_against(LABEL) == reason


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_agreement_that_is_not_shown_is_no_agreement(unknown: float | None) -> None:
    constant = replace(LABEL, flip_correlation=unknown)
    assert LabelFilter(min_flip_correlation=-1).reason_against(constant) == "inconsistent"
    assert EVERY_LABEL.reason_against(constant) is None


def test_a_number_that_is_none_passes_no_limit() -> None:
    assert LabelFilter(max_flat=1).reason_against(replace(LABEL, flat=math.nan)) == "flat"


@pytest.mark.parametrize(
    ("limit", "signal"), [("max_saturated", "saturated"), ("max_flat", "flat")]
)
def test_a_label_without_the_signal_is_refused_by_name(limit: str, signal: str) -> None:
    with pytest.raises(ShardCorruptError, match="a" * 32):
        LabelFilter(**{limit: 1.0}).reason_against(replace(LABEL, **{signal: None}))


def test_a_recipe_tells_which_limits_its_labels_can_answer() -> None:
    everything = LabelFilter(max_saturated=0, max_flat=0, min_flip_correlation=0)
    assert everything.unanswered({"consistency": True}) == []
    assert everything.unanswered({"consistency": False}) == ["min_flip_correlation"]
    assert everything.unanswered({"side": 518}) == list(everything.asked)
    assert LabelFilter(max_flat=0).unanswered({"consistency": False}) == []
    assert EVERY_LABEL.unanswered({}) == []

import math

import numpy as np
import pytest

from jobs.report_worst import Criterion, image_criteria, label_criteria, worst
from pipeline.records import ImageHeader, ImageRecord, LabelRecord


def label(**facts) -> LabelRecord:
    return LabelRecord("a", "b", "labelled", **facts)


def image(width: int, height: int, length: int = 1000) -> ImageRecord:
    header = ImageHeader(width, height, "JPEG")
    return ImageRecord("a", "b", "p", "u", None, length, None, header)


def said(values, *, largest=True) -> Criterion:
    return Criterion(values, lambda value, middle: f"{value:g} of {middle:g}", largest=largest)


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_chosen_are_worse_than_all_others(seed, largest):
    rng = np.random.default_rng(seed)
    values = [None if rng.random() < 0.1 else float(rng.integers(0, 40)) for _ in range(200)]
    values[3] = math.nan
    chosen = worst([said(values, largest=largest)], each=5)
    assert len(chosen) == 5
    known = [v for v in values if v is not None and not math.isnan(v)]
    expected = sorted(known, reverse=largest)[:5]
    assert [values[each.index] for each in chosen] == expected
    assert chosen[0].whys == (f"{expected[0]:g} of {np.median(known):g}",)


def test_an_image_is_chosen_once_with_all_that_is_said_of_it():
    chosen = worst([said([1, 9, 1, 5]), said([1, 1, 1, 0], largest=False)], each=2)
    assert [(each.index, len(each.whys)) for each in chosen] == [(1, 1), (3, 2)]


def test_among_equals_none_is_the_worst():
    assert worst([said([2.0] * 9), said([]), said([None, math.nan])]) == []


def test_what_is_harmless_is_not_shown_however_it_compares():
    criterion = Criterion([0.1, 0.2, 0.3, 0.4], lambda value, _: f"{value}", harmless=0.3)
    assert [each.index for each in worst([criterion])] == [3]
    smallest = Criterion(
        [0.1, 0.2, 0.3, 0.4], lambda value, _: f"{value}", largest=False, harmless=0.2
    )
    assert [each.index for each in worst([smallest])] == [0]


def test_labels_stand_out_by_what_they_say_of_themselves():
    ordinary = [
        label(minimum=0.0, maximum=4.0, saturated=0.0, flat=0.1, flip_correlation=0.99)
        for _ in range(9)
    ]
    odd = [
        label(minimum=0.0, maximum=4.0, saturated=0.0, flat=0.1, flip_correlation=0.2),
        label(minimum=0.0, maximum=4.0, saturated=0.3, flat=0.1, flip_correlation=0.99),
        label(minimum=0.0, maximum=4.0, saturated=0.0, flat=0.9, flip_correlation=None),
        label(minimum=1.0, maximum=1.01, saturated=0.0, flat=0.1, flip_correlation=0.99),
        label(minimum=0.0, maximum=90.0, saturated=0.0, flat=0.1, flip_correlation=0.99),
        LabelRecord("a", "b", "quarantined", reason="decode_failed"),
    ]
    chosen = worst(label_criteria([*ordinary, *odd]))
    assert {each.index: each.whys for each in chosen} == {
        9: ("mirrored image disagrees: correlation 0.200",),
        10: ("saturated: 30.0 % of pixels at an end of the map",),
        11: ("flat: 90.0 % of pixels equal their neighbours",),
        12: ("nearly constant: range 0.01, median 4",),
        13: ("extreme range: 90, median 4",),
    }


def test_photographs_of_usual_sizes_are_not_odd():
    sizes = [(512, 512), (512, 512), (451, 300), (600, 400), (640, 427), (512, 400)]
    assert worst(image_criteria([image(*size, size[0] * size[1] // 2) for size in sizes])) == []


def test_images_stand_out_by_their_headers():
    ordinary = [image(1000, 800, 200_000) for _ in range(9)]
    odd = [image(90, 72, 1620), image(6000, 4800, 7_200_000), image(2400, 300, 180_000)]
    odd += [image(800, 1000, 20_000)]
    chosen = {each.index: each.whys for each in worst(image_criteria([*ordinary, *odd]))}
    assert chosen[9] == ("smallest: 6,480 pixels",)
    assert chosen[10] == ("largest: 29 megapixels",)
    assert "oddest shape: 8 times as long as wide" in chosen[11]
    assert chosen[12] == ("most compressed: 0.025 bytes per pixel, median 0.25",)
    assert set(chosen) == {9, 10, 11, 12}

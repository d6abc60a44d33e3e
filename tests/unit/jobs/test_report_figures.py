import base64
import io
import itertools
import re
from functools import partial

import numpy as np
import pytest
from PIL import Image

from jobs.config import Common
from jobs.report_figures import (
    BARS,
    chosen_figures,
    in_threads,
    labelled_figures,
    refused,
    spread_of,
)
from jobs.report_images import LONGEST_SIDE, disparity_map, side_for
from jobs.report_page import Spread
from jobs.report_reading import Reading
from jobs.report_samples import placed_labels, sampled_labels
from jobs.report_worst import Chosen
from jobs.workspace import open_workspace
from pipeline.identity import sha256_hex
from pipeline.images import decode_rgb
from pipeline.records import Drop
from tests.report_stores import fill_store, picture


def test_results_of_threads_are_in_order():
    assert list(in_threads(lambda n: n * n, range(100))) == [n * n for n in range(100)]


def test_the_spread_of_a_map_counts_its_values_between_the_ends_of_the_colours():
    disparity_HW = np.linspace(0, 10, 64 * 64, dtype=np.float32).reshape(64, 64)
    spread = spread_of(disparity_HW)
    assert len(spread.heights) == BARS and max(spread.heights) == 100
    assert float(spread.low) == pytest.approx(0.1, abs=0.01)
    assert float(spread.high) == pytest.approx(9.9, abs=0.01)
    # Uniform inside; what lies beyond the ends is in the first and the last bar.
    share = 0.98 / BARS
    assert spread.heights[BARS // 2] == pytest.approx(100 * share / (share + 0.01), abs=2)
    assert "median 5," in spread.text
    assert spread_of(np.full((4, 4), 3.0, np.float32)) is None


def test_the_outline_of_a_spread_has_its_heights():
    heights = (0, 100, 50)
    outline = Spread(heights, "", "", "").outline
    tops = [100 - int(y) for y in re.findall(r"V(\d+)H", outline)]
    ends = [int(x) for x in re.findall(r"H(\d+)", outline)]
    assert (tuple(tops), ends) == (heights, [1, 2, 3])
    assert outline.startswith("M0 100") and outline.endswith("V100Z")


def test_figures_come_in_order_and_let_go_of_their_maps(tmp_path):
    fill_store(tmp_path)
    with open_workspace(Common(store=str(tmp_path))) as workspace:
        shards = workspace.catalog.label_shards("labels")
        seen = labelled_figures(Reading(workspace.store), sampled_labels(shards, 12), side=32)
        placed = [
            each for each in placed_labels(Reading(workspace.store), shards) if not each[1].reason
        ]
        chosen = [Chosen(index, (f"why {index}",)) for index in (7, 0, 3)]
        figures = chosen_figures(
            partial(labelled_figures, Reading(workspace.store), side=32), placed, chosen
        )
    assert [each.sample_id for each in seen] == [label.sample_id for _, label in placed]
    assert all(each.values.base is None for each in seen)  # else a page would hold all maps
    assert all(picture.width == 32 for each in seen for picture in each.figure.pictures)
    expected = [(seen[index].figure.title, (f"why {index}",)) for index in (7, 0, 3)]
    assert [(figure.title, figure.whys) for figure in figures] == expected


def drop_of(path, data: bytes, **facts) -> Drop:
    given = {"sha256": sha256_hex(data), "bytes": len(data)} | facts
    return Drop(path.name, str(path), "too_small", "8 × 8 pixels", **given)


def test_a_refused_file_is_shown_where_it_still_is_what_was_refused(tmp_path):
    data = picture(seed=1)
    good = tmp_path / "good.jpg"
    good.write_bytes(data)
    text = tmp_path / "text.jpg"
    text.write_bytes(b"no image")
    drops = [
        drop_of(good, data),
        drop_of(good, data, sha256=None),
        drop_of(good, data, sha256="0" * 64),
        drop_of(good, data, bytes=len(data) + 1),
        drop_of(good, data, bytes=None),
        drop_of(text, b"no image"),
        drop_of(tmp_path / "gone.jpg", data),
        drop_of(tmp_path, data),
        Drop("far.jpg", "s3://bucket/far.jpg", "too_small", "x", bytes=9),
    ]
    reason = refused("too_small", 90, 0.5, drops)
    assert [figure.title for figure in reason.figures] == ["good.jpg"] * 2
    assert len(reason.examples) == len(drops) - 2
    assert reason.figures[0].facts == "8 × 8 pixels"


def test_pictures_get_smaller_as_their_number_grows():
    sides = [side_for(count) for count in (1, 100, 101, 500, 501, 100_000)]
    assert sides[0] == sides[1] == LONGEST_SIDE
    assert all(one >= other for one, other in itertools.pairwise(sides)) and sides[-1] >= 200


def test_a_shrunk_map_keeps_its_colours():
    disparity_HW = np.zeros((400, 600), np.float32)
    disparity_HW[:, 300:] = 7
    small = disparity_map(disparity_HW, alt="", side=60)
    assert (small.width, small.height) == (60, 40)
    data = io.BytesIO(base64.b64decode(small.source.partition(",")[2]))
    pixels = np.asarray(Image.open(data).convert("RGB")).astype(int)
    assert pixels[:, 5].mean(axis=0) == pytest.approx([0, 0, 4], abs=12)
    assert pixels[:, 55].mean(axis=0) == pytest.approx([252, 255, 164], abs=12)


def test_a_jpeg_is_decoded_at_the_smallest_scale_that_suffices():
    data = picture(seed=3, width=1600, height=800)
    whole, small = decode_rgb(data), decode_rgb(data, least_side=100)
    assert whole.shape == (800, 1600, 3) and small.shape == (100, 200, 3)
    means = whole.reshape(100, 8, 200, 8, 3).mean(axis=(1, 3))
    assert np.abs(means - small).mean() < 2
    assert decode_rgb(data, least_side=801).shape == whole.shape

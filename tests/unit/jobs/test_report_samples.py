import itertools

import pytest

from jobs.config import Common
from jobs.report_samples import (
    STATISTICS_SHARDS,
    evenly,
    example_drops,
    example_quarantined,
    image_facts,
    label_facts,
    sample_images,
    sample_labels,
    spread,
)
from jobs.workspace import open_workspace
from tests.report_stores import HOSTILE, fill_store


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    fill_store(folder)
    with open_workspace(Common(store=str(folder))) as opened:
        yield opened


@pytest.mark.parametrize("count", [0, 1, 5, 24, 1000, 62_000_000])
@pytest.mark.parametrize("most", [1, 5, 24])
def test_even_places_are_distinct_ordered_and_symmetric(count, most):
    places = evenly(count, most)
    assert len(places) == min(count, most)
    assert places == sorted(set(places))
    assert all(0 <= place < count for place in places)
    if places:
        assert abs(places[0] - (count - 1 - places[-1])) <= 1
        gaps = [b - a for a, b in itertools.pairwise(places)]
        assert not gaps or max(gaps) - min(gaps) <= 1


def test_spread_keeps_few_items_whole():
    assert spread("abc", 5) == ["a", "b", "c"]
    assert spread("abcdefghi", 3) == ["b", "e", "h"]


def test_images_come_from_all_shards_with_their_bytes(workspace):
    shards = workspace.catalog.image_shards("photos")
    found = list(sample_images(workspace.store, shards, 4))
    assert [record.path[:3] for record in found] == ["001", "004", "007", "010"]
    assert all(record.data for record in found)
    assert [record.path for record in sample_images(workspace.store, shards, 4)] == [
        record.path for record in found
    ]


def test_labels_belong_to_their_images_and_none_is_shown_twice(workspace):
    shards = workspace.catalog.label_shards("labels")
    found = list(sample_labels(workspace.store, shards, 100))
    assert len(found) == 10  # of 12 images two are quarantined
    assert len({pair.image.sample_id for pair in found}) == 10
    for pair in found:
        assert pair.image.sample_id == pair.label.sample_id
        assert pair.label.disparity and pair.image.data


def test_facts_are_read_without_blobs(workspace):
    images = list(image_facts(workspace.store, workspace.catalog.image_shards("rooms")))
    assert len(images) == 3
    assert all(record.data is None and record.truth is None for record in images)
    labels = list(label_facts(workspace.store, workspace.catalog.label_shards("labels")))
    assert len(labels) == 12
    assert all(label.disparity is None for label in labels)


def test_statistics_read_a_bounded_number_of_shards(workspace):
    [shard] = workspace.catalog.image_shards("rooms")
    assert len(list(image_facts(workspace.store, [shard] * 1000))) == 3 * STATISTICS_SHARDS


def test_examples_say_what_was_left_out_and_why(workspace):
    drops = example_drops(workspace.store, "photos")
    assert set(drops) == {f"truncated_{HOSTILE}", "too_small"}
    assert drops["too_small"][0].detail == "8 × 8 pixels"
    assert example_drops(workspace.store, "nothing") == {}
    shards = workspace.catalog.label_shards("labels")
    quarantined = example_quarantined(workspace.store, shards)["decode_failed"]
    assert [pair.image.path[:3] for pair in quarantined] == ["001", "007"]
    assert all(pair.label.status == "quarantined" for pair in quarantined)

import itertools
from dataclasses import replace

import numpy as np
import pytest

from jobs.config import Common
from jobs.report_reading import Reading
from jobs.report_samples import (
    MOST_GROUPS,
    STATISTICS_SHARDS,
    evenly,
    example_drops,
    example_quarantined,
    grouped,
    image_facts,
    label_facts,
    placed_labels,
    read_images,
    read_labelled,
    sampled,
    sampled_labels,
    spread,
)
from jobs.workspace import open_workspace
from pipeline.records import ShardRef
from pipeline.shards import ROW_GROUP_ROWS
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
    found = [
        row for each in sampled(shards, 4) for row in read_images(Reading(workspace.store), each)
    ]
    assert [record.path[:3] for record in found] == ["001", "004", "007", "010"]
    assert all(record.data for record in found)


def test_labels_belong_to_their_images_and_none_is_shown_twice(workspace):
    shards = workspace.catalog.label_shards("labels")
    groups = sampled_labels(shards, 100)
    found = [pair for each in groups for _, pair in read_labelled(Reading(workspace.store), each)]
    assert len(found) == 10  # of 12 images two are quarantined
    assert len({pair.image.sample_id for pair in found}) == 10
    for pair in found:
        assert pair.image.sample_id == pair.label.sample_id
        assert pair.label.disparity and pair.image.data


def test_facts_are_read_without_blobs(workspace):
    images = list(image_facts(Reading(workspace.store), workspace.catalog.image_shards("rooms")))
    assert len(images) == 3
    assert all(record.data is None and record.truth is None for record in images)
    labels = list(label_facts(workspace.store, workspace.catalog.label_shards("labels")))
    assert len(labels) == 12
    assert all(label.disparity is None for label in labels)


def test_statistics_read_a_bounded_number_of_shards(workspace):
    [shard] = workspace.catalog.image_shards("rooms")
    assert len(list(image_facts(Reading(workspace.store), [shard] * 1000))) == 3 * STATISTICS_SHARDS


def test_examples_say_what_was_left_out_and_why(workspace):
    drops = example_drops(Reading(workspace.store), "photos")
    assert set(drops) == {f"truncated_{HOSTILE}", "too_small"}
    assert drops["too_small"][0].detail == "8 × 8 pixels"
    assert example_drops(Reading(workspace.store), "nothing") == {}
    shards = workspace.catalog.label_shards("labels")
    quarantined = example_quarantined(Reading(workspace.store), shards)["decode_failed"]
    assert [pair.image.path[:3] for pair in quarantined] == ["001", "007"]
    assert all(pair.label.status == "quarantined" and pair.image.data for pair in quarantined)


def shards_of(*rows: int) -> list[ShardRef]:
    return [ShardRef("s", f"{n}", f"key-{n}", count, 1, "a") for n, count in enumerate(rows)]


def numbers(groups, shards) -> list[int]:
    """Rows counted over all shards."""
    before = dict(
        zip(
            (s.key for s in shards),
            itertools.accumulate([0, *(s.rows for s in shards[:-1])]),
            strict=True,
        )
    )
    return [before[g.shard.key] + g.group * ROW_GROUP_ROWS + row for g in groups for row in g.rows]


@pytest.mark.parametrize("rows", [(1000,), (64, 1, 65, 300), (5, 5, 5)])
@pytest.mark.parametrize("most", [1, 7, 100, 5000])
def test_sampled_rows_are_those_of_even_places(rows, most):
    shards = shards_of(*rows)
    assert numbers(sampled(shards, most), shards) == evenly(sum(rows), most)


def test_thousands_of_rows_come_from_few_row_groups_that_are_evenly_spread():
    rng = np.random.default_rng(0)
    shards = shards_of(*rng.integers(1, 1500, 900).tolist())
    groups = sampled(shards, 2000)
    assert len(groups) == MOST_GROUPS
    found = numbers(groups, shards)
    assert len(found) == len(set(found)) == 2000 and found == sorted(found)
    total = sum(shard.rows for shard in shards)
    assert max(np.diff([0, *found, total])) < 3 * total / MOST_GROUPS
    for group in groups:
        assert max(group.rows) < min(
            ROW_GROUP_ROWS, group.shard.rows - group.group * ROW_GROUP_ROWS
        )


def test_what_is_placed_is_found_where_it_is_said_to_be(workspace):
    shards = workspace.catalog.label_shards("labels")
    placed = [
        each for each in placed_labels(Reading(workspace.store), shards) if each[1].reason is None
    ]
    chosen = [replace(place, whys=(label.sample_id,)) for place, label in placed[::-3]]
    found = {}
    for group in grouped(chosen):
        for row, pair in read_labelled(Reading(workspace.store), group):
            found[pair.label.sample_id] = group.whys[row]
    assert found == {label.sample_id: (label.sample_id,) for _, label in placed[::-3]}

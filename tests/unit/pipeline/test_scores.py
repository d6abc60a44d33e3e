"""Scores come back as they were, to the last bit; and never those of something else."""

import math

import pyarrow.parquet as pq
import pytest

from pipeline.errors import ShardCorruptError
from pipeline.scores import (
    PartScores,
    ScorePart,
    ScoreRow,
    read_scores,
    scores_of,
    scores_there,
    write_scores,
)
from pipeline.storage import Store

ROWS = (
    ScoreRow(
        sample_id="a",
        sha256="1",
        path="a.png",
        valid_pixels=12,
        scale=1 / 3,
        shift=-0.1,
        metrics={"depth/abs_rel": math.pi / 100, "depth/rmse": None, "disparity/abs_rel": 1e-300},
    ),
    ScoreRow(sample_id="b", sha256="2", path="b.png", skipped="truncated"),
    ScoreRow(
        sample_id="c",
        sha256="3",
        path="c.png",
        valid_pixels=1,
        metrics={"depth/abs_rel": 0.5, "depth/rmse": 2.0, "disparity/abs_rel": float("inf")},
    ),
)


def part(group: int = 0, **changes: object) -> ScorePart:
    facts = {
        "source": "bench",
        "shard_id": "s01",
        "image_shard_sha256": "f" * 64,
        "group": group,
        "model_sha256": "e" * 64,
        "settings": {"side": 42, "protocol": {"name": "relative"}},
    }
    return ScorePart(**(facts | changes))


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


def test_rows_come_back_to_the_last_bit(store):
    write_scores(store, part(), PartScores(rows=ROWS, left_out=3))
    assert read_scores(store, part()) == PartScores(rows=ROWS, left_out=3)
    assert scores_there(store, "bench") == {part().key}


def test_a_part_without_a_row_comes_back(store):
    write_scores(store, part(), PartScores(rows=(), left_out=64))
    assert read_scores(store, part()) == PartScores(rows=(), left_out=64)


def test_where_all_are_skipped_there_are_no_metrics(store):
    write_scores(store, part(), PartScores(rows=ROWS[1:2]))
    assert read_scores(store, part()).rows == ROWS[1:2]


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"side": 56, "protocol": {"name": "relative"}}},
        {"settings": {"side": 42, "protocol": {"name": "metric"}}},
        {"model_sha256": "d" * 64},
        {"shard_id": "s02"},
        {"source": "other"},
        {"group": 1},
    ],
)
def test_what_decides_the_numbers_is_another_object(store, change):
    write_scores(store, part(), PartScores(rows=ROWS))
    with pytest.raises(FileNotFoundError):
        read_scores(store, part(**change))


def test_the_same_key_for_another_shard_is_refused(store):
    """A shard id is made from samples; a shard written again may have other bytes."""
    write_scores(store, part(), PartScores(rows=ROWS))
    again = part(image_shard_sha256="0" * 64)
    assert again.key == part().key
    with pytest.raises(ShardCorruptError, match="something else"):
        read_scores(store, again)


def test_the_first_to_write_wins_unless_told_otherwise(store):
    write_scores(store, part(), PartScores(rows=ROWS[:1]))
    write_scores(store, part(), PartScores(rows=ROWS[1:2]))
    assert read_scores(store, part()).rows == ROWS[:1]
    write_scores(store, part(), PartScores(rows=ROWS[1:2]), replace=True)
    assert read_scores(store, part()).rows == ROWS[1:2]


def test_a_flipped_bit_is_found(store):
    write_scores(store, part(), PartScores(rows=ROWS))
    data = bytearray(store.get(part().key))
    data[len(data) // 4] ^= 1
    store.put(part().key, bytes(data))
    with pytest.raises(ShardCorruptError):
        read_scores(store, part())


@pytest.mark.parametrize("count", [None, b"many"])
def test_an_object_that_says_no_count_is_not_trusted(store, count):
    write_scores(store, part(), PartScores(rows=ROWS, left_out=3))
    file = f"{store.uri}/{part().key}"
    table = pq.read_table(file)
    says = {**table.schema.metadata, b"factory.left_out": count}
    says = {name: value for name, value in says.items() if value is not None}
    pq.write_table(table.replace_schema_metadata(says), file)
    with pytest.raises(ShardCorruptError, match=r"left_out|many"):
        read_scores(store, part())


def test_the_scores_of_one_model_are_found_without_knowing_how_they_were_made(store):
    other = "e" * 16 + "0" * 48  # the same in the key, another model
    mine = [part(group) for group in range(3)] + [part(settings={"side": 7})]
    for each in [*mine, part(9, model_sha256=other), part(9, model_sha256="d" * 64)]:
        write_scores(store, each, PartScores(rows=ROWS))
    found = list(scores_of(store, "bench", model_sha256="e" * 64))
    assert {each.key for each, _ in found} == {each.key for each in mine}
    assert all(scores.rows == ROWS for _, scores in found)
    assert len(list(scores_of(store, "bench", model_sha256="e" * 64, limit=2))) == 2
    assert list(scores_of(store, "elsewhere", model_sha256="e" * 64)) == []


def test_scores_that_cannot_be_read_are_left_out(store):
    for group in range(2):
        write_scores(store, part(group), PartScores(rows=ROWS))
    store.put(part(0).key, b"PAR1 broken PAR1")
    found = list(scores_of(store, "bench", model_sha256="e" * 64))
    assert [each.group for each, _ in found] == [1]

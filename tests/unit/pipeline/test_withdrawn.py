"""Shards without some samples, and the objects that name those."""

import pytest

from pipeline.errors import ShardCorruptError
from pipeline.identity import sample_id, sha256_hex
from pipeline.shards import load_bytes, read_image_rows
from pipeline.storage import Store
from pipeline.withdrawn import (
    WITHDRAWN,
    read_withdrawn,
    replace_shard,
    withdrawal_row,
    withdrawn_key,
    withdrawn_samples,
)
from tests.factories import image_shard, png, referenced_shard

WHY = (WITHDRAWN, "the person in it asked")


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


def name(index, source="pictures"):
    return sample_id(source, f"{index:05d}.png")


def replace(store, shard, *indices, why=WHY):
    samples = {name(index, shard.source): why for index in indices}
    return replace_shard(store, shard, samples, summary="asked for", code_version="9")


def test_the_other_rows_are_what_they_were(store):
    shard = image_shard(store, range(150), truth=True)
    made = replace(store, shard, 3, 64, 149, 700)
    before = [row for row in read_image_rows(store, shard.key)]
    after = list(read_image_rows(store, made.shard.key))
    left = [row for number, row in enumerate(before) if number not in (3, 64, 149)]
    assert [row.sample_id for row in after] == [row.sample_id for row in left]
    for old, new in zip(left, after, strict=True):
        assert load_bytes(new) == load_bytes(old)
        assert (new.truth.values_HW == old.truth.values_HW).all()
        assert (new.path, new.uri, new.offset, new.header) == (
            old.path, old.uri, old.offset, old.header,
        )  # fmt: skip
    assert made.samples == 3
    assert (made.shard.rows, made.replaced) == (147, shard)
    assert store.exists(shard.key)  # it is for gc to remove, once nobody counts on it


def test_a_shard_without_some_samples_is_the_shard_of_the_others(store):
    """Content decides: as if the withdrawn had never been ingested."""
    shard = image_shard(store, range(8))
    made = replace(store, shard, 0, 7)
    other = Store(store.uri + "-other")
    assert made.shard.shard_id == image_shard(other, range(1, 7)).shard_id
    again = replace(store, shard, 0, 7)
    assert again == made


def test_nothing_is_left_where_all_are_withdrawn(store):
    made = replace(store, image_shard(store, range(2)), 0, 1)
    assert made.shard is None
    footer, samples = read_withdrawn(store, made.key)
    assert (footer["replaced_by"], len(samples)) == ("", 2)


def test_references_stay_references(store, tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    shard = referenced_shard(store, folder, range(3))
    samples = {row.sample_id: WHY for row in read_image_rows(store, shard.key) if "1" in row.path}
    made = replace_shard(store, shard, samples, summary="s", code_version="9")
    rows = list(read_image_rows(store, made.shard.key))
    assert [row.data for row in rows] == [None, None]
    assert [load_bytes(row) for row in rows] == [png(0), png(2)]


def test_the_object_says_what_was_taken_out_and_what_is_there_instead(store):
    shard = image_shard(store, range(4))
    made = replace(store, shard, 2)
    assert made.key == withdrawn_key("pictures", shard.shard_id)
    footer, (sample,) = read_withdrawn(store, made.key)
    assert (sample.sample_id, sample.sha256, sample.path) == (
        name(2), sha256_hex(png(2)), "00002.png",
    )  # fmt: skip
    assert (sample.reason, sample.detail) == WHY
    row = withdrawal_row("pictures", made.key, footer)
    assert (row["shard_id"], row["replaced_by"], row["samples"], row["reason"]) == (
        shard.shard_id, made.shard.shard_id, 1, "asked for",
    )  # fmt: skip
    assert b"PNG" not in store.get(made.key)


def test_what_a_person_withdrew_comes_back_under_no_name_and_a_duplicate_as_its_twin(store):
    made = replace(store, image_shard(store, range(3)), 0)
    more = replace(store, image_shard(store, range(3, 6)), 4, why=("near_duplicate", "of 3"))
    known = withdrawn_samples(store, [made.key, more.key])
    image = {index: sha256_hex(png(index)) for index in range(6)}
    assert known.refuses(name(0), image[5])
    assert known.refuses(name(77), image[0])
    assert known.refuses(name(4), image[4])
    assert not known.refuses(name(77), image[4])
    assert not known.refuses(name(1), image[1])
    assert not withdrawn_samples(store, []).refuses(name(0), image[0])


def test_an_object_that_is_gone_is_an_error_and_nothing_is_let_in(store):
    with pytest.raises(ShardCorruptError, match=r"withdrawn/s1\.parquet.*is gone"):
        withdrawn_samples(store, [withdrawn_key("pictures", "s1")])
    with pytest.raises(ShardCorruptError, match="footer"):
        withdrawal_row("pictures", "key", {"shard_id": "s1"})


def test_a_shard_that_cannot_be_read_leaves_nothing_behind(store):
    shard = image_shard(store, range(3))
    store.put(shard.key, store.get(shard.key)[:200])
    with pytest.raises(ShardCorruptError):
        replace(store, shard, 0)
    assert list(store.list()) == [shard.key]

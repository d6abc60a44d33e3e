"""Ids depend on content alone, and names cannot leave their folder."""

import hashlib

import pytest

from pipeline.identity import check_name, drops_id, sample_id, sha256_hex, shard_id


def test_sample_id_depends_on_source_and_path():
    ids = {
        sample_id(source, path) for source in ("a", "b", "ab") for path in ("c.jpg", "bc.jpg", "d")
    }
    assert len(ids) == 9
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in ids)


def test_sample_id_stays_what_it_is():
    """Changing it would ingest every source a second time."""
    assert sample_id("photos", "a/b.jpg") == hashlib.sha256(b"photos\0a/b.jpg").hexdigest()[:32]


def test_source_and_path_cannot_be_confused():
    assert sample_id("a", "b/c") != sample_id("a/b", "c")


def test_shard_id_depends_on_rows_and_their_order():
    one, two = ("id1", "sha1"), ("id2", "sha2")
    ids = {
        shard_id([one]),
        shard_id([one, two]),
        shard_id([two, one]),
        shard_id([("id1", "sha1", "truth")]),
        shard_id([("id1", "sha1truth")]),
    }
    assert len(ids) == 5
    assert all(check_name(each).startswith("s") for each in ids)


def test_batches_of_drops_have_ids_of_their_own():
    assert drops_id([("a", "b")]).startswith("d")
    assert drops_id([("a", "b")]) != drops_id([("a", "c")])


@pytest.mark.parametrize("name", ["a", "teacher-v1", "sa_1b.2", "0", "A" * 128])
def test_good_names(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "-flag", "a/b", "a\\b", "a b", "a\n", "ä", "A" * 129, "a\0", "~"],
)
def test_names_that_are_none(name):
    with pytest.raises(ValueError, match="is no name"):
        check_name(name)


def test_sha256_is_the_standard_one():
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_hex(memoryview(b"abc")) == sha256_hex(b"abc")

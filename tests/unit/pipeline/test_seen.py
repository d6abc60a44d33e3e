"""What a source has is known again, whatever its digests look like."""

import random

import pytest

from pipeline import seen
from pipeline.records import Drop
from pipeline.seen import (
    DigestSet,
    SeenSamples,
    content_digest,
    drop_digest,
    seen_drops,
    seen_images,
    seen_samples,
)
from pipeline.shards import write_drops
from pipeline.storage import Store
from tests.factories import image_record, image_shard


def digests(count: int, seed: int = 0) -> list[bytes]:
    """Some of them with zeros at the end or all over, where NumPy's strings are treacherous."""
    chance = random.Random(seed)
    found = [chance.randbytes(16) for _ in range(count)]
    return [*found, b"\0" * 16, b"\0" * 15 + b"\1", b"a" + b"\0" * 15, b"a" * 15 + b"\0"]


def test_a_set_of_digests_is_a_set(monkeypatch):
    monkeypatch.setattr(seen, "MERGE_AT", 10)
    known, unknown = digests(100), digests(100, seed=1)[:100]
    found = DigestSet(known[:50])
    for digest in known[50:]:
        found.add(digest)
    assert all(digest in found for digest in known)
    assert not any(digest in found for digest in unknown)
    assert len(found) == len(known)


def test_an_empty_set_has_nothing():
    assert b"\0" * 16 not in DigestSet() and len(DigestSet()) == 0


def test_samples_are_new_the_same_or_changed():
    ids, contents = digests(50), digests(50, seed=1)
    samples = SeenSamples(ids, contents)
    assert len(samples) == 54
    for sample_id, content in zip(ids, contents, strict=True):
        assert samples.compare(sample_id.hex(), content) == "same"
        assert samples.compare(sample_id.hex(), b"other".ljust(16)) == "changed"
    assert samples.compare("ab" * 16, contents[0]) == "new"


def test_an_empty_source_has_seen_nothing():
    assert SeenSamples([], []).compare("00" * 16, b"\0" * 16) == "new"


def test_digests_tell_things_apart():
    assert content_digest("a", None) != content_digest("a", "b") != content_digest("ab", None)
    drop = Drop("p", "/u", "truncated", "why", "0" * 64)
    assert drop_digest(drop) == drop_digest(Drop("p", "/elsewhere", "truncated", "", "0" * 64))
    assert drop_digest(drop) != drop_digest(Drop("p", "/u", "empty", "why", "0" * 64))
    assert drop_digest(drop) != drop_digest(Drop("p", "/u", "truncated", "why", "1" * 64))
    assert drop_digest(Drop("\udc80", "", "x")) != drop_digest(Drop("", "", "x"))


@pytest.mark.parametrize("truth", [False, True])
def test_shards_tell_what_they_hold(tmp_path, truth):
    store = Store(str(tmp_path))
    shards = [image_shard(store, range(start, start + 3), truth=truth) for start in (0, 3)]
    samples = seen_samples(store, shards)
    images = seen_images(store, shards)
    assert len(samples) == 6 and len(images) == 6
    record = image_record(4)
    answer = samples.compare(record.sample_id, content_digest(record.sha256, None))
    assert answer == ("changed" if truth else "same")
    assert bytes.fromhex(record.sha256)[:16] in images
    assert samples.compare(image_record(7).sample_id, b"\0" * 16) == "new"


def test_drops_are_known_again(tmp_path):
    store = Store(str(tmp_path))
    drops = [Drop(f"{index}.jpg", "/x", "truncated", sha256="0" * 64) for index in range(5)]
    keys = [
        write_drops(store, part, source="s", shard_id=f"s{number}", code_version="1")
        for number, part in enumerate((drops[:2], drops[2:]))
    ]
    known = seen_drops(store, keys)
    assert len(known) == 5
    assert all(drop_digest(drop) in known for drop in drops)

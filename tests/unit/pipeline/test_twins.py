"""Twins of held images among others, against comparing all with all."""

import numpy as np
import pytest

from pipeline import twins
from pipeline.image_hashes import ShardLooks
from pipeline.twins import HeldImages


def looks_of(digests, hashes, hashed=None):
    """What shards say: digests are small numbers, spread over all bytes but the last."""
    count = len(digests)
    sha256 = np.zeros((count, 32), np.uint8)
    sha256[:, 0], sha256[:, 30] = digests, digests
    hashed = np.ones(count, bool) if hashed is None else np.asarray(hashed)
    ids = np.zeros((count, 16), np.uint8)
    return ShardLooks(ids, sha256, np.asarray(hashes, np.uint64), hashed, {})


def drawn(rng, count):
    """Images of which many are alike: hashes are few bits away from one of five."""
    hashes = rng.integers(0, 2**64, 5, np.uint64)[rng.integers(0, 5, count)]
    for _ in range(4):
        hashes ^= np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
    return looks_of(rng.integers(0, 40, count), hashes, rng.random(count) < 0.8)


def split(looks, at):
    names = ("sample_ids", "sha256", "hashes", "hashed")
    parts = (slice(0, at), slice(at, None))
    return [ShardLooks(*(getattr(looks, name)[part] for name in names), {}) for part in parts]


def leaked(held, found):
    """Numbers of the held images that have a twin: by bytes, and by looks."""
    exact = np.isin(held.same_bytes, found["image"][found["exact"]])
    near = np.isin(held.same_looks, found["image"][~found["exact"]])
    return set(np.flatnonzero(exact)), set(np.flatnonzero(near))


def brute(mine, its, distance):
    same = (mine.sha256[:, None] == its.sha256[None]).all(-1)
    bits = np.bitwise_count(mine.hashes[:, None] ^ its.hashes[None])
    alike = (bits <= distance) & mine.hashed[:, None] & its.hashed[None]
    return same, np.where(alike, bits, 99)


@pytest.mark.parametrize("at_once", [1, 50, twins.AT_ONCE])
@pytest.mark.parametrize("distance", [0, 1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_as_comparing_all_with_all(seed, distance, at_once, monkeypatch):
    monkeypatch.setattr(twins, "AT_ONCE", at_once)
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2**32)  # of the five hashes that both sides are close to
    mine, its = drawn(np.random.default_rng(base), 60), drawn(np.random.default_rng(base), 45)
    held = HeldImages(split(mine, 23), distance=distance)
    found = held.twins(its)
    same, bits = brute(mine, its, distance)
    assert leaked(held, found) == (
        set(np.flatnonzero(same.any(1))),
        set(np.flatnonzero((bits <= distance).any(1))),
    )
    for image, row, between, exact in found.tolist():
        if exact:
            assert (row, between) == (int(same[image].argmax()), 0)
        else:
            assert between == bits[image].min()
            assert bits[image, row] == between


def test_bytes_alone_where_no_distance_is_asked_for():
    mine = looks_of([1, 2], [7, 7])
    held = HeldImages([mine], distance=None)
    assert held.twins(looks_of([2, 3], [7, 7])).tolist() == [(1, 0, 0, True)]


def test_images_that_are_held_twice_stand_for_each_other():
    held = HeldImages([looks_of([5, 6, 5], [1, 2**40, 1])], distance=4)
    assert held.same_bytes.tolist() == [0, 1, 0]
    assert held.same_looks.tolist() == [0, 1, 0]
    assert leaked(held, held.twins(looks_of([5], [0xFF0]))) == ({0, 2}, set())


def test_what_has_no_hash_is_like_nothing():
    flat = looks_of([1], [0], [False])
    held = HeldImages([flat], distance=4)
    assert held.same_looks.tolist() == [-1]
    assert not len(held.twins(looks_of([2], [0])))
    assert not len(HeldImages([looks_of([2], [0])], distance=4).twins(flat))


@pytest.mark.parametrize("distance", [None, 4])
def test_nothing_is_held_or_streams_by(distance):
    some, none = looks_of([1], [1]), looks_of([], [], [])
    assert not len(HeldImages([], distance=distance).twins(some))
    assert not len(HeldImages([none], distance=distance).twins(some))
    assert not len(HeldImages([some], distance=distance).twins(none))


def test_digests_that_end_in_zeros_differ():
    one, other = looks_of([0], [0]), looks_of([0], [0])
    one.sha256[0, :2] = (7, 0)
    other.sha256[0, :2] = (7, 1)
    assert not len(HeldImages([one], distance=None).twins(other))
    assert len(HeldImages([one], distance=None).twins(one)) == 1

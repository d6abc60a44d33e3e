"""Pairs of near hashes against all pairs compared one by one."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.near_duplicates import HASHED, near_pairs, table_masks
from pipeline.perceptual_hash import BITS


def hashed(hashes: list[int]) -> NDArray[np.void]:
    block = np.empty(len(hashes), HASHED)
    block["hash"], block["index"] = np.array(hashes, np.uint64), np.arange(len(hashes))
    return block


def found(
    hashes: list[int], folder: Path, *, distance: int, memory_bytes: int = 1 << 30
) -> list[tuple[int, int, int, bool]]:
    block = hashed(hashes)
    blocks = [block[: len(block) // 3], block[len(block) // 3 :]]
    options = {"distance": distance, "total": len(block), "folder": folder}
    chunks = list(near_pairs(blocks, memory_bytes=memory_bytes, **options))
    assert not any(folder.iterdir())
    return sorted(pair for chunk in chunks for pair in chunk.tolist())


def brute_force(hashes: list[int], *, distance: int) -> list[tuple[int, int, int, bool]]:
    """By definition: firsts of equal hashes with each other, the others with their first."""
    firsts = {value: index for index, value in reversed(list(enumerate(hashes)))}
    places = sorted(firsts.values())
    pairs = [
        (one, other, between, False)
        for place, one in enumerate(places)
        for other in places[place + 1 :]
        if (between := (hashes[one] ^ hashes[other]).bit_count()) <= distance
    ]
    copies = [
        (firsts[value], index, 0, False)
        for index, value in enumerate(hashes)
        if firsts[value] != index
    ]
    return sorted(pairs + copies)


def crowded(seed: int, count: int) -> list[int]:
    """Hashes around a few centres, so that each distance from 0 to 10 occurs often."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 1 << 64, max(2, count // 20), np.uint64)
    hashes = []
    for _ in range(count):
        value = int(rng.choice(centres))
        for bit in rng.choice(BITS, rng.integers(0, 6), replace=False):
            value ^= 1 << int(bit)
        hashes.append(value)
    return hashes


@pytest.mark.parametrize("memory_bytes", [1 << 30, 4000])
@pytest.mark.parametrize("distance", [0, 1, 2, 4, 7, 10])
def test_every_near_pair_is_found_once(distance: int, memory_bytes: int, tmp_path: Path) -> None:
    hashes = crowded(distance, 300)
    wanted = brute_force(hashes, distance=distance)
    assert wanted
    assert found(hashes, tmp_path, distance=distance, memory_bytes=memory_bytes) == wanted


@settings(max_examples=60, deadline=None)
@given(
    hashes=st.lists(
        st.one_of(st.integers(0, 15), st.integers(0, 2**64 - 1), st.integers(2**64 - 9, 2**64 - 1)),
        max_size=30,
    ),
    distance=st.integers(0, 5),
)
def test_any_hashes(
    hashes: list[int], distance: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("scratch")
    assert found(hashes, folder, distance=distance) == brute_force(hashes, distance=distance)


@pytest.mark.parametrize("distance", [1, 4, 10])
def test_every_pair_agrees_in_a_table(distance: int) -> None:
    """However the differing bits lie, and with all of a table's bits in use."""
    rng = np.random.default_rng(distance)
    masks = table_masks(distance)
    assert np.bitwise_or.reduce(masks) == np.uint64(2**64 - 1)
    for _ in range(500):
        differing = sum(1 << int(bit) for bit in rng.choice(BITS, distance, replace=False))
        assert any(int(mask) & differing == 0 for mask in masks)


def test_a_million_copies_of_a_placeholder_are_as_many_pairs(tmp_path: Path) -> None:
    block = hashed([7] * 100_000)
    options = {"distance": 4, "total": len(block), "folder": tmp_path}
    assert sum(map(len, near_pairs([block], **options))) == len(block) - 1


def test_nothing_is_near_nothing(tmp_path: Path) -> None:
    assert found([], tmp_path, distance=4) == []

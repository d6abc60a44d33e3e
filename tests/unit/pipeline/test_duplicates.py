"""Which samples are copies of which, against the definition applied one by one."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.duplicates import SampleBlock, find_duplicates

Duplicates = dict[int, tuple[int, int, bool]]


def block(digests: list[int], hashes: list[int | None]) -> SampleBlock:
    sha256 = np.zeros((len(digests), 32), np.uint8)
    sha256[:, 15] = [digest % 256 for digest in digests]
    sha256[:, 3] = [digest // 256 for digest in digests]
    return SampleBlock(
        sha256,
        np.array([value or 0 for value in hashes], np.uint64),
        np.array([value is not None for value in hashes], bool),
    )


def search(
    digests: list[int],
    hashes: list[int | None],
    folder: Path,
    *,
    fixed: int = 0,
    distance: int | None = 4,
    memory_bytes: int = 1 << 30,
) -> Duplicates:
    """By index: twin, distance, exact."""
    middle = len(digests) // 2
    blocks = [block(digests[:middle], hashes[:middle]), block(digests[middle:], hashes[middle:])]
    found = find_duplicates(
        blocks,
        total=len(digests),
        fixed=fixed,
        distance=distance,
        folder=folder,
        memory_bytes=memory_bytes,
    )
    rows = [row for chunk in found for row in chunk.tolist()]
    assert [row[0] for row in rows] == sorted({row[0] for row in rows})
    assert not any(folder.iterdir())
    return {index: (twin, between, exact) for index, twin, between, exact in rows}


def by_definition(
    digests: list[int], hashes: list[int | None], *, fixed: int, distance: int
) -> set[int]:
    """In order: a copy is what is like an earlier one that stays."""
    copies: set[int] = set()
    for index in range(len(digests)):
        for earlier in range(index):
            if earlier in copies and earlier >= fixed:
                continue
            one, other = hashes[index], hashes[earlier]
            near = one is not None and other is not None and (one ^ other).bit_count() <= distance
            if near or digests[index] == digests[earlier]:
                copies.add(index)
    return copies


def crowd(seed: int, count: int) -> tuple[list[int], list[int | None]]:
    """Some with the same bytes and so the same hash, some near each other, some without a hash."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 1 << 62, 12).tolist()
    digests, hashes = [], []
    of_digest: dict[int, int | None] = {}
    for _ in range(count):
        value = int(rng.choice(centres))
        for bit in rng.choice(64, rng.integers(0, 5), replace=False):
            value ^= 1 << int(bit)
        digest = int(rng.integers(0, 4 * count))
        of_digest.setdefault(digest, None if rng.random() < 0.1 else value)
        digests.append(digest)
        hashes.append(of_digest[digest])
    return digests, hashes


@pytest.mark.parametrize("memory_bytes", [1 << 30, 3000])
@pytest.mark.parametrize("fixed", [0, 60])
@pytest.mark.parametrize("seed", range(4))
def test_copies_are_those_of_the_definition(
    seed: int, fixed: int, memory_bytes: int, tmp_path: Path
) -> None:
    digests, hashes = crowd(seed, 200)
    found = search(digests, hashes, tmp_path, fixed=fixed, memory_bytes=memory_bytes)
    assert set(found) == by_definition(digests, hashes, fixed=fixed, distance=4)
    for index, (twin, distance, exact) in found.items():
        assert twin < index
        assert twin < fixed or twin not in found  # it stays
        assert exact == (digests[twin] == digests[index])
        one, other = hashes[index], hashes[twin]
        if one is not None and other is not None:
            assert distance == (one ^ other).bit_count() <= 4
        else:
            assert exact and distance == 0


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_like_something_fixed_has_such_a_twin(seed: int, tmp_path: Path) -> None:
    """Otherwise an image of a benchmark could hide behind a copy of itself."""
    digests, hashes = crowd(seed, 200)
    fixed = 30
    found = search(digests, hashes, tmp_path, fixed=fixed)
    for index in range(fixed, len(digests)):
        alike = by_definition(
            [*digests[:fixed], digests[index]], [*hashes[:fixed], hashes[index]], fixed=fixed,
            distance=4,
        )  # fmt: skip
        assert (fixed in alike) == (index in found and found[index][0] < fixed)


def test_a_slow_pan_keeps_frames_far_enough_from_each_other(tmp_path: Path) -> None:
    frames = [(1 << 2 * number) - 1 for number in range(20)]  # each has two bits more than the last
    found = search(list(range(20)), list(frames), tmp_path)
    assert [index for index in range(20) if index not in found] == [0, 3, 6, 9, 12, 15, 18]
    assert found[5] == (3, 4, False)


def test_exact_alone_reads_no_hash(tmp_path: Path) -> None:
    found = search([5, 6, 5, 5, 262], [1, 1, 1, 1, 1], tmp_path, distance=None)
    assert found == {2: (0, 0, True), 3: (0, 0, True)}


def test_without_a_hash_only_the_same_bytes_are_alike(tmp_path: Path) -> None:
    assert search([1, 2, 1], [None, None, None], tmp_path) == {2: (0, 0, True)}


def test_nothing_is_a_copy_of_nothing(tmp_path: Path) -> None:
    assert search([], [], tmp_path) == {}


def test_digests_that_differ_late_differ(tmp_path: Path) -> None:
    first, second = np.zeros((2, 1, 32), np.uint8)
    second[0, 15] = 1
    none: NDArray[np.uint64] = np.zeros(1, np.uint64)
    blocks = [SampleBlock(each, none, np.zeros(1, bool)) for each in (first, second)]
    found = find_duplicates(blocks, total=2, fixed=0, distance=4, folder=tmp_path)
    assert list(found) == []

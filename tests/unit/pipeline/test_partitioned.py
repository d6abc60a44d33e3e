"""Records in partitions on disk."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.partitioned import MAX_PARTITIONS, Partitioned, partitions_for, spread

RECORD = np.dtype([("key", "<u8"), ("value", "u1")])


@pytest.mark.parametrize("count", [1, 7])
def test_each_record_lies_in_its_partition_in_order(count: int, tmp_path: Path) -> None:
    records = np.zeros(1000, RECORD)
    records["key"] = np.random.default_rng(0).integers(0, 50, 1000)
    records["value"] = np.arange(1000) % 256
    which = spread(records["key"], count)
    with Partitioned(tmp_path, RECORD, count) as partitioned:
        for start in range(0, 1000, 300):
            partitioned.add(records[start : start + 300], which[start : start + 300])
        for _ in range(2):  # as often as asked
            for number, part in enumerate(partitioned):
                np.testing.assert_array_equal(part, records[which == number])
    assert not any(tmp_path.iterdir())


def test_equal_keys_lie_together_and_others_spread() -> None:
    keys = np.arange(100_000, dtype=np.uint64) << np.uint64(20)
    which = spread(keys, 16)
    np.testing.assert_array_equal(which, spread(keys.copy(), 16))
    assert np.bincount(which, minlength=16).min() > 0.8 * len(keys) / 16


def test_partitions_bound_what_is_in_memory() -> None:
    assert partitions_for(0, record_bytes=10, memory_bytes=100) == 1
    assert partitions_for(11, record_bytes=10, memory_bytes=100) == 2
    assert partitions_for(10**12, record_bytes=10, memory_bytes=100) == MAX_PARTITIONS


def test_scratch_files_are_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Partitioned(tmp_path, RECORD, 3):
        raise ZeroDivisionError
    assert not any(tmp_path.iterdir())

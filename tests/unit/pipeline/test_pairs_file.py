"""Pairs as a file."""

import csv
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import pairs_file
from pipeline.pairs_file import NamedPair, write_pairs


def pairs(count: int) -> list[NamedPair]:
    return [
        NamedPair(
            "near", number % 2 == 0, number % 5, "web", f'a "b", {number}\n.jpg', f"{number:032x}",
            "s1", "bench", "ü.png", "f" * 32, "s2",
        )
        for number in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 7])
def test_parquet_has_all_of_them(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs_file, "_ROWS", 3)
    file = tmp_path / "file"
    assert write_pairs(pairs(count), file, ending=".parquet") == count
    assert pq.read_table(file).to_pylist() == [asdict(pair) for pair in pairs(count)]


def test_csv_has_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert write_pairs(iter(pairs(3)), file, ending=".csv") == 3
    with file.open(newline="", encoding="utf-8") as reading:
        rows = list(csv.DictReader(reading))
    assert rows == [{name: str(value) for name, value in asdict(pair).items()} for pair in pairs(3)]


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_pairs(pairs(1), tmp_path / "file", ending=".txt")

"""Pairs of images that are alike, as a file for people and tools: CSV or Parquet."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ENDINGS = (".csv", ".parquet")
_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class NamedPair:
    """An image, and the earlier one that it is like.

    Attributes:
        kind: ``exact``, the same bytes, or ``near``, it looks alike.
        leak: The earlier one belongs to a benchmark, and this one does not.
        distance: Bits in which their hashes differ; 0 where the bytes are the same.
    """

    kind: str
    leak: bool
    distance: int
    source: str
    path: str
    sample_id: str
    shard_id: str
    twin_source: str
    twin_path: str
    twin_sample_id: str
    twin_shard_id: str


_TYPES: dict[Any, pa.DataType] = {str: pa.string(), bool: pa.bool_(), int: pa.int32()}
_SCHEMA = pa.schema([pa.field(each.name, _TYPES[each.type]) for each in fields(NamedPair)])


def write_pairs(pairs: Iterable[NamedPair], file: Path, *, ending: str) -> int:
    """Write all pairs, some at a time; returns how many.

    Raises:
        KeyError: ``ending`` is none of `ENDINGS`.
        OSError: The file cannot be written.
    """
    return {".csv": _write_csv, ".parquet": _write_parquet}[ending](pairs, file)


def _write_csv(pairs: Iterable[NamedPair], file: Path) -> int:
    count = 0
    with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as writing:
        writer = csv.DictWriter(writing, [each.name for each in fields(NamedPair)])
        writer.writeheader()
        for pair in pairs:
            writer.writerow(asdict(pair))
            count += 1
    return count


def _write_parquet(pairs: Iterable[NamedPair], file: Path) -> int:
    count = 0
    with pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
        for some in _batches(pairs):
            writer.write_table(pa.Table.from_pylist([asdict(pair) for pair in some], _SCHEMA))
            count += len(some)
    return count


def _batches(pairs: Iterable[NamedPair]) -> Iterator[list[NamedPair]]:
    iterator = iter(pairs)
    while some := list(islice(iterator, _ROWS)):
        yield some

"""Which samples somebody means: ids, paths or digests, on the command line or in a file."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import SourceError
from pipeline.raw_files import read_uri

KINDS = ("sample_id", "sha256", "path")
_DIGITS = {"sample_id": 32, "sha256": 64}
_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class SampleRef:
    """One sample, or for ``sha256`` each with these bytes.

    Attributes:
        kind: ``sample_id``, ``sha256`` of the original bytes, or ``path`` inside the source.
    """

    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


def parse_sample(text: str) -> SampleRef:
    """What a word means: 32 hex digits are a sample id, 64 a sha256, all else is a path.

    ``sample_id:``, ``sha256:`` or ``path:`` in front says which it is.

    Raises:
        ValueError: It is no such id or digest.
    """
    kind, _, value = text.partition(":")
    if kind in KINDS and value:
        return _checked(kind, value)
    for kind, digits in _DIGITS.items():
        if len(text) == digits and _HEX.fullmatch(text.lower()):
            return SampleRef(kind, text.lower())
    return SampleRef("path", text)


def _checked(kind: str, value: str) -> SampleRef:
    if kind == "path":
        return SampleRef(kind, value)
    value = value.strip().lower()
    if len(value) != _DIGITS[kind] or not _HEX.fullmatch(value):
        raise ValueError(f"{value!r} is no {kind}: {_DIGITS[kind]} hexadecimal digits")
    return SampleRef(kind, value)


def read_sample_list(uri: str) -> list[SampleRef]:
    """The samples that a file lists.

    Parquet or CSV with a column ``sample_id``, ``sha256`` or ``path`` (the first of them that is
    there), or text with one sample per line.

    Raises:
        SourceError: It cannot be read, has no such column, or lists nothing.
    """
    try:
        data = read_uri(uri)
        found = list(_parquet(data) if data[:4] == b"PAR1" else _text(uri, data.decode()))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise SourceError(f"{uri}: no list of samples: {error}") from error
    if not found:
        raise SourceError(f"{uri} lists no sample")
    return found


def _parquet(data: bytes) -> Iterator[SampleRef]:
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        kind = _column(file.schema_arrow.names)
        values = file.read(columns=[kind]).column(0).to_pylist()
    return (_checked(kind, value) for value in values if value)


def _text(uri: str, text: str) -> Iterable[SampleRef]:
    if uri.lower().endswith(".csv"):
        rows = csv.DictReader(io.StringIO(text))
        kind = _column(rows.fieldnames or ())
        return (_checked(kind, row[kind]) for row in rows if row[kind])
    return (parse_sample(line) for line in text.splitlines() if line.strip())


def _column(names: Sequence[str]) -> str:
    kind = next((kind for kind in KINDS if kind in names), None)
    if kind is None:
        raise ValueError(f"none of its columns is {', '.join(KINDS)}: {', '.join(names)}")
    return kind

"""Scores of the images of a benchmark, kept part by part so that an evaluation can go on.

One Parquet object per row group of an image shard, model and way of scoring. Its key follows from
what decides the numbers, so that it is there means that it is done, and two who make the same one
lose nothing but time. Results of the catalog do not rest on these objects: removing them costs the
computation, and nothing else.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ShardCorruptError
from pipeline.identity import check_name, sha256_hex
from pipeline.row_groups import opened_shard
from pipeline.storage import Store

FORMAT = "1"
MODEL_DIGITS = 16  # of the weights' sha256, in a key
_PREFIX = "factory."
_SCORE = "score/"
_OF_IMAGE = [
    pa.field("sample_id", pa.string(), nullable=False),
    pa.field("sha256", pa.string(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("skipped", pa.string()),
    pa.field("valid_pixels", pa.int64(), nullable=False),
    pa.field("scale", pa.float64()),
    pa.field("shift", pa.float64()),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRow:
    """The scores of one image.

    Attributes:
        skipped: Short stable code where it has none.
        scale: Of the alignment; None where nothing was aligned.
        shift: Of the alignment; None where nothing was aligned.
        metrics: By space and name, ``depth/abs_rel``; None where the truth cannot tell. Empty for a
            skipped image.
    """

    sample_id: str
    sha256: str
    path: str
    skipped: str | None = None
    valid_pixels: int = 0
    scale: float | None = None
    shift: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorePart:
    """Which part of a benchmark was scored, and how.

    Attributes:
        group: Row group of the image shard.
        settings: Everything that decides the numbers, as plain values.
    """

    source: str
    shard_id: str
    image_shard_sha256: str
    group: int
    model_sha256: str
    settings: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Of the settings."""
        return sha256_hex(json.dumps(self.settings, sort_keys=True).encode())

    @property
    def key(self) -> str:
        """Where its scores lie."""
        name = f"{self.model_sha256[:MODEL_DIGITS]}-{self.digest[:16]}-{self.group:04d}"
        return f"{scores_prefix(self.source)}/{check_name(self.shard_id)}/{name}.parquet"

    def footer(self) -> dict[str, str]:
        """What the object says of itself."""
        return {
            "format": FORMAT,
            "kind": "scores",
            "source": self.source,
            "shard_id": self.shard_id,
            "image_shard_sha256": self.image_shard_sha256,
            "group": str(self.group),
            "model_sha256": self.model_sha256,
            "settings": json.dumps(self.settings, sort_keys=True),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class PartScores:
    """Rows in the order of the image shard, and how many images of it nobody asked for."""

    rows: tuple[ScoreRow, ...]
    left_out: int = 0


def scores_prefix(source: str) -> str:
    """The folder of the scores on a source."""
    return f"evaluations/scores/{check_name(source)}"


def model_of(key: str) -> str:
    """The first digits of the sha256 of the model whose scores lie there."""
    return key.rpartition("/")[2].partition("-")[0]


def scores_there(store: Store, source: str) -> frozenset[str]:
    """Keys of what is scored of a source; objects are listed, and not read."""
    return frozenset(store.list(scores_prefix(source)))


def write_scores(
    store: Store, part: ScorePart, scores: PartScores, *, replace: bool = False
) -> None:
    """Put the scores of a part, unless they are there; with ``replace`` in place of those."""
    names = dict.fromkeys(name for row in scores.rows for name in row.metrics)
    metadata = part.footer() | {"left_out": str(scores.left_out)}
    schema = pa.schema(
        [*_OF_IMAGE, *(pa.field(f"{_SCORE}{name}", pa.float64()) for name in names)],
        metadata={f"{_PREFIX}{name}": value for name, value in metadata.items()},
    )
    rows = [_packed(row) for row in scores.rows]
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    with suppress(FileExistsError):  # scored meanwhile by somebody else
        store.put(part.key, sink.getvalue(), exclusive=not replace)


def read_scores(store: Store, part: ScorePart) -> PartScores:
    """The scores of a part.

    Raises:
        FileNotFoundError: It was not scored.
        ShardCorruptError: The object cannot be read, or is about something else.
    """
    with opened_shard(store, part.key) as parquet:
        metadata: Mapping[bytes, bytes] = parquet.metadata.metadata or {}
        rows = parquet.read().to_pylist()
        says = _footer(metadata)
        if not part.footer().items() <= says.items():
            raise ShardCorruptError(f"{part.key} in {store.uri} has the scores of something else")
        return PartScores(rows=tuple(map(_unpacked, rows)), left_out=int(says["left_out"]))


def scores_of(
    store: Store, source: str, *, model_sha256: str, limit: int | None = None
) -> Iterator[tuple[ScorePart, PartScores]]:
    """What is scored of a source by one model, in whatever way; at most so many objects.

    Those that cannot be read, or are gone by the time, are left out: nothing rests on them.
    """
    there = sorted(scores_there(store, source))
    mine = (key for key in there if model_sha256.startswith(model_of(key)))
    for key in islice(mine, limit):
        try:
            part = _part(store, key)
            scores = None if part is None else read_scores(store, part)
        except (FileNotFoundError, ShardCorruptError):
            continue
        if part is not None and scores is not None and part.model_sha256 == model_sha256:
            yield part, scores


def _part(store: Store, key: str) -> ScorePart | None:
    """What a footer says of its object; None for one of another kind or format."""
    with opened_shard(store, key) as parquet:
        says = _footer(parquet.metadata.metadata or {})
    if (says.get("kind"), says.get("format")) != ("scores", FORMAT):
        return None
    return ScorePart(
        source=says["source"],
        shard_id=says["shard_id"],
        image_shard_sha256=says["image_shard_sha256"],
        group=int(says["group"]),
        model_sha256=says["model_sha256"],
        settings=json.loads(says["settings"]),
    )


def _footer(metadata: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode().removeprefix(_PREFIX): value.decode() for name, value in metadata.items()}


def _packed(row: ScoreRow) -> dict[str, Any]:
    of_image = {each.name: getattr(row, each.name) for each in _OF_IMAGE}
    return of_image | {f"{_SCORE}{name}": value for name, value in row.metrics.items()}


def _unpacked(row: Mapping[str, Any]) -> ScoreRow:
    scored = row["skipped"] is None
    names = [name for name in row if name.startswith(_SCORE)] if scored else []
    return ScoreRow(
        **{each.name: row[each.name] for each in _OF_IMAGE},
        metrics={name.removeprefix(_SCORE): row[name] for name in names},
    )

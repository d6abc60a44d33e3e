"""Stored objects held against what is recorded of them; every difference is said, none raised.

An object is hashed in chunks, and of its rows only plain columns are read, so that memory stays
bounded whatever it weighs. `verify` compares with the catalog, `rebuild` with what the objects say
of each other.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import PipelineError, ShardCorruptError
from pipeline.identity import shard_id as shard_id_of
from pipeline.records import ShardRef
from pipeline.sky_masks import read_sky_rows, sky_footer
from pipeline.storage import Store

_PREFIX = b"factory."
SAMPLE = ("sample_id", "sha256")
TRUTH = "truth_sha256"


@dataclass(frozen=True, slots=True)
class Problem:
    """One difference.

    Attributes:
        what: Which fact of the object: ``sha256``, ``rows``, ``object`` …
        key: Of the object inside the store.
    """

    what: str
    key: str
    expected: Any
    found: Any


@dataclass(frozen=True, slots=True)
class StoredShard:
    """What a shard of images, labels or drops is and says of itself.

    Attributes:
        footer: See ``shards.shard_footer``.
        samples: Sample id and sha256 of each row, in order; none of drops.
        shard_id: Of images: recomputed from the rows.
        reasons: Rows per reason: why quarantined, or why dropped.
        has_truth: Whether any image has ground truth.
    """

    key: str
    bytes: int
    sha256: str
    rows: int
    footer: Mapping[str, str]
    samples: Sequence[tuple[str, str]] = ()
    shard_id: str | None = None
    labelled: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    has_truth: bool = False


def read_images(store: Store, key: str) -> StoredShard:
    """Read an image shard, all but its pictures and maps.

    Raises:
        FileNotFoundError: There is no such object.
        ShardCorruptError: It cannot be read as a shard.
    """
    size, sha256 = digest(store, key)
    footer, rows = _columns(store, key, (*SAMPLE, TRUTH))
    samples = [(row["sample_id"], row["sha256"]) for row in rows]
    truths = [row[TRUTH] for row in rows]
    content = [(*s, t) if t else s for s, t in zip(samples, truths, strict=True)]
    return StoredShard(
        key,
        size,
        sha256,
        len(rows),
        footer,
        samples,
        shard_id=shard_id_of(content),
        has_truth=any(truths),
    )


def read_labels(store: Store, key: str) -> StoredShard:
    """Read a label shard, all but its maps; raises what `read_images` does."""
    size, sha256 = digest(store, key)
    footer, rows = _columns(store, key, (*SAMPLE, "status", "reason"))
    samples = [(row["sample_id"], row["sha256"]) for row in rows]
    labelled = sum(row["status"] == "labelled" for row in rows)
    reasons = Counter(str(row["reason"]) for row in rows if row["status"] != "labelled")
    return StoredShard(
        key, size, sha256, len(rows), footer, samples, labelled=labelled, reasons=_sorted(reasons)
    )


def read_drop_counts(store: Store, key: str) -> StoredShard:
    """Read what was refused, as counts per reason; raises what `read_images` does."""
    size, sha256 = digest(store, key)
    footer, rows = _columns(store, key, ("reason",))
    reasons = Counter(row["reason"] for row in rows)
    return StoredShard(key, size, sha256, len(rows), footer, reasons=_sorted(reasons))


def read_samples(store: Store, key: str) -> list[tuple[str, str]]:
    """Sample id and sha256 of each row of an image shard; raises what `read_images` does."""
    return [(row["sample_id"], row["sha256"]) for row in _columns(store, key, SAMPLE)[1]]


def read_masks(store: Store, key: str) -> StoredShard:
    """Read a shard of sky masks, one row group at a time; raises what `read_images` does."""
    size, sha256 = digest(store, key)
    samples = [(row.sample_id, row.sha256) for row in read_sky_rows(store, key)]
    return StoredShard(key, size, sha256, len(samples), sky_footer(store, key), samples)


def digest(store: Store, key: str) -> tuple[int, str]:
    """Size and sha256 of an object, read in chunks."""
    with store.open(key) as file:
        sha256 = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
        return file.tell(), sha256


def differences(
    key: str, expected: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[Problem]:
    """A problem for each fact that is not as expected; facts that nobody recorded are left out."""
    for what, value in expected.items():
        if value is not None and found.get(what) != value:
            yield Problem(what, key, value, found.get(what))


def image_problems(shard: StoredShard, recorded: Mapping[str, Any]) -> list[Problem]:
    """How an image shard differs from its record (``source, shard_id, rows, bytes, sha256``)."""
    found = {"bytes": shard.bytes, "sha256": shard.sha256, "rows": shard.rows}
    problems = list(differences(shard.key, {what: recorded.get(what) for what in found}, found))
    says = {"kind": "images", "source": recorded["source"], "shard_id": recorded["shard_id"]}
    problems += differences(shard.key, _footer(says), _footer(shard.footer))
    if shard.shard_id != recorded["shard_id"]:
        problems.append(Problem("content id", shard.key, recorded["shard_id"], shard.shard_id))
    return problems


def label_problems(
    shard: StoredShard, recorded: Mapping[str, Any], says: Mapping[str, str]
) -> list[Problem]:
    """How a label shard differs from its record, and its footer from what it ought to say.

    ``recorded`` may have ``rows, bytes, sha256, labelled, quarantined``.
    """
    found = {
        "bytes": shard.bytes,
        "sha256": shard.sha256,
        "rows": shard.rows,
        "labelled": shard.labelled,
        "quarantined": dict(shard.reasons),
    }
    problems = list(differences(shard.key, {what: recorded.get(what) for what in found}, found))
    return problems + list(differences(shard.key, _footer(says), _footer(shard.footer)))


def sample_problems(
    labels: StoredShard, image_key: str, images: Sequence[tuple[str, str]]
) -> list[Problem]:
    """Whether row *i* of labels, or of sky masks, belongs to row *i* of their image shard."""
    if len(labels.samples) != len(images):
        expected = f"{len(images)} rows, as {image_key}"
        return [Problem("samples", labels.key, expected, f"{len(labels.samples)} rows")]
    for row, (mine, theirs) in enumerate(zip(labels.samples, images, strict=True)):
        if mine != theirs:
            expected = f"{theirs[0]} in row {row}, as {image_key}"
            found = mine[0] if mine[0] != theirs[0] else f"{mine[0]} of other bytes"
            return [Problem("samples", labels.key, expected, found)]
    return []


def mask_problems(shard: StoredShard, image: ShardRef, *, sha256: str | None) -> list[Problem]:
    """How sky masks differ from what belongs to their image shard.

    Args:
        shard: From `read_masks`.
        image: As committed.
        sha256: As a training run wrote it down; None where none did.
    """
    problems = list(differences(shard.key, {"sha256": sha256}, {"sha256": shard.sha256}))
    says = {
        "kind": "sky",
        "source": image.source,
        "shard_id": image.shard_id,
        "image_shard_sha256": image.sha256,
    }
    return problems + list(differences(shard.key, _footer(says), _footer(shard.footer)))


def unreadable(key: str, error: Exception) -> Problem:
    """The object is missing, or cannot be read."""
    if isinstance(error, FileNotFoundError):
        return Problem("object", key, "there", "missing")
    return Problem("object", key, "readable", str(error))


READ_ERRORS = (OSError, PipelineError)  # what reading one object may raise


def _footer(facts: Mapping[str, str]) -> dict[str, str]:
    return {f"footer {name}": value for name, value in facts.items()}


def _sorted(reasons: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(reasons.items()))


def _columns(
    store: Store, key: str, names: Sequence[str]
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Footer and plain columns; a column that an older shard lacks is all null."""
    try:
        with store.open(key) as file, pq.ParquetFile(file) as parquet:
            footer: Mapping[bytes, bytes] = parquet.metadata.metadata or {}
            there = [name for name in names if name in parquet.schema_arrow.names]
            rows = parquet.read(columns=there).to_pylist()
    except (pa.ArrowException, IndexError, UnicodeDecodeError) as error:
        raise ShardCorruptError(f"no readable shard: {error}") from error
    said = {
        name.removeprefix(_PREFIX).decode(errors="replace"): value.decode(errors="replace")
        for name, value in footer.items()
        if name.startswith(_PREFIX)
    }
    absent = dict.fromkeys(set(names) - set(there))
    return said, [absent | row for row in rows]

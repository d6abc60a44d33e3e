"""What an export hands on of each image: its original bytes, its map as 16-bit PNG, its facts.

A piece is an image shard with its label shard, or alone for its ground truth. It is read a row
group at a time; a few rows ahead are packed in threads. What is left out is counted:

===============  =================================================================================
reason           meaning
===============  =================================================================================
(of the label)   quarantined: why is what labelling said
no_truth         an image without a map of ground truth, or with none that has a value
missing_file     stored by reference, and what it refers to is gone
wrong_bytes      stored by reference, and other bytes lie there now
===============  =================================================================================

The last two can be repaired: `UNREADABLE`.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.catalog_rows import LabelSetRow, LabelShardRow, SourceRow
from pipeline.depth_codec import decode_disparity
from pipeline.depth_codes import depth_png, to_codes
from pipeline.errors import ShardCorruptError
from pipeline.filesystems import public_address
from pipeline.labels import read_label_group
from pipeline.lookahead import map_ahead
from pipeline.records import ImageRecord, LabelRecord, ShardRef
from pipeline.shards import load_bytes, read_image_rows, row_group_rows
from pipeline.storage import Store

UNREADABLE = ("missing_file", "wrong_bytes")
THREADS = min(16, os.cpu_count() or 4)
AHEAD = 2 * THREADS  # samples that are packed before their turn


@dataclass(frozen=True, slots=True)
class Piece:
    """One image shard of an export.

    Attributes:
        source: Its source, whose licence and attribution hold where an image has none of its own.
        labels: Its committed label shard; None where its ground truth is exported.
        label_set: Of the labels.
    """

    shard: ShardRef
    source: SourceRow
    labels: LabelShardRow | None = None
    label_set: LabelSetRow | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of an export.

    Attributes:
        facts: As `FACTS` of `export_table` names them, plain values.
        image: The original bytes; None in an export of labels alone.
        depth: A 16-bit PNG file.
    """

    facts: Mapping[str, Any]
    image: bytes | None
    depth: bytes

    @property
    def key(self) -> str:
        """The sample id: 32 hex digits, a safe file name."""
        return str(self.facts["sample_id"])

    @property
    def suffix(self) -> str:
        """Of the original image, without a dot: ``jpg``."""
        name = str(self.facts["format"]).lower()
        return {"jpeg": "jpg", "mpo": "jpg", "tiff": "tif", "jpeg2000": "jp2"}.get(name, name)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as it lies in the store, not yet packed."""

    record: ImageRecord
    label: LabelRecord | None


def samples_of(
    store: Store, piece: Piece, *, pixels: bool, left_out: Counter[str]
) -> Iterator[Sample]:
    """The samples of a piece in the order of its shard.

    Args:
        store: Where the shards are.
        piece: Which of them.
        pixels: Whether to hand on the images too.
        left_out: Counts the rows that are none of them, by reason.

    Raises:
        ShardCorruptError: A shard is gone or cannot be read, or the two do not belong together.
    """
    rows = _label_rows(store, piece, pixels) if piece.labels else _truth_rows(store, piece, pixels)
    pack = partial(_pack, piece=piece, pixels=pixels)
    for packed in map_ahead(pack, _there(rows), threads=THREADS, ahead=AHEAD):
        if isinstance(packed, Sample):
            yield packed
        else:
            left_out[packed] += 1


def _there(rows: Iterator[_Row]) -> Iterator[_Row]:
    try:
        yield from rows
    except FileNotFoundError as error:
        raise ShardCorruptError(f"a shard of the export is gone: {error}") from error


def _label_rows(store: Store, piece: Piece, pixels: bool) -> Iterator[_Row]:
    """Rows with their labels; of a group in which none is labelled, no image is read."""
    assert piece.labels is not None
    for group, count in enumerate(row_group_rows(store, piece.shard.key)):
        labels = read_label_group(
            store, piece.labels.key, group, wanted=lambda label: label.status == "labelled"
        )
        wanted = pixels and any(label.disparity is not None for label in labels)
        images = list(
            read_image_rows(store, piece.shard.key, row_groups=[group], image=wanted, truth=False)
        )
        if not count == len(labels) == len(images):
            raise ShardCorruptError(
                f"{piece.labels.key}: {len(labels)} labels in row group {group}, "
                f"and {len(images)} images in that of {piece.shard.key}"
            )
        for image, label in zip(images, labels, strict=True):
            if (image.sample_id, image.sha256) != (label.sample_id, label.sha256):
                raise ShardCorruptError(
                    f"{piece.labels.key}: the label of sample {label.sample_id} stands where the "
                    f"image shard has {image.sample_id}"
                )
            yield _Row(image, label)


def _truth_rows(store: Store, piece: Piece, pixels: bool) -> Iterator[_Row]:
    for record in read_image_rows(store, piece.shard.key, image=pixels):
        yield _Row(record, None)


def _pack(row: _Row, *, piece: Piece, pixels: bool) -> Sample | str:
    """The sample, or why there is none."""
    if row.label is not None and row.label.status != "labelled":
        return row.label.reason or "quarantined"
    values_HW, geometry = _map(row)
    if values_HW is None:
        return "no_truth"
    try:
        image = load_bytes(row.record) if pixels else None
    except FileNotFoundError:
        return "missing_file"
    except ShardCorruptError:
        if row.record.data is not None:  # the shard itself is broken
            raise
        return "wrong_bytes"
    codes = to_codes(values_HW, geometry=geometry)
    known = values_HW[np.isfinite(values_HW)]
    facts = _facts(row, piece) | {
        "geometry": geometry,
        "depth_height": values_HW.shape[0],
        "depth_width": values_HW.shape[1],
        "depth_scale": codes.scale,
        "depth_offset": codes.offset,
        "depth_minimum": float(known.min()),
        "depth_maximum": float(known.max()),
    }
    more = {"sample_id": row.record.sample_id}
    if piece.label_set is not None:
        more["teacher_sha256"] = piece.label_set.teacher_sha256
    return Sample(facts, image, depth_png(codes, geometry=geometry, more=more))


def _map(row: _Row) -> tuple[NDArray[np.float32] | None, str]:
    if row.label is not None:
        return decode_disparity(row.label), str(row.label.geometry)
    truth = row.record.truth
    if truth is None or not np.isfinite(truth.values_HW).any():
        return None, ""
    return truth.values_HW, truth.geometry.value


def _facts(row: _Row, piece: Piece) -> dict[str, Any]:
    record, header = row.record, row.record.header
    facts: dict[str, Any] = {
        "sample_id": record.sample_id,
        "source": piece.source.name,
        "shard_id": piece.shard.shard_id,
        "path": record.path,
        "uri": public_address(record.uri),
        "sha256": record.sha256,
        "licence": record.licence or piece.source.licence,
        "attribution": record.attribution or piece.source.attribution,
        "width": header.width,
        "height": header.height,
        "format": header.format,
        "exif_orientation": header.exif_orientation,
    }
    if piece.label_set is not None and row.label is not None:
        made = ("teacher", "teacher_sha256", "recipe_hash")
        facts |= {"label_set": piece.label_set.name}
        facts |= {name: getattr(piece.label_set, name) for name in made}
        quality = ("saturated", "flat", "flip_correlation")
        facts |= {name: getattr(row.label, name) for name in quality}
    return facts

"""What the columns of an image shard are, and how a record becomes a row and a row a record.

Blobs come last. ``image`` is the struct that Hugging Face `datasets` decodes by itself, because the
schema says so in its metadata. Rows that are references have a null there.
"""

import json
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import ShardCorruptError
from pipeline.maps import (
    MAP_CODEC,
    annotation_digest,
    decode_map,
    decode_mask,
    decode_points,
    encode_map,
    encode_mask,
    encode_points,
    truth_digest,
)
from pipeline.records import Geometry, ImageHeader, ImageRecord, PointPair, Truth

MAX_GROUP_BYTES = (1 << 31) - 1  # what one Arrow array of bytes can hold
_IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
IMAGE_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("licence", pa.string()),
        pa.field("attribution", pa.string()),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("exif_orientation", pa.int32(), nullable=False),
        pa.field("truth_geometry", pa.string()),
        pa.field("truth_height", pa.int32()),
        pa.field("truth_width", pa.int32()),
        pa.field("truth_codec", pa.string()),
        pa.field("truth_sha256", pa.string()),
        pa.field("point_pairs", pa.string()),  # not in shards of before there were any
        pa.field("truth_map", pa.binary()),
        pa.field("sky_mask", pa.binary()),
        pa.field("image", _IMAGE),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})},
)
BLOBS = ("truth_map", "sky_mask", "image.bytes")
LEAVES = (*IMAGE_SCHEMA.names[:-1], "image.bytes", "image.path")
REPEATED = ["uri", "licence", "attribution", "format", "truth_geometry", "truth_codec"]
TRUTH_BLOBS = ("truth_map", "sky_mask")
_HEADER = ("width", "height", "format", "exif_orientation")
_ANNOTATION = [name for name in IMAGE_SCHEMA.names if name.startswith("truth_")]
_ANNOTATION += ["point_pairs", "sky_mask"]
# Column by column and in C: a dictionary for each row would cost more than its image's sha256.
_OF_RECORD = {
    name: attrgetter(f"header.{name}" if name in _HEADER else name)
    for name in IMAGE_SCHEMA.names[:-1]
    if name not in _ANNOTATION
}


def image_table(records: Sequence[ImageRecord]) -> pa.Table:
    """Rows of a shard; ground truth is packed here.

    Raises:
        ValueError: One of the columns has more than 2 GB, or a sky mask does not fit its map.
    """
    annotations = [_annotation(record) for record in records]
    blobs = ([record.data for record in records], [row.get("truth_map") for row in annotations])
    if any(sum(len(blob or b"") for blob in column) > MAX_GROUP_BYTES for column in blobs):
        raise ValueError(f"{len(records)} records of a row group have more than 2 GB")
    columns = {name: list(map(of_record, records)) for name, of_record in _OF_RECORD.items()}
    columns |= {name: [row.get(name) for row in annotations] for name in _ANNOTATION}
    arrays = [pa.array(columns[field.name], field.type) for field in list(IMAGE_SCHEMA)[:-1]]
    return pa.Table.from_arrays([*arrays, _image_array(records)], schema=IMAGE_SCHEMA)


def _image_array(records: Sequence[ImageRecord]) -> pa.StructArray:
    blobs = _blob_array([record.data for record in records])
    paths = pa.array([record.path for record in records], pa.string())
    by_reference = pa.array([record.data is None for record in records])
    return pa.StructArray.from_arrays([blobs, paths], fields=list(_IMAGE), mask=by_reference)


def _blob_array(blobs: Sequence[bytes | None]) -> pa.BinaryArray:
    """As `pa.array` would make it, which holds the interpreter lock while it copies megabytes."""
    ends = np.cumsum([0, *(len(blob or b"") for blob in blobs)], dtype=np.int32)
    joined = np.empty(ends[-1], np.uint8)
    for blob, start, end in zip(blobs, ends, ends[1:], strict=False):
        if blob:
            joined[start:end] = np.frombuffer(blob, np.uint8)
    present = pa.array([blob is not None for blob in blobs])
    buffers = [present.buffers()[1], pa.py_buffer(ends), pa.py_buffer(joined)]
    return pa.BinaryArray.from_buffers(pa.binary(), len(blobs), buffers)


def _annotation(record: ImageRecord) -> dict[str, Any]:
    """What columns of ground truth hold; those that hold nothing are left out."""
    if record.truth is None and not record.points:
        return {}
    known = {
        "point_pairs": encode_points(record.points) if record.points else None,
        "truth_sha256": annotation_digest(record.truth, record.points),
    }
    return known if record.truth is None else known | _truth_columns(record.truth)


def _truth_columns(truth: Truth) -> dict[str, Any]:
    height, width = truth.values_HW.shape
    if truth.sky_HW is not None and truth.sky_HW.shape != (height, width):
        raise ValueError(f"a sky mask {truth.sky_HW.shape} for a map {truth.values_HW.shape}")
    return {
        "truth_geometry": truth.geometry.value,
        "truth_height": height,
        "truth_width": width,
        "truth_codec": MAP_CODEC,
        "truth_map": encode_map(truth.values_HW),
        "sky_mask": None if truth.sky_HW is None else encode_mask(truth.sky_HW),
    }


def image_record(row: Mapping[str, Any], key: str) -> ImageRecord:
    """The record of a row; columns of blobs may have been left out.

    Raises:
        ShardCorruptError: Its ground truth cannot be unpacked, or is not what was ingested; names
            ``key``, the shard.
    """
    return ImageRecord(
        sample_id=row["sample_id"],
        sha256=row["sha256"],
        path=row["path"],
        uri=row["uri"],
        offset=row["offset"],
        length=row["length"],
        data=(row.get("image") or {}).get("bytes"),
        header=ImageHeader(row["width"], row["height"], row["format"], row["exif_orientation"]),
        licence=row["licence"],
        attribution=row["attribution"],
        truth=_truth(row, key),
        points=_points(row, key),
    )


def _truth(row: Mapping[str, Any], key: str) -> Truth | None:
    """The map of a row, checked against its digest: a damaged one may unpack into other values."""
    if row.get("truth_map") is None:
        return None
    if row["truth_codec"] != MAP_CODEC:
        raise ShardCorruptError(f"{key}: ground truth in the unknown codec {row['truth_codec']!r}")
    size = {"height": row["truth_height"], "width": row["truth_width"]}
    sky = row["sky_mask"]
    try:
        truth = Truth(
            decode_map(row["truth_map"], **size),
            Geometry(row["truth_geometry"]),
            None if sky is None else decode_mask(sky, **size),
        )
    except (ValueError, TypeError) as error:  # flipped bits can say a geometry that there is not
        raise ShardCorruptError(f"{key}: ground truth of {row['sample_id']}: {error}") from error
    _check_annotation(row, key, truth_digest(truth))
    return truth


def _points(row: Mapping[str, Any], key: str) -> tuple[PointPair, ...]:
    if not (text := row.get("point_pairs")):
        return ()
    points = decode_points(text)
    _check_annotation(row, key, annotation_digest(None, points))
    return points


def _check_annotation(row: Mapping[str, Any], key: str, digest: str | None) -> None:
    if digest != row["truth_sha256"]:
        raise ShardCorruptError(
            f"{key}: the ground truth of sample {row['sample_id']} is not what was ingested"
        )

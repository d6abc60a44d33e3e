"""Sky masks: where a segmentation model saw sky in the images of a shard, kept beside the store.

One Parquet object per image shard and segmenter, with the same rows in the same row groups. Its key
follows from the two alone, and it is put whole and never overwritten: that it is there means that
it is done. Two drivers that make the same one lose nothing but time, the first one stays.

A mask has the image's upright size; that of a very large image is smaller, with the same aspect
(`mask_size`). Ground truth may have another size again: `at_size` brings a mask to it.
"""

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import ShardCorruptError
from pipeline.identity import check_name, sha256_hex
from pipeline.maps import decode_mask, encode_mask
from pipeline.row_groups import opened_shard, read_columns
from pipeline.shards import ROW_GROUP_ROWS, shard_footer
from pipeline.storage import Store

SKY_FORMAT = "1"
MAX_MASK_PIXELS = 1 << 22  # four times what any training crop sees of an image
_DIGEST_DIGITS = 16

SKY_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("share", pa.float64()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("mask", pa.binary()),
    ]
)
_COLUMNS = SKY_SCHEMA.names


@dataclass(frozen=True, slots=True)
class SkyRow:
    """Where one image shows sky.

    Attributes:
        sha256: Of the image's original bytes, hex.
        mask_HW: bool, True where the segmenter says sky; None where it could not look.
        reason: Short stable code where there is no mask (``decode_failed``), else None.
    """

    sample_id: str
    sha256: str
    mask_HW: NDArray[np.bool_] | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class SkyShard:
    """A shard of masks as it lies in the store.

    Attributes:
        sha256: Of the object, hex.
        masked: Rows that have a mask.
        share: Mean share of sky, 0..1, of the images that have a mask; 0 without any.
    """

    key: str
    sha256: str
    rows: int
    masked: int
    share: float


def sky_key(source: str, segmenter_sha256: str, shard_id: str) -> str:
    """Where the masks of an image shard by one segmenter lie."""
    digest = check_name(segmenter_sha256)[:_DIGEST_DIGITS]
    return f"sky/{check_name(source)}/{digest}/{check_name(shard_id)}.parquet"


def mask_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the mask of an image of that size, pixels."""
    scale = min(1.0, math.sqrt(MAX_MASK_PIXELS / (height * width)))
    return max(1, int(height * scale)), max(1, int(width * scale))


def at_size(mask_HW: NDArray[np.bool_], *, height: int, width: int) -> NDArray[np.bool_]:
    """The mask at another size, each pixel from the one that covers its centre."""
    if mask_HW.shape == (height, width):
        return mask_HW
    rows, columns = (
        ((2 * np.arange(wanted) + 1) * there) // (2 * wanted)
        for wanted, there in zip((height, width), mask_HW.shape, strict=True)
    )
    return mask_HW[np.ix_(rows, columns)]


def describe_sky(
    *,
    source: str,
    shard_id: str,
    image_shard_sha256: str,
    segmenter: str,
    segmenter_sha256: str,
    code_version: str,
) -> dict[str, str]:
    """What a shard of masks says of itself in its footer."""
    return {
        "kind": "sky",
        "source": source,
        "shard_id": shard_id,
        "image_shard_sha256": image_shard_sha256,
        "segmenter": segmenter,
        "segmenter_sha256": segmenter_sha256,
        "code_version": code_version,
    }


def write_sky_shard(
    store: Store, rows: Iterable[SkyRow], *, key: str, footer: Mapping[str, str]
) -> SkyShard:
    """Put the masks of one image shard; what somebody put there before stays, and is returned.

    Args:
        store: Where to.
        rows: As many as the image shard has, in its order; each is packed as it comes.
        key: From `sky_key`.
        footer: From `describe_sky`.
    """
    with suppress(FileExistsError):  # made meanwhile, from the same image shard and segmenter
        store.put(key, _to_parquet(rows, footer), exclusive=True)
    return find_sky_shard(store, key)


def find_sky_shard(store: Store, key: str) -> SkyShard:
    """What lies under that key, read whole for its digest.

    Raises:
        FileNotFoundError: Nothing does.
        ShardCorruptError: It is no shard of masks.
    """
    data = store.get(key)
    try:
        metadata = pq.read_metadata(io.BytesIO(data)).metadata or {}
        rows, masked = (int(metadata[f"factory.{name}".encode()]) for name in ("rows", "masked"))
        share = float(metadata[b"factory.share"])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ShardCorruptError(
            f"{key} in {store.uri} is no shard of sky masks: {error}; without it, it is made again"
        ) from error
    return SkyShard(key, sha256_hex(data), rows, masked, share)


def sky_footer(store: Store, key: str) -> dict[str, str]:
    """What the shard says of itself; only the footer is read."""
    return shard_footer(store, key)


def read_sky_rows(
    store: Store, key: str, *, row_groups: Sequence[int] | None = None
) -> Iterator[SkyRow]:
    """Stream a shard of masks row group by row group; they are those of the image shard.

    Args:
        store: Where it is.
        key: From `sky_key`.
        row_groups: Which, in this order; None for all.

    Raises:
        FileNotFoundError: There is no such object.
        ShardCorruptError: It cannot be read as a shard of masks.
    """
    columns = [name for name in _COLUMNS if name != "share"]
    with opened_shard(store, key) as parquet:
        groups = range(parquet.num_row_groups) if row_groups is None else row_groups
        for group in groups:
            for row in read_columns(parquet, group, columns):
                yield _sky_row(row)


def _sky_row(row: Mapping[str, Any]) -> SkyRow:
    packed = row["mask"]
    mask_HW = (
        None if packed is None else decode_mask(packed, height=row["height"], width=row["width"])
    )
    return SkyRow(row["sample_id"], row["sha256"], mask_HW, row["reason"])


def _to_parquet(rows: Iterable[SkyRow], footer: Mapping[str, str]) -> bytes:
    """Packed row by row: masks as they come would be megabytes each."""
    packed = [_packed(row) for row in rows]
    shares = [row["share"] for row in packed if row["share"] is not None]
    counted = {
        "rows": str(len(packed)),
        "masked": str(len(shares)),
        "share": repr(float(np.mean(shares)) if shares else 0.0),
    }
    metadata = {"format": SKY_FORMAT, **footer, **counted}
    schema = SKY_SCHEMA.with_metadata(
        {f"factory.{name}": value for name, value in metadata.items()}
    )
    buffer = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(packed, schema=schema),
        buffer,
        row_group_size=ROW_GROUP_ROWS,
        compression={name: "none" if name == "mask" else "zstd" for name in _COLUMNS},
        use_dictionary=["reason"],
        write_statistics=[name for name in _COLUMNS if name != "mask"],
        write_page_checksum=True,  # a mask with flipped bits is a mask like any other
    )
    return buffer.getvalue()


def _packed(row: SkyRow) -> dict[str, Any]:
    mask_HW = row.mask_HW
    return {
        "sample_id": row.sample_id,
        "sha256": row.sha256,
        "reason": row.reason,
        "share": None if mask_HW is None else float(mask_HW.mean()),
        "height": None if mask_HW is None else mask_HW.shape[0],
        "width": None if mask_HW is None else mask_HW.shape[1],
        "mask": None if mask_HW is None else encode_mask(mask_HW),
    }

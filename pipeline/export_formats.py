"""How the samples of a piece become a part of an export, for each format.

============  ====================================================================================
format        files of a part
============  ====================================================================================
hf, iceberg   ``data/PART.parquet``
webdataset    ``data/PART.tar``
png16         ``rgb/PART/KEY.jpg``, ``depth/PART/KEY.png``, ``index/PART.parquet``
============  ====================================================================================

Images keep their original bytes, and so their own endings.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Protocol

from pipeline.export_parts import ExportedFile, Part
from pipeline.export_png16 import write_files
from pipeline.export_samples import Piece, Sample, samples_of
from pipeline.export_table import write_parquet
from pipeline.export_webdataset import write_tar
from pipeline.storage import Store


class _Writer(Protocol):
    def __call__(
        self, out: Store, name: str, samples: Iterable[Sample], *, pixels: bool
    ) -> list[ExportedFile]: ...


_WRITERS: dict[str, _Writer] = {
    "hf": write_parquet,
    "iceberg": write_parquet,
    "webdataset": write_tar,
    "png16": write_files,
}
FORMATS = tuple(_WRITERS)
LOOSE = "png16"  # whose files are not listed one by one


def write_part(
    store: Store, out: Store, piece: Piece, *, name: str, format: str, pixels: bool
) -> Part:
    """Write the files of a piece; without a sample there are none.

    Raises:
        ShardCorruptError: A shard is gone or cannot be read, or the two do not belong together.
    """
    left_out: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    samples = _counted(samples_of(store, piece, pixels=pixels, left_out=left_out), tally)
    files: Sequence[ExportedFile] = ()
    if (first := next(samples, None)) is not None:
        files = _WRITERS[format](out, name, chain([first], samples), pixels=pixels)
    return Part(
        part=name,
        source=piece.shard.source,
        shard_id=piece.shard.shard_id,
        image_shard_sha256=piece.shard.sha256,
        label_shard_sha256=piece.labels.sha256 if piece.labels else None,
        rows=piece.shard.rows,
        kept=tally["kept"],
        left_out=dict(sorted(left_out.items())),
        bytes=sum(file.bytes for file in files) + (tally["bytes"] if format == LOOSE else 0),
        files=tuple(files),
    )


def _counted(samples: Iterable[Sample], tally: Counter[str]) -> Iterator[Sample]:
    for sample in samples:
        tally["kept"] += 1
        tally["bytes"] += len(sample.depth) + len(sample.image or b"")
        yield sample

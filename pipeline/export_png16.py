"""Loose files, as other training code expects: an image and a 16-bit PNG of the same stem.

    rgb/PART/KEY.jpg       the original bytes
    depth/PART/KEY.png     its map
    index/PART.parquet     the facts of the samples of a part
    index.csv              all of them

KEY is the sample id, which is a safe name everywhere. A part is one image shard, so that no folder
has more files than a shard has images.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import pyarrow.parquet as pq
from pyarrow import csv

from pipeline.export_parts import ExportedFile, Part, put_file, put_scratch_file
from pipeline.export_samples import AHEAD, THREADS, Sample
from pipeline.export_table import facts_parquet, index_schema
from pipeline.lookahead import map_ahead
from pipeline.storage import Store

INDEX = "index.csv"


def write_files(
    out: Store, name: str, samples: Iterable[Sample], *, pixels: bool
) -> list[ExportedFile]:
    """Write the files of a part, a few at a time, and then its index, which lists them."""
    put = partial(_put_sample, out, name)
    rows = list(map_ahead(put, samples, threads=THREADS, ahead=AHEAD))
    return [put_file(out, facts_parquet(rows), f"index/{name}.parquet")]


def has_samples(out: Store, part: Part, *, pixels: bool) -> bool:
    """Whether all loose files of a part are there; each was put whole, so they are but counted."""
    trees = ("rgb", "depth") if pixels else ("depth",)
    return all(sum(1 for _ in out.list(f"{tree}/{part.part}")) == part.kept for tree in trees)


def write_index(out: Store, parts: Sequence[Part]) -> list[ExportedFile]:
    """Write ``index.csv`` from the indices of the parts, one after the other."""
    with (
        put_scratch_file(out, INDEX) as put,
        csv.CSVWriter(put.scratch, index_schema()) as writer,
    ):
        for path in (file.path for part in parts for file in part.files):
            with out.open(path) as file, pq.ParquetFile(file) as parquet:
                writer.write_table(parquet.read())
    return put.files


def _put_sample(out: Store, name: str, sample: Sample) -> dict[str, Any]:
    """Put both files; the row of the index."""
    depth_file = f"depth/{name}/{sample.key}.png"
    out.put(depth_file, sample.depth)
    image_file = None
    if sample.image is not None:
        image_file = f"rgb/{name}/{sample.key}.{sample.suffix}"
        out.put(image_file, sample.image)
    return {"image_file": image_file, "depth_file": depth_file, **sample.facts}

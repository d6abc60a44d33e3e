"""WebDataset: one tar per part, of ``KEY.jpg``, ``KEY.depth.png`` and ``KEY.json`` per sample.

KEY is the sample id. Owners and times are left out, so that the same samples are the same bytes.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator

from pipeline.export_parts import ExportedFile, put_scratch_file
from pipeline.export_samples import Sample
from pipeline.storage import Store


def write_tar(
    out: Store, name: str, samples: Iterable[Sample], *, pixels: bool
) -> list[ExportedFile]:
    """Write ``data/NAME.tar``; one sample is in memory."""
    with (
        put_scratch_file(out, f"data/{name}.tar") as put,
        tarfile.open(put.scratch, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for sample in samples:
            for ending, data in _members(sample):
                entry = tarfile.TarInfo(f"{sample.key}.{ending}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return put.files


def _members(sample: Sample) -> Iterator[tuple[str, bytes]]:
    """Endings and contents; a sample of labels alone has no image."""
    if sample.image is not None:
        yield sample.suffix, sample.image
    yield "depth.png", sample.depth
    yield "json", json.dumps(sample.facts, ensure_ascii=False, sort_keys=True).encode()

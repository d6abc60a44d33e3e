"""Pictures that look like photographs to a perceptual hash, and sources made of them."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from jobs.config import CatalogConfig
from jobs.workspace import open_workspace
from pipeline.identity import sample_id
from pipeline.ledger import record_source
from pipeline.records import ImageHeader
from pipeline.shards import write_image_shard
from tests.catalog_factories import begin_ingest
from tests.factories import image_record


def encoded(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    """An image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture(seed: int, *, width: int = 320, height: int = 240) -> Image.Image:
    """Something with a spectrum like a photograph's: amplitudes fall with the frequency."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(width), np.fft.fftfreq(height)))
    amplitude = 1 / np.maximum(frequency, 1 / width)
    noise_CHW = rng.standard_normal((3, height, width))
    common = rng.standard_normal((height, width))
    waves = np.fft.ifft2(np.fft.fft2(0.4 * noise_CHW + common) * amplitude).real
    scaled = 128 + 45 * (waves - waves.mean()) / waves.std()
    return Image.fromarray(np.moveaxis(scaled.clip(0, 255), 0, -1).astype(np.uint8))


def commit_pictures(
    store: Path, source: str, images: Mapping[str, bytes], *, role: str, rows: int = 3
) -> None:
    """A source with these images by path, so many to a shard, whatever they are."""
    with open_workspace(CatalogConfig(store=str(store))) as workspace:
        catalog = workspace.catalog
        catalog.register_source(source, role=role, uri="/x", layout="images")
        lease = begin_ingest(catalog, source)
        records = [
            replace(
                image_record(0, data=data),
                sample_id=sample_id(source, path),
                path=path,
                header=ImageHeader(160, 120, "PNG"),
            )
            for path, data in images.items()
        ]
        for start in range(0, len(records), rows):
            some = records[start : start + rows]
            shard = write_image_shard(workspace.store, some, source=source, code_version="test")
            catalog.commit_image_shard(lease, shard, dropped={})
        catalog.finish_ingest(lease, {})
        record_source(workspace.store, catalog, source)

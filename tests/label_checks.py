"""Whether a label set is what it must be after any accident: every image once, and alike."""

from pathlib import Path
from typing import Any

from jobs.config import IngestConfig
from jobs.ingest import ingest
from jobs.workspace import Workspace
from pipeline.labels import read_label_rows
from pipeline.shards import read_image_rows
from tests.factories import png

Labels = dict[str, tuple[Any, ...]]


def make_pictures(folder: Path, count: int) -> Path:
    """Images of two sizes in a folder; number 5 has garbage in its middle."""
    folder.mkdir()
    for index in range(count):
        data = png(index, width=64 if index % 3 else 48)
        if index == 5:
            middle = len(data) // 2
            data = data[:middle] + bytes(64) + data[middle + 64 :]
        (folder / f"{index:04d}.png").write_bytes(data)
    return folder


def ingest_pictures(folder: Path, count: int, *, shard_images: int, **where: str) -> None:
    """A source ``pictures``."""
    uri = str(make_pictures(folder / "pictures", count))
    ingest(IngestConfig(uri=uri, source="pictures", shard_images=shard_images, **where))


def labels_of(workspace: Workspace, label_set: str, source: str = "pictures") -> Labels:
    """Every label of a set by sample id, checked against the images row by row.

    Fails where an image has no label, two, or one in the wrong place.
    """
    found: Labels = {}
    images = workspace.catalog.image_shards(source)
    shards = workspace.catalog.label_shards(label_set)
    assert [row.shard for row in shards] == images, "not one label shard for each image shard"
    for row in shards:
        labels = list(read_label_rows(workspace.store, row.key))
        wanted = [image.sample_id for image in read_image_rows(workspace.store, row.shard.key)]
        assert [label.sample_id for label in labels] == wanted, f"{row.key}: other rows"
        assert len(labels) == row.rows and not found.keys() & set(wanted), f"{row.key}: twice"
        for label in labels:
            found[label.sample_id] = (label.status, label.reason, label.disparity, label.maximum)
    return found


def check_exactly_once(
    workspace: Workspace, label_set: str, *, like: Labels, source: str = "pictures"
) -> list[str]:
    """Fail unless a finished set is ``like`` the undisturbed one; returns its orphans."""
    progress = workspace.catalog.progress(label_set)
    assert (progress.pending, progress.leased, progress.failed) == (0, 0, 0), progress
    assert progress.labelled + sum(progress.quarantined.values()) == progress.images == len(like)
    labels = labels_of(workspace, label_set, source)
    assert labels.keys() == like.keys()
    different = [sample_id for sample_id in like if labels[sample_id] != like[sample_id]]
    assert not different, f"{len(different)} labels of {label_set} are not the undisturbed ones"
    committed = {row.key for row in workspace.catalog.label_shards(label_set)}
    there = {key for key in workspace.store.list(f"labels/{label_set}") if _is_shard(key)}
    assert committed <= there, "committed, but not in the store"
    return sorted(there - committed)


def _is_shard(key: str) -> bool:
    return key.endswith(".parquet")  # beside them lies the set's own ledger

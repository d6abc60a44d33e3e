"""A store with the whole line in it, made by the real verbs as far as they need no Ray."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from jobs.config import IngestConfig
from jobs.evaluate import evaluate
from jobs.evaluate_config import EvaluateConfig
from jobs.ingest import ingest
from jobs.training_config import TrainStudentConfig
from jobs.training_end import register
from jobs.training_runs import open_run
from jobs.workspace import Workspace, open_workspace
from pipeline.catalog import WorkLease
from pipeline.depth_codec import encode, quantise
from pipeline.labels import describe_labels, write_label_shard
from pipeline.ledger import record_label_set
from pipeline.records import LabelManifest, LabelRecord
from pipeline.shards import read_image_rows
from pipeline.storage import label_shard_key
from tests.factories import png, tiny_teacher

RECIPE = {"geometry": "disparity_affine_invariant", "side": 42, "precision": "fp32"}
TEACHER = {"teacher": "teacher", "teacher_sha256": "a" * 64}
TTL_S = 600.0


def fill_whole_store(store: Path | str, raw: Path, *, catalog: str | None = None) -> None:
    """`photos` (twice ingested, with drops), `rooms`, `bench`, set `labels`, model `student`."""
    where = {"store": str(store), "catalog": catalog}
    ingest_photos(store, raw, range(9), catalog=catalog)
    rooms = "synthetic://clutter?n=3&seed=0&width=64&height=48"
    ingest(IngestConfig(uri=rooms, source="rooms", role="labelled", licence="CC0-1.0", **where))
    bench = "synthetic://clutter?n=2&seed=1&width=70&height=70"
    ingest(IngestConfig(uri=bench, source="bench", role="benchmark", **where))
    ingest_photos(store, raw, range(9, 13), catalog=catalog)
    with open_workspace(IngestConfig(uri="", source="x", **where)) as workspace:
        open_labels(workspace)
        workspace.catalog.plan_work("labels", ["photos"])
        label_pending(workspace)
        record_label_set(workspace.store, workspace.catalog, "labels")
        _train(workspace, TrainStudentConfig(
            labelled=("rooms",), pseudo=("labels",), encoder="scratch:tiny", name="student", **where
        ))  # fmt: skip
    evaluate(EvaluateConfig(models=("student",), benchmark=("relative@1=bench",), **where))


def ingest_photos(
    store: Path | str, raw: Path, numbers: range, *, catalog: str | None = None
) -> dict[str, Any]:
    """Add photographs, one of them too small and one torn, to the source `photos`."""
    raw.mkdir(exist_ok=True)
    for number in numbers:
        (raw / f"{number:03}.png").write_bytes(png(number))
    (raw / f"tiny-{numbers.start}.png").write_bytes(png(0, width=8, height=8))
    (raw / "torn.png").write_bytes(png(1)[:300])
    return ingest(
        IngestConfig(
            uri=str(raw),
            source="photos",
            shard_images=4,
            licence="MIT",
            store=str(store),
            catalog=catalog,
        )
    )


def open_labels(workspace: Workspace, name: str = "labels") -> None:
    """The label set of all tests here."""
    workspace.catalog.open_label_set(
        name, **TEACHER, recipe=RECIPE, recipe_hash="b" * 64, code_version="1"
    )


def label_pending(workspace: Workspace, *, owner: str = "me", quarantined: int = 1) -> int:
    """Label and commit what is pending in `labels`; returns how many shards."""
    leases = workspace.catalog.lease("labels", owner=owner, limit=99, ttl_s=TTL_S)
    for lease in leases:
        written = write_labels(workspace, lease, quarantined=quarantined)
        workspace.catalog.commit_label_shard(lease, written)
    return len(leases)


def write_labels(workspace: Workspace, lease: WorkLease, *, quarantined: int = 1) -> LabelManifest:
    """An object of labels of one shard, its first rows quarantined; commits nothing."""
    rows = [
        LabelRecord(image.sample_id, image.sha256, "quarantined", "decode_failed")
        if number < quarantined
        else _label(image.sample_id, image.sha256, number)
        for number, image in enumerate(read_image_rows(workspace.store, lease.shard.key))
    ]
    attempt = f"{lease.epoch:04d}-{lease.owner}"
    key = label_shard_key(lease.label_set, lease.shard.shard_id, attempt)
    footer = describe_labels(
        label_set=lease.label_set, shard_id=lease.shard.shard_id, recipe=RECIPE,
        image_shard_sha256=lease.shard.sha256, recipe_hash="b" * 64, code_version="1", **TEACHER,
    )  # fmt: skip
    written = write_label_shard(workspace.store, rows, key=key, footer=footer)
    return LabelManifest(
        label_set=lease.label_set, shard_id=lease.shard.shard_id, key=key, sha256=written.sha256,
        bytes=written.bytes, rows=len(rows), labelled=len(rows) - quarantined,
        quarantined={"decode_failed": quarantined}, forward_s=0.5, wall_s=0.6,
    )  # fmt: skip


def _label(sample_id: str, sha256: str, number: int) -> LabelRecord:
    map_ = quantise(np.linspace(0, 1 + number, 12, dtype=np.float32).reshape(3, 4))
    return LabelRecord(
        sample_id, sha256, "labelled", codec="jxl-u16", disparity=encode(map_),
        minimum=map_.minimum, maximum=map_.maximum, height=3, width=4,
        geometry="disparity_affine_invariant",
    )  # fmt: skip


def _train(workspace: Workspace, config: TrainStudentConfig) -> None:
    """A run as the verb opens and ends it; what Ray would make in between is a random model."""
    run = open_run(config, "student", config.pseudo, workspace)
    with tempfile.TemporaryDirectory() as folder:
        workspace.store.put_folder(tiny_teacher(Path(folder), size=70), "models/student")
    losses = {"labelled": 0.5, "pseudo": 0.4, "feature": 0.1}
    read = {"skipped": {}, "damaged": {}, "damaged_first": [], "best": None}
    run.files.write_json("result.json", {"step": 3, "loss": 1.0, **read, **losses})
    register("student", "student", run, workspace)

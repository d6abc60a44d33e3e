"""A small store with a source, a label set and a model in it, for tests of reports."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from jobs.config import Common
from jobs.run_files import RunFiles
from jobs.workspace import Workspace, open_workspace
from pipeline.depth_codec import encode, quantise
from pipeline.identity import sample_id, sha256_hex
from pipeline.labels import describe_labels, write_label_shard
from pipeline.records import (
    Drop,
    Geometry,
    ImageHeader,
    ImageRecord,
    LabelManifest,
    LabelRecord,
    ShardRef,
    Truth,
)
from pipeline.shards import write_drops, write_image_shard
from pipeline.storage import label_shard_key

HOSTILE = "<script>alert('x')</script>\"&amp;"
RECIPE = {
    "geometry": "disparity_affine_invariant",
    "side": 518,
    "precision": "fp32",
    "consistency": True,
}


def fill_store(folder: Path, *, photographs: list[bytes] | None = None) -> None:
    """`photos` (hostile names) and `rooms` (with truth), label set `labels`, teacher, student."""
    with open_workspace(Common(store=str(folder))) as workspace:
        photographs = photographs or [*map(_photograph, range(12))]
        half = len(photographs) // 2
        batches = [photographs[:half], photographs[half:]]
        shards = [
            _image_shard(workspace, "photos", batch, first=number * half, truth=False)
            for number, batch in enumerate(batches)
        ]
        _ingest(workspace, "photos", shards, role="unlabelled", licence=f"CC {HOSTILE}")
        rooms = [_image_shard(workspace, "rooms", photographs[:3], first=0, truth=True)]
        _ingest(workspace, "rooms", rooms, role="labelled", licence=None)
        _models(workspace, kind="teacher", name="teacher", pseudo=[])
        _label(workspace)
        _models(workspace, kind="student", name="student", pseudo=["labels"])


def _photograph(number: int) -> bytes:
    """All are alike but the last, which is large."""
    times = 2 if number == 11 else 1
    return picture(seed=number, width=64 * times, height=48 * times)


def picture(*, seed: int, width: int = 64, height: int = 48) -> bytes:
    """A JPEG with a gradient and some noise."""
    generator = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, width)[None, :, None] * np.ones((height, 1, 3))
    noise = generator.integers(0, 50, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray((ramp + noise).astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def _image_shard(
    workspace: Workspace, source: str, images: list[bytes], *, first: int, truth: bool
) -> ShardRef:
    records = []
    for number, data in enumerate(images, start=first):
        path = f"{number:03}-{HOSTILE}.jpg"
        width, height = Image.open(io.BytesIO(data)).size
        records.append(
            ImageRecord(
                sample_id=sample_id(source, path),
                sha256=sha256_hex(data),
                path=path,
                uri=f"/data/{path}",
                offset=None,
                length=len(data),
                data=data,
                header=ImageHeader(width, height, "JPEG"),
                truth=_truth(height, width) if truth else None,
            )
        )
    return write_image_shard(workspace.store, records, source=source, code_version="1")


def _truth(height: int, width: int) -> Truth:
    depth = np.linspace(1, 10, height * width, dtype=np.float32).reshape(height, width)
    depth[: height // 4] = np.nan
    return Truth(depth, Geometry.DEPTH_METRIC)


def _ingest(
    workspace: Workspace, source: str, shards: list[ShardRef], *, role: str, licence: str | None
) -> None:
    catalog = workspace.catalog
    catalog.register_source(
        source, role=role, uri=f"/data/{source}", layout="images", licence=licence
    )
    lease = catalog.begin_ingest(
        source, owner="me", ttl_s=60, uri=f"/data/{source}", config={}, code_version="1"
    )
    for shard in shards:
        drops = [
            Drop(f"broken-{HOSTILE}.jpg", "/data", f"truncated_{HOSTILE}", f"ends {HOSTILE}"),
            Drop("tiny.png", "/data", "too_small", "8 × 8 pixels"),
        ]
        write_drops(
            workspace.store, drops, source=source, shard_id=shard.shard_id, code_version="1"
        )
        catalog.commit_image_shard(
            lease, shard, dropped={f"truncated_{HOSTILE}": 1, "too_small": 1}
        )
    catalog.finish_ingest(lease, {})


def _label(workspace: Workspace) -> None:
    catalog, facts = workspace.catalog, {"teacher": "teacher", "teacher_sha256": "a" * 64}
    catalog.open_label_set("labels", **facts, recipe=RECIPE, recipe_hash="b" * 64, code_version="1")
    catalog.plan_work("labels", ["photos"])
    for lease in catalog.lease("labels", owner="me", limit=9, ttl_s=60):
        rows = _label_rows(workspace, lease.shard)
        key = label_shard_key("labels", lease.shard.shard_id, "one")
        footer = describe_labels(
            label_set="labels", shard_id=lease.shard.shard_id, recipe=RECIPE, recipe_hash="b" * 64,
            image_shard_sha256=lease.shard.sha256, code_version="1", **facts,
        )  # fmt: skip
        written = write_label_shard(workspace.store, rows, key=key, footer=footer)
        manifest = LabelManifest(
            label_set="labels", shard_id=lease.shard.shard_id, key=key, sha256=written.sha256,
            bytes=written.bytes, rows=len(rows), labelled=len(rows) - 1,
            quarantined={"decode_failed": 1}, forward_s=0.5, wall_s=0.6,
        )  # fmt: skip
        catalog.commit_label_shard(lease, manifest)


def _label_rows(workspace: Workspace, shard: ShardRef) -> list[LabelRecord]:
    from pipeline.shards import read_image_rows

    rows = []
    for number, image in enumerate(read_image_rows(workspace.store, shard.key)):
        height, width = image.header.height, image.header.width
        if number == 1:
            rows.append(
                LabelRecord(image.sample_id, image.sha256, "quarantined", reason="decode_failed")
            )
            continue
        down = np.linspace(0.1, 4 + number, height, dtype=np.float32)[:, None]
        across = 0.5 * np.sin(np.linspace(0, 9, width, dtype=np.float32))[None]
        quantised = quantise(down + across)
        rows.append(
            LabelRecord(
                image.sample_id,
                image.sha256,
                "labelled",
                codec="jxl-u16",
                disparity=encode(quantised),
                minimum=quantised.minimum,
                maximum=quantised.maximum,
                height=height,
                width=width,
                geometry="disparity_affine_invariant",
                saturated=0.004 * number,
                flat=0.5 / (1 + number),
                flip_correlation=None if number == 0 else 1 - 0.02 * number,
            )
        )
    return rows


def _models(workspace: Workspace, *, kind: str, name: str, pseudo: list[str]) -> None:
    catalog, store = workspace.catalog, workspace.store
    snapshot = catalog.pin_snapshot(labelled=["rooms"], pseudo=pseudo)
    run = catalog.begin_run(
        kind, name=name, config={"encoder": "scratch:tiny", "preset": "v1", "store": "x"},
        code_version="1", snapshot_id=snapshot.snapshot_id,
    )  # fmt: skip
    lines = [
        {"step": step, "loss": 1 / (1 + step / 50), "labelled": 0.6 / (1 + step / 40),
         "pseudo": 0.4 / (1 + step / 80), "feature": 0.1, "total": 9.0}
        for step in range(400)
    ]  # fmt: skip
    for part in (lines[:250], lines[250:]):
        RunFiles(store, run).write_metrics(part)
    catalog.finish_run(run, state="done", metrics={"steps": 400})
    backbone = {"model_type": "dinov2", "num_hidden_layers": 2, "hidden_size": 64}
    config = {"model_type": "depth_anything", "backbone_config": backbone}
    store.put(f"models/{name}/config.json", json.dumps(config).encode())
    store.put(f"models/{name}/model.safetensors", _safetensors({"a": [3, 4], "b": [5]}))
    letter = {"teacher": "a", "student": "d"}[kind]
    catalog.register_model(
        name, sha256=letter * 64, family="depth_anything", geometry="disparity_affine_invariant",
        kind=kind, key=f"models/{name}", run_id=run, licence="Apache-2.0",
    )  # fmt: skip
    for source in ("rooms",):
        catalog.record_evaluation(
            model=name, model_sha256=letter * 64, protocol="relative", version=1, source=source,
            source_digest="e", images=3, valid_pixels=1234, config={}, code_version="1",
            metrics={"abs_rel": 0.1234, "delta1": 0.91, "silog": None},
        )  # fmt: skip


def _safetensors(shapes: dict[str, list[int]]) -> bytes:
    header = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        for name, shape in shapes.items()
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    return len(text).to_bytes(8, "little") + text

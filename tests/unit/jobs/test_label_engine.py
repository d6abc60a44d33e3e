"""The label engine inline: what it writes is what the teacher says of each image, in order."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.label_engine import LabelEngine, LabelJob, LabelTask
from jobs.label_recipe import LabelRecipe
from jobs.models import ModelLocation
from model.bucket_sizes import BUCKET_RATIO
from model.depth_model import load_depth_model
from model.errors import CheckpointError
from model.preprocessing import Preprocessing
from pipeline.depth_codec import decode_disparity, error_bound, quantise
from pipeline.errors import ShardCorruptError
from pipeline.images import ImageDecodeError, decode_rgb
from pipeline.labels import label_footer, read_label_rows
from pipeline.records import ShardRef
from pipeline.shards import read_image_rows
from pipeline.storage import Store
from tests.factories import image_shard, label_shard, png, referenced_shard, tiny_teacher

SIZES = ((64, 48), (48, 64), (50, 50), (90, 45))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_teacher(tmp_path_factory.mktemp("models") / "teacher")


@pytest.fixture(scope="module")
def shard(store: Store) -> ShardRef:
    """41 images of four sizes; two cannot be decoded."""
    data = {
        index: png(index, width=SIZES[index % 4][0], height=SIZES[index % 4][1])
        for index in range(41)
    }
    data[3], data[30] = b"no image", data[30][: len(data[30]) // 2]
    return image_shard(store, range(41), replace=data)


def recipe(teacher: Path, **changes: object) -> LabelRecipe:
    model = load_depth_model(str(teacher), device="cpu", precision="fp32")
    settings = {
        "teacher_sha256": model.sha256,
        "family": model.family,
        "geometry": "disparity_affine_invariant",
        "side": 42,
        "multiple": 14,
        "resize": "exact",
        "max_distortion": None,
        "precision": "fp32",
        "codec": "jxl-u16",
        "consistency": False,
        **changes,
    }
    return LabelRecipe(**settings)  # type: ignore[arg-type]


def engine(
    store: Store, teacher: Path, *, batch_size: int | None = 4, **changes: object
) -> LabelEngine:
    job = LabelJob(
        store=store,
        label_set="set",
        teacher="teacher",
        location=ModelLocation("plain", str(teacher)),
        recipe=recipe(teacher, **changes),
        code_version="test",
        batch_size=batch_size,
        threads=2,
    )
    return LabelEngine(job, device="cpu")


def test_each_label_is_the_teachers_map_of_its_own_image(
    store: Store, teacher: Path, shard: ShardRef
) -> None:
    manifest = engine(store, teacher).label(LabelTask(shard, "0001-a"))
    assert (manifest.rows, manifest.labelled) == (41, 39)
    assert sum(manifest.quarantined.values()) == 2
    model = load_depth_model(str(teacher), device="cpu", precision="fp32", side=42)
    images = list(read_image_rows(store, shard.key))
    labels = list(read_label_rows(store, manifest.key))
    assert [row.sample_id for row in labels] == [row.sample_id for row in images]
    assert [index for index, row in enumerate(labels) if row.status == "quarantined"] == [3, 30]
    for image, label in zip(images, labels, strict=True):
        if label.status == "quarantined":
            assert label.reason
            continue
        assert image.data is not None
        alone = model.disparity(model.prepare(decode_rgb(image.data))[None])[0].numpy()
        assert label.minimum is not None
        assert label.maximum is not None
        # A batch of one and a batch of four may differ in the last bits of a float.
        bound = error_bound(label.minimum, label.maximum) + 1e-4 * abs(label.maximum)
        assert np.abs(decode_disparity(label) - alone).max() <= bound


def test_the_same_shard_gives_the_same_bytes(store: Store, teacher: Path, shard: ShardRef) -> None:
    first, second = (
        engine(store, teacher).label(LabelTask(shard, attempt)) for attempt in ("0002-a", "0002-b")
    )
    assert first.sha256 == second.sha256


def test_the_footer_says_how_the_labels_were_made(
    store: Store, teacher: Path, shard: ShardRef
) -> None:
    manifest = engine(store, teacher).label(LabelTask(shard, "0003-a"))
    footer = label_footer(store, manifest.key)
    assert footer["recipe_hash"] == recipe(teacher).digest()
    assert footer["image_shard_sha256"] == shard.sha256
    assert recipe(teacher).digest() != recipe(teacher, codec="jxl-u12").digest()


def test_twelve_bits_are_smaller(store: Store, teacher: Path, shard: ShardRef) -> None:
    sixteen = engine(store, teacher).label(LabelTask(shard, "0004-a"))
    twelve = engine(store, teacher, codec="jxl-u12").label(LabelTask(shard, "0004-b"))
    assert twelve.bytes < sixteen.bytes


def test_other_weights_than_the_recipes_are_refused(store: Store, teacher: Path) -> None:
    with pytest.raises(CheckpointError, match="was opened with"):
        engine(store, teacher, teacher_sha256="f" * 64)


def test_a_teacher_that_says_nan_quarantines_its_images(
    store: Store, teacher: Path, shard: ShardRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = engine(store, teacher)
    monkeypatch.setattr(
        broken._model, "disparity", lambda images, **_: torch.full(images.shape[:3], torch.nan)
    )
    manifest = broken.label(LabelTask(shard, "0005-a"))
    assert manifest.labelled == 0
    assert manifest.quarantined["non_finite_output"] == 39


def test_images_that_are_only_referred_to_get_the_same_labels(
    store: Store, teacher: Path, tmp_path: Path
) -> None:
    copied, referred = image_shard(store, range(6)), referenced_shard(store, tmp_path, range(6))
    labeller = engine(store, teacher)
    keys = [
        labeller.label(LabelTask(shard, f"0006-{name}")).key
        for name, shard in (("copied", copied), ("referred", referred))
    ]
    labels = [[row.disparity for row in read_label_rows(store, key)] for key in keys]
    assert labels[0] == labels[1]
    assert all(labels[0])


def test_a_file_that_is_no_longer_the_one_ingested_is_never_labelled(
    store: Store, teacher: Path, tmp_path: Path
) -> None:
    shard = referenced_shard(store, tmp_path, range(20, 24))
    (tmp_path / "00022.png").write_bytes(png(99))
    with pytest.raises(ShardCorruptError, match=r"00022\.png"):
        engine(store, teacher).label(LabelTask(shard, "0007-a"))


# --- quality and stages ------------------------------------------------------------------------


def test_quality_signals_are_those_of_the_codes(
    store: Store, teacher: Path, shard: ShardRef
) -> None:
    manifest = engine(store, teacher).label(LabelTask(shard, "0008-a"))
    for row in read_label_rows(store, manifest.key):
        if row.status == "quarantined":
            assert (row.saturated, row.flat, row.flip_correlation) == (None, None, None)
            continue
        assert row.minimum is not None
        assert row.maximum is not None
        codes = quantise(decode_disparity(row)).codes_HW
        ends = (codes == codes.min()) | (codes == codes.max())
        assert row.saturated == pytest.approx(ends.mean(), abs=2 / codes.size)
        assert row.flat is not None
        assert 0 <= row.flat <= 1
        assert row.flip_correlation is None


def test_consistency_is_the_correlation_with_the_mirrored_image(
    store: Store, teacher: Path
) -> None:
    shard = image_shard(store, range(100, 105))
    manifest = engine(store, teacher, consistency=True).label(LabelTask(shard, "0009-a"))
    model = load_depth_model(str(teacher), device="cpu", precision="fp32", side=42)
    images = list(read_image_rows(store, shard.key))
    for image, row in zip(images, read_label_rows(store, manifest.key), strict=True):
        assert image.data is not None
        prepared = model.prepare(decode_rgb(image.data))
        pair = np.stack([prepared, prepared[:, ::-1]])
        straight, mirrored = model.disparity(pair).double().numpy()
        expected = np.corrcoef(straight.ravel(), mirrored[:, ::-1].ravel())[0, 1]
        assert row.flip_correlation == pytest.approx(expected, abs=1e-4)


def test_the_manifest_says_where_the_time_went(
    store: Store, teacher: Path, shard: ShardRef
) -> None:
    manifest = engine(store, teacher).label(LabelTask(shard, "0010-a"))
    assert list(manifest.stages) == ["read", "decode", "forward", "encode", "write"]
    assert all(seconds > 0 for seconds in manifest.stages.values())
    assert manifest.forward_s == manifest.stages["forward"] < manifest.wall_s
    assert manifest.batch_size == 4


def test_a_batch_size_that_nobody_gave_is_found(
    store: Store, teacher: Path, shard: ShardRef
) -> None:
    manifest = engine(store, teacher, batch_size=None).label(LabelTask(shard, "0011-a"))
    assert manifest.batch_size in (1, 2, 4, 8)


def test_buckets_have_fewer_sizes(store: Store, tmp_path: Path) -> None:
    teacher = tiny_teacher(tmp_path / "teacher", size=112)
    data = {k: png(k, width=128 + 4 * k, height=32) for k in range(12)}
    shard = image_shard(store, range(12), replace=data)
    sizes = {}
    for resize in ("exact", "buckets"):
        labeller = engine(store, teacher, resize=resize, side=112)
        key = labeller.label(LabelTask(shard, f"0019-{resize}")).key
        sizes[resize] = [(row.height, row.width) for row in read_label_rows(store, key)]
    buckets = Preprocessing(side=112, bucket_ratio=BUCKET_RATIO)
    assert sizes["exact"] == [(112, 14 * (32 + k)) for k in range(12)]
    assert sizes["buckets"] == [buckets.size_for(32, 128 + 4 * k) for k in range(12)]
    assert len(set(sizes["buckets"])) < len(set(sizes["exact"]))


def test_rows_wait_for_their_codes_without_pixels_and_without_the_file(
    store: Store, teacher: Path, shard: ShardRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    labeller, kept, real = engine(store, teacher), [], LabelEngine._encode

    def watched(self, clock, item, launched, index):  # type: ignore[no-untyped-def]
        kept.append((item.image_HWC, item.record.data))
        return real(self, clock, item, launched, index)

    monkeypatch.setattr(LabelEngine, "_encode", watched)
    labeller.label(LabelTask(shard, "0021-a"))
    assert kept == [(None, None)] * 39


# --- two at once -------------------------------------------------------------------------------


def test_two_shards_at_once_are_what_each_is_alone(store: Store, teacher: Path) -> None:
    shards = [
        image_shard(
            store,
            range(start, start + 30),
            replace={
                k: png(k, width=SIZES[k % 4][0], height=SIZES[k % 4][1])
                for k in range(start, start + 30)
            },
        )
        for start in (200, 300)
    ]
    alone = [
        engine(store, teacher).label(LabelTask(shard, "0012-alone")).sha256 for shard in shards
    ]
    labeller = engine(store, teacher)
    for attempt in range(3):
        tasks = [LabelTask(shard, f"0012-{attempt}") for shard in shards]
        with ThreadPoolExecutor(2) as threads:
            together = list(threads.map(labeller.label, tasks))
        assert [manifest.sha256 for manifest in together] == alone


def test_the_older_shard_goes_first(
    store: Store, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where both have batches waiting, those of the older one are forwarded."""
    labeller = engine(store, teacher, batch_size=2)
    shards = [
        image_shard(
            store,
            range(start, start + 12),
            replace={k: png(k, width=width, height=48) for k in range(start, start + 12)},
        )
        for start, width in ((400, 48), (420, 96))
    ]
    seen, real = [], labeller._model.disparity

    def watched(images: torch.Tensor, *, sizes: list[tuple[int, int]]) -> torch.Tensor:
        seen.append(images.shape[2])  # the width says which shard
        time.sleep(0.05)  # so that both have something waiting
        return real(images, sizes=sizes)

    monkeypatch.setattr(labeller._model, "disparity", watched)
    older = threading.Thread(target=labeller.label, args=[LabelTask(shards[0], "0013-a")])
    older.start()
    while not seen:
        time.sleep(0.001)
    labeller.label(LabelTask(shards[1], "0013-b"))
    older.join()
    assert len(seen) == 12
    last_of_older = max(index for index, width in enumerate(seen) if width == 42)
    assert last_of_older <= 7, seen  # six of its own, and what filled a gap


# --- errors ------------------------------------------------------------------------------------


def stray_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("stage", ["read", "decode", "forward", "encode", "write"])
def test_an_error_in_any_stage_surfaces_and_the_next_shard_is_labelled(
    store: Store, teacher: Path, shard: ShardRef, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    labeller = engine(store, teacher)
    expected = labeller.label(LabelTask(shard, f"0014-{stage}-before")).sha256

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError(stage)

    def broken_reading(*_: object, **__: object):
        yield from list(read_image_rows(store, shard.key))[:20]
        raise ZeroDivisionError(stage)

    with monkeypatch.context() as patched:
        if stage == "read":
            patched.setattr("jobs.label_rows.read_image_rows", broken_reading)
        elif stage == "decode":
            patched.setattr("jobs.label_batches.decode_rgb", broken)
        elif stage == "forward":
            patched.setattr(labeller._model, "disparity", broken)
        elif stage == "encode":
            patched.setattr("jobs.label_rows.encode", broken)
        else:
            patched.setattr("jobs.label_engine.write_label_shard", broken)
        with pytest.raises(ZeroDivisionError, match=stage):
            labeller.label(LabelTask(shard, f"0014-{stage}-broken"))
        assert stray_threads() == []
    again = labeller.label(LabelTask(shard, f"0014-{stage}-after"))
    assert again.sha256 == expected


def test_a_shard_that_failed_leaves_nothing_to_encode(
    store: Store, teacher: Path, shard: ShardRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    labeller = engine(store, teacher)
    begun, both, ended = Counter(), threading.Barrier(2), threading.Event()

    def first_fails(*_: object, **__: object) -> None:
        begun["encoded"] += 1
        if begun["encoded"] <= 2:  # both threads encode while the network goes on as far as it may
            both.wait(10)
            labeller._network._thread.submit(99, lambda: None).result(10)
            raise ZeroDivisionError
        assert ended.wait(10)

    monkeypatch.setattr("jobs.label_engine.row_of_codes", first_fails)
    with pytest.raises(ZeroDivisionError):
        labeller.label(LabelTask(shard, "0020-a"))
    labeller._network._thread.submit(99, lambda: None).result(10)
    ended.set()
    labeller._encoders.shutdown()
    assert begun["encoded"] <= 4  # two that failed, and two that were begun before anybody knew


def test_a_failing_shard_does_not_disturb_the_other(
    store: Store, teacher: Path, tmp_path: Path
) -> None:
    good = image_shard(store, range(500, 530))
    bad = referenced_shard(store, tmp_path, range(540, 570))
    (tmp_path / "00565.png").write_bytes(png(99))
    labeller = engine(store, teacher)
    expected = labeller.label(LabelTask(good, "0015-alone")).sha256
    with ThreadPoolExecutor(2) as threads:
        failing = threads.submit(labeller.label, LabelTask(bad, "0015-bad"))
        fine = threads.submit(labeller.label, LabelTask(good, "0015-good"))
        with pytest.raises(ShardCorruptError, match="00565"):
            failing.result(60)
        assert fine.result(60).sha256 == expected


# --- what was labelled before --------------------------------------------------------------------


def test_only_what_was_quarantined_is_made_again(
    store: Store, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = image_shard(store, range(600, 680))
    labeller = engine(store, teacher)
    whole = labeller.label(LabelTask(shard, "0016-whole"))
    calls, real, refused = Counter(), decode_rgb, {png(603), png(670)}

    def poor(data: bytes) -> np.ndarray:
        if data in refused:
            raise ImageDecodeError("too_tired", "of this one")
        return real(data)

    def counted(data: bytes) -> np.ndarray:
        calls["decoded"] += 1
        return real(data)

    monkeypatch.setattr("jobs.label_batches.decode_rgb", poor)
    first = labeller.label(LabelTask(shard, "0016-first"))
    assert first.quarantined == {"too_tired": 2}
    monkeypatch.setattr("jobs.label_batches.decode_rgb", counted)
    second = labeller.label(LabelTask(shard, "0016-second", previous=first.key))
    assert calls["decoded"] == 2
    assert (second.rows, second.labelled, second.quarantined) == (80, 80, {})
    assert second.key != first.key
    rows, expected = (list(read_label_rows(store, made.key)) for made in (second, whole))
    before = list(read_label_rows(store, first.key))
    assert [row.sample_id for row in rows] == [row.sample_id for row in expected]
    for place, row in enumerate(rows):
        if place not in (3, 70):
            assert row == before[place]
        assert row.status == "labelled"
        assert np.abs(decode_disparity(row) - decode_disparity(expected[place])).max() < 1e-3


def test_row_groups_that_are_all_labelled_are_not_read(
    store: Store, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = image_shard(store, range(800, 930))
    previous = label_shard(store, shard, label_set="other", quarantined=lambda place: place == 70)
    read: list[object] = []

    def watched(*arguments: object, **options: object):
        read.append(options["row_groups"])
        return read_image_rows(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("jobs.label_rows.read_image_rows", watched)
    made = engine(store, teacher).label(LabelTask(shard, "0017-a", previous=previous))
    assert read == [[1]]
    assert (made.rows, made.labelled) == (130, 130)


def test_labels_of_other_images_are_never_kept(store: Store, teacher: Path) -> None:
    shard, other = image_shard(store, range(960, 964)), image_shard(store, range(970, 974))
    shorter = image_shard(store, range(960, 963))
    labeller = engine(store, teacher)
    for name, wrong, message in (("other", other, "row 0 is of"), ("short", shorter, "3 rows")):
        previous = label_shard(store, wrong, label_set=name)
        with pytest.raises(ShardCorruptError, match=message):
            labeller.label(LabelTask(shard, f"0018-{name}", previous=previous))

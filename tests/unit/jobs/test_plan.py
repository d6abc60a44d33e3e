"""A forecast of a small store, against what labelling it then takes; no Ray."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.cli import as_json
from jobs.config import LabelConfig
from jobs.console import LineReporter
from jobs.errors import ConfigError, JobError
from jobs.label_ahead import find_aim
from jobs.label_engine import LabelEngine, LabelJob, LabelTask
from jobs.label_probe import Reads, sample_rows, spread
from jobs.plan import plan
from jobs.plan_config import PlanConfig
from jobs.ray_runtime import Node, Resources
from jobs.workspace import Workspace, open_workspace
from model.errors import CheckpointError
from pipeline.errors import CatalogMissingError
from pipeline.records import ShardRef
from pipeline.storage import Store
from tests.factories import image_shard, png, tiny_teacher
from tests.plan_factories import MEASURED, PROBE

SIZES = ((64, 48), (48, 64), (90, 45))
ROWS = (70, 40, 5)
CPU = Resources((Node(2),))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A source of 115 images in three shards, of which seven cannot be decoded, and a teacher."""
    folder = tmp_path_factory.mktemp("plan")
    store = str(folder / "store")
    with open_workspace(LabelConfig(sources=(), teacher="", store=store)) as workspace:
        _ingest(workspace, "pictures", broken=lambda index: index % 16 == 5)
        _ingest(workspace, "broken", broken=lambda index: True)
        workspace.catalog.register_source("empty", role="unlabelled", uri="/x", layout="images")
    return {"store": store, "teacher": str(tiny_teacher(folder / "teacher"))}


def _ingest(workspace: Workspace, source: str, *, broken: Any) -> None:
    catalog = workspace.catalog
    catalog.register_source(source, role="unlabelled", uri="/x", layout="images")
    lease = catalog.begin_ingest(source, owner="o", ttl_s=60, uri="/x", config={}, code_version="1")
    start = 0
    for rows in ROWS:
        indices = range(start, start + rows)
        pictures = {i: _picture(i, broken=broken(i)) for i in indices}
        shard = image_shard(workspace.store, indices, source=source, replace=pictures)
        catalog.commit_image_shard(lease, shard, dropped={})
        start += rows
    catalog.finish_ingest(lease, {})


def _picture(index: int, *, broken: bool) -> bytes:
    width, height = SIZES[index % len(SIZES)]
    return b"no image" if broken else png(index, width=width, height=height)


@pytest.fixture(scope="module")
def labelled_bytes(where: dict[str, Any]) -> int:
    """What a label run writes, by the engine itself, into a store of its own."""
    config = LabelConfig(sources=("pictures",), label_set="real", **where)
    with open_workspace(config) as workspace:
        aim = find_aim(config, workspace, CPU)
        job = LabelJob(
            store=workspace.store,
            label_set="real",
            teacher=aim.teacher.name,
            location=aim.location,
            recipe=aim.recipe,
            code_version="test",
            batch_size=4,
            threads=2,
        )
        engine = LabelEngine(job, device="cpu")
        shards = workspace.catalog.image_shards("pictures")
        return sum(engine.label(LabelTask(shard, "0001-a")).bytes for shard in shards)


def test_the_forecast_is_what_labelling_then_takes(
    where: dict[str, Any], labelled_bytes: int
) -> None:
    found = plan(PlanConfig(sources=("pictures",), batches=12, batch_size=4, **where))
    assert (found["images"], found["shards"]) == (sum(ROWS), len(ROWS))
    assert 40 <= found["measured_images"] <= 48
    assert found["measured_sizes"] == 3
    assert 1 <= found["refused_images"] <= 6
    # random maps of three sizes: 48 of 115 images weigh what all do, to some per cent
    assert found["bytes"] == pytest.approx(labelled_bytes, rel=0.1)


def test_the_whole_source_measured_is_the_whole_source_weighed(
    where: dict[str, Any], labelled_bytes: int
) -> None:
    found = plan(PlanConfig(sources=("pictures",), batches=40, batch_size=4, **where))
    assert (found["measured_images"], found["refused_images"]) == (115, 7)
    assert found["bytes"] == pytest.approx(labelled_bytes, rel=0.03)


def test_its_numbers_add_up(where: dict[str, Any]) -> None:
    found = plan(
        PlanConfig(
            sources=("pictures",),
            batches=2,
            batch_size=4,
            gpus=(1, 2, 3),
            cost_per_gpu_hour=(2.0, 3.0),
            cost_per_gb_month=0.5,
            **where,
        )
    )
    about = {"rel": 2e-3}  # four digits each
    hours = found["device_hours"]
    assert hours == pytest.approx(115 / found["images_per_s"] / 3600, **about)
    assert found["cost_per_month"] == pytest.approx(0.5 * found["bytes"] / 1e9, **about)
    assert [row["devices"] for row in found["on_devices"]] == [1, 2, 3]
    for row in found["on_devices"]:
        # shards of 70, 40 and 5 are taken for three of 38: two rounds on two devices
        rounds = -(-3 // row["devices"])
        wanted_s = rounds * 3600 * hours / 3  # of a start of 15.22 s the next digit is not there
        worked_s = row["hours"] * 3600 - found["start_s"]
        assert worked_s == pytest.approx(wanted_s, rel=0.02, abs=0.01)
        assert row["hours_low"] <= row["hours"] <= row["hours_high"]
        assert row["gpu_hours"] == pytest.approx(row["devices"] * row["hours"], **about)
        assert row["cost_low"] == pytest.approx(2 * row["devices"] * row["hours_low"], **about)
        assert row["cost_high"] == pytest.approx(3 * row["devices"] * row["hours_high"], **about)
    assert found["images_per_s_low"] <= found["images_per_s"] <= found["images_per_s_high"]


def test_nothing_is_written(where: dict[str, Any]) -> None:
    def state() -> list[tuple[str, int]]:
        files = (file for file in Path(where["store"]).rglob("*") if file.is_file())
        return sorted(
            (str(file), file.stat().st_size) for file in files if "sqlite" not in file.name
        )

    config = PlanConfig(sources=("pictures",), batches=1, batch_size=4, **where)
    before = state()
    plan(config)
    assert state() == before
    with open_workspace(config) as workspace:
        assert workspace.catalog.label_sets() == []
        assert workspace.catalog.models() == []


def test_what_is_done_is_not_forecast_again(where: dict[str, Any]) -> None:
    config = PlanConfig(sources=("broken",), label_set="half", batches=1, batch_size=4, **where)
    source = {"sources": ("pictures",)}
    label = LabelConfig(label_set="half", **source, **where)
    with open_workspace(label) as workspace:
        catalog, aim = workspace.catalog, find_aim(label, workspace, CPU)
        catalog.open_label_set(
            "half",
            teacher="t",
            teacher_sha256=aim.teacher.sha256,
            recipe=aim.recipe.as_dict(),
            recipe_hash=aim.recipe.digest(),
            code_version="1",
        )
        catalog.plan_work("half", ["pictures"])
        [first] = catalog.lease("half", owner="o", limit=1, ttl_s=60)
        catalog.charge(first, error="broke", max_attempts=1)
    left = plan(PlanConfig(**source, label_set="half", batches=1, batch_size=4, **where))
    everything = plan(
        PlanConfig(**source, label_set="half", batches=1, batch_size=4, all=True, **where)
    )
    assert (left["images"], left["shards"]) == (115 - first.shard.rows, 2)
    assert (everything["images"], everything["shards"]) == (115, 3)
    with pytest.raises(JobError, match="none of the 4 images"):
        plan(config)


def test_that_nothing_is_left_is_said(where: dict[str, Any]) -> None:
    config = PlanConfig(sources=("pictures",), batches=1, batch_size=4, **where)
    set_up = {"teacher": "t", "recipe": {}, "code_version": "1"}
    with open_workspace(config) as workspace:
        aim = find_aim(LabelConfig(sources=config.sources, **where), workspace, CPU)
        catalog, recipe_hash = workspace.catalog, aim.recipe.digest()
        sha256 = aim.teacher.sha256
        catalog.open_label_set("d", teacher_sha256=sha256, recipe_hash=recipe_hash, **set_up)
        catalog.plan_work("d", ["pictures"])
        for lease in catalog.lease("d", owner="o", limit=9, ttl_s=60):
            catalog.charge(lease, error="broke", max_attempts=1)
    heard = io.StringIO()
    found = plan(replace(config, label_set="d"), reporter=LineReporter(heard))
    assert (found["images"], found["bytes"]) == (0, 0)
    assert "nothing is left to label here; --all forecasts" in heard.getvalue()
    plan(replace(config, label_set="d", all=True), reporter=LineReporter(heard))
    assert heard.getvalue().count("nothing is left") == 1


def test_wrong_use_is_refused_by_name(where: dict[str, Any]) -> None:
    good: dict[str, Any] = {"sources": ("pictures",), "batches": 1, **where}
    with pytest.raises(ConfigError) as refused:
        plan(
            PlanConfig(
                **good
                | {"teacher": "", "gpus": (0,), "bits": 9, "cost_per_gpu_hour": (1.0, -2.0, 3.0)}
            )
        )
    assert len(refused.value.problems) == 5
    assert "--cost-per-gpu-hour: must be at least 0, got -2.0" in refused.value.problems
    with pytest.raises(CatalogMissingError, match="picture"):
        plan(PlanConfig(**good | {"sources": ("picture",)}))
    with pytest.raises(ConfigError, match="has no images"):
        plan(PlanConfig(**good | {"sources": ("empty",)}))
    with pytest.raises(CheckpointError):
        plan(PlanConfig(**good | {"teacher": str(Path(where["store"]).parent)}))


def test_without_sources_every_unlabelled_one_is_planned(where: dict[str, Any]) -> None:
    found = plan(PlanConfig(batches=20, batch_size=4, cost_per_gb_month=1.0, **where))
    parts = {row["source"]: row for row in found["per_source"]}
    assert set(parts) == {"pictures", "broken"}, "the empty one has nothing"
    assert (found["images"], found["shards"]) == (230, 6)
    for name in ("images", "shards", "bytes", "device_hours", "bytes_to_read"):
        total = sum(row[name] for row in parts.values())
        assert total == pytest.approx(found[name], rel=1e-3)
    assert found["measured_images"] > found["refused_images"] > 30


@pytest.fixture(scope="module")
def measured(where: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `factory plan --json` writes, as a file."""
    file = tmp_path_factory.mktemp("measured") / "here.json"
    config = PlanConfig(sources=("pictures",), batches=2, batch_size=4, **where)
    file.write_text(as_json(plan(config)))
    return file


def test_a_forecast_from_a_file_is_the_one_it_was_made_with(
    where: dict[str, Any], measured: Path
) -> None:
    made = json.loads(measured.read_text())
    config = PlanConfig(sources=("pictures",), store=where["store"], measured=str(measured))
    assert json.loads(as_json(plan(config))) == made
    two = plan(replace(config, gpus=(2,), teacher="of no importance", batch_size=4))
    assert two["images_per_s"] == made["images_per_s"]
    assert two["on_devices"][0]["devices"] == 2


def test_a_file_and_a_number_of_images_need_no_store(tmp_path: Path, measured: Path) -> None:
    config = PlanConfig(
        store=str(tmp_path / "none"), measured=str(measured), images=62_300_000, gpus=(64,)
    )
    found = plan(config)
    assert (found["images"], found["shards"]) == (62_300_000, 62_300)
    assert found["bytes"] == pytest.approx(62_300_000 * found["bytes_per_label"], rel=1e-2)
    assert found["per_source"] == []
    assert not (tmp_path / "none").exists()


def test_what_was_measured_otherwise_is_refused(where: dict[str, Any], measured: Path) -> None:
    same = {"sources": ("pictures",), "store": where["store"], "measured": str(measured)}
    other = {"size": 56, "resize": "buckets", "precision": "bf16", "bits": 12, "batch_size": 8}
    with pytest.raises(ConfigError) as refused:
        plan(PlanConfig(**same | other))
    assert len(refused.value.problems) == len(other)
    assert "--size 56" in str(refused.value)
    assert "measured with 42" in str(refused.value)


def test_a_gpu_s_network_follows_from_its_operations_where_a_cpu_was_measured(
    where: dict[str, Any], measured: Path
) -> None:
    config = PlanConfig(
        sources=("pictures",),
        store=where["store"],
        measured=str(measured),
        gpu="l4",
        cpus_per_gpu=8,
    )
    found = plan(config)
    flops = found["measurement"]["probe"]["flops"]
    rates = {row["stage"]: row["images_per_s"] for row in found["stage_rates"]}
    middle = (0.20 * 0.45) ** 0.5
    assert rates["network"] == pytest.approx(middle * 121e12 / flops, rel=2e-3)
    assert found["threads"] == 8
    assert found["limited_by"] != "network", "a tiny network on an L4 waits for its images"
    assert "assumed 20% to 45% of its datasheet's 121 TFLOP/s" in found["basis"]


def test_another_gpu_is_scaled_from_a_measured_one(tmp_path: Path) -> None:
    file = tmp_path / "l4.json"
    quick = replace(PROBE, read_s=1e-5, write_s=1e-5)
    file.write_text(json.dumps(replace(MEASURED, probe=quick).as_dict()))
    found = plan(PlanConfig(measured=str(file), images=1000, gpu="h100", cpus_per_gpu=999))
    fastest, slowest = found["images_per_s_high"], found["images_per_s_low"]
    assert fastest == pytest.approx(1 / PROBE.network_s.low * 3350 / 300, rel=0.01)
    assert slowest == pytest.approx(1 / PROBE.network_s.high * 989 / 121, rel=0.01)
    assert "scaled to h100 by datasheets" in found["basis"]
    same = plan(PlanConfig(measured=str(file), images=1000, gpu="l4"))
    assert same["basis"] == "measured on NVIDIA L4"


@pytest.mark.parametrize("most", [1, 8, 20, 64, 115, 500])
def test_a_sample_is_spread_over_the_shards_and_has_nothing_twice(
    where: dict[str, Any], most: int
) -> None:
    with open_workspace(PlanConfig(sources=(), **where)) as workspace:
        shards: list[ShardRef] = workspace.catalog.image_shards("pictures")
        ids = [record.sample_id for record in sample_rows(workspace.store, shards, most)]
        assert len(ids) == len(set(ids))
        assert min(most, 115) * 0.7 <= len(ids) <= most
        if most >= 20:
            firsts = {record.sample_id for record in sample_rows(workspace.store, shards[:1], 500)}
            assert 0 < len(firsts.intersection(ids)) < len(ids)


def test_reading_is_measured_by_whole_row_groups(tmp_path: Path) -> None:
    """A row group of 64 is read for 8 of its rows: what one image takes is a 64th of that."""
    store = Store(str(tmp_path))
    shard = image_shard(store, range(130))
    some, every = Reads(), Reads()
    assert len([*sample_rows(store, [shard], 16, reads=some)]) == 16
    assert some.images in (64 + 64, 64 + 2)
    assert len([*sample_rows(store, [shard], 500, reads=every)]) == every.images == 130
    assert every.each_s() == pytest.approx(every.seconds / 130)
    assert every.seconds > 0


def test_shards_smaller_than_what_is_read_at_a_place_give_as_many_images(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    shards = [image_shard(store, range(start, start + 2)) for start in range(0, 40, 2)]
    ids = {record.sample_id for record in sample_rows(store, shards, 16)}
    assert len(ids) == 16


@pytest.mark.parametrize(
    ("batches", "looked_at", "expected"),
    [
        ([(1.0, 8)] * 5, 40, (0.95, 1.0, 1.05)),
        ([(1.0, 8), (3.0, 8), (1.0, 8), (3.0, 8), (2.0, 8)], 40, (1.1056, 2.0, 2.8944)),
        ([(1.0, 19), (181.0, 1)], 20, (1.0, 10.0, 19.0)),
        ([(1.0, 10)], 40, (0.2, 0.25, 0.3)),
    ],
    ids=["all alike", "two standard errors", "one panorama", "one batch, and most refused"],
)
def test_the_mean_is_known_as_well_as_batches_agree(
    batches: list[tuple[float, int]], looked_at: int, expected: tuple[float, float, float]
) -> None:
    found = spread(batches, looked_at=looked_at)
    assert (found.low, found.middle, found.high) == pytest.approx(expected, rel=1e-3)

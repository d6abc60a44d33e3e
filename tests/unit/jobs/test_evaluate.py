"""`factory evaluate` in this process: what is refused, what goes on, what is written down."""

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import jobs.evaluate
from jobs.console import SilentReporter
from jobs.errors import ConfigError, Interrupted, JobError
from jobs.evaluate import evaluate
from jobs.evaluate_config import EvaluateConfig
from jobs.evaluate_engine import EvaluationEngine, EvaluationTask, PartDone
from jobs.evaluation_result import Leaks
from jobs.workspace import Workspace, open_workspace
from model.depth_model import load_depth_model
from pipeline.errors import CatalogMissingError, ShardCorruptError, StoreFullError
from pipeline.identity import sha256_hex
from pipeline.records import ImageRecord, PointPair, ShardRef
from pipeline.shards import write_image_shard
from tests.catalog_factories import begin_ingest, register_model
from tests.factories import image_record, tiny_teacher

SHARDS = 3
IMAGES = 4  # of each shard
KINDS = ("indoors", "outdoor")


@dataclass
class Hearing(SilentReporter):
    """Remembers what it was warned of."""

    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@dataclass(frozen=True)
class World:
    """A store with two models and a benchmark of three shards."""

    folder: Path
    workspace: Workspace
    shards: list[ShardRef]

    def run(self, *models: str, reporter: Hearing | None = None, **changes: Any) -> dict[str, Any]:
        options = {"benchmark": ("relative@1=bench",), "batch_size": 4} | changes
        config = EvaluateConfig(
            models=tuple(str(self.folder / name) for name in models or ("first",)),
            store=self.workspace.store.uri,
            **options,
        )
        return evaluate(config, reporter=reporter)

    def scores(self) -> dict[str, bytes]:
        store = self.workspace.store
        return {key: store.get(key) for key in store.list("evaluations/scores")}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_teacher(folder / "first")
    tiny_teacher(folder / "second", seed=5)
    shutil.copytree(folder / "first", folder / "twin")
    return folder


@pytest.fixture
def world(tmp_path, models, monkeypatch, one_thread):
    monkeypatch.setattr(jobs.evaluate, "code_version", lambda: "1.0+gabc")
    with open_workspace(EvaluateConfig(models=(), benchmark=(), store=str(tmp_path))) as workspace:
        rows = [
            [image_record(IMAGES * shard + index, source="bench", truth=True) for index in range(4)]
            for shard in range(SHARDS)
        ]
        shards = [put(workspace, "bench", some) for some in rows]
        yield World(models, workspace, shards)


def put(
    workspace: Workspace, source: str, records: list[ImageRecord], *, role: str = "benchmark"
) -> ShardRef:
    """Commit a shard to a source."""
    if source not in [row.name for row in workspace.catalog.sources()]:
        workspace.catalog.register_source(source, role=role, uri=f"/{source}", layout="images")
    shard = write_image_shard(workspace.store, records, source=source, code_version="test")
    lease = begin_ingest(workspace.catalog, source)
    workspace.catalog.commit_image_shard(lease, shard, dropped={})
    workspace.catalog.finish_ingest(lease, {})
    return shard


class Dying(EvaluationEngine):
    """Is interrupted when it comes to a shard, or finds it damaged."""

    shard_id = ""
    error: BaseException = KeyboardInterrupt()

    def score(self, task: EvaluationTask, **options: Any) -> PartDone:
        if task.shard.shard_id == self.shard_id:
            raise self.error
        return super().score(task, **options)


def let_die(monkeypatch: pytest.MonkeyPatch, shard: ShardRef, error: BaseException) -> None:
    dying = type("DyingHere", (Dying,), {"shard_id": shard.shard_id, "error": error})
    monkeypatch.setattr("jobs.evaluate_workers.EvaluationEngine", dying)


def facts(result: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on when, and in how many runs, something was scored."""
    return {key: result[key] for key in ("metrics", "intervals", "images", "skipped", "flipped")}


def test_the_second_run_scores_nothing_and_says_the_same(world, monkeypatch):
    first = world.run("first", "second")
    before = world.scores()
    assert len(before) == 2 * SHARDS
    monkeypatch.setattr(EvaluationEngine, "score", lambda *_, **__: pytest.fail("scored again"))
    again = world.run("first", "second")
    assert list(map(facts, again["results"])) == list(map(facts, first["results"]))
    assert again["comparisons"] == first["comparisons"]
    assert [row["forward_images_per_s"] for row in again["results"]] == [None, None]
    assert world.scores() == before


def test_an_interrupted_run_goes_on_and_ends_as_if_nothing_had_happened(world, monkeypatch):
    undisturbed = world.run(fresh=True)
    for key in world.scores():
        world.workspace.store.delete(key)
    with monkeypatch.context() as patched:
        let_die(patched, world.shards[2], KeyboardInterrupt())
        with pytest.raises(Interrupted, match="the same command goes on") as stopped:
            world.run()
    assert stopped.value.facts["images"] == SHARDS * IMAGES
    kept = world.scores()
    assert 0 < len(kept) < SHARDS
    assert facts(world.run()["results"][0]) == facts(undisturbed["results"][0])
    assert kept.items() <= world.scores().items()


def test_a_damaged_score_object_is_made_again(world):
    first = world.run()
    key, data = next(iter(world.scores().items()))
    world.workspace.store.put(key, data[:-20])
    hearing = Hearing()
    assert facts(world.run(reporter=hearing)["results"][0]) == facts(first["results"][0])
    assert any("scored again" in warning for warning in hearing.warnings)
    assert world.scores()[key] == data


def test_fresh_scores_again_and_other_settings_never_share(world, monkeypatch):
    world.run()
    asked = []
    score = EvaluationEngine.score
    monkeypatch.setattr(
        EvaluationEngine,
        "score",
        lambda *given, **more: asked.append(given) or score(*given, **more),
    )
    world.run(fresh=True)
    assert len(asked) == SHARDS and len(world.scores()) == SHARDS
    for number, change in enumerate(({"upsampling": "bicubic"}, {"size": 56}), start=2):
        world.run(**change)
        assert len(world.scores()) == number * SHARDS
    monkeypatch.setattr(jobs.evaluate, "code_version", lambda: "1.1+gdef")
    world.run()
    assert len(world.scores()) == 4 * SHARDS


def test_nothing_is_kept_of_code_that_no_commit_has(world, monkeypatch):
    monkeypatch.setattr(jobs.evaluate, "code_version", lambda: "1.0+gabc.dirty")
    result = world.run()["results"][0]
    assert world.scores() == {} and result["images"] == SHARDS * IMAGES


@pytest.mark.parametrize("kind", [ShardCorruptError, ValueError])
def test_a_spoilt_shard_is_given_up_by_name_and_its_benchmark_with_it(world, monkeypatch, kind):
    put(world.workspace, "other", [image_record(90, source="other", truth=True)])
    spoilt = world.shards[1]
    let_die(monkeypatch, spoilt, kind("it has other bytes"))
    hearing = Hearing()
    summary = world.run(reporter=hearing, benchmark=("relative@1=bench", "relative@1=other"))
    assert summary["shards_failed"] == 1
    (failed,) = summary["failed"]
    assert (failed["shard"], failed["source"]) == (spoilt.shard_id, "bench")
    assert "it has other bytes" in failed["error"]
    assert [row["source"] for row in summary["results"]] == ["other"]
    assert [row.source for row in world.workspace.catalog.evaluations()] == ["other"]
    assert any(spoilt.shard_id in warning for warning in hearing.warnings)


def test_a_page_says_what_it_does_not_have_and_none_takes_the_place_of_an_earlier_one(
    world, tmp_path
):
    put(world.workspace, "other", [image_record(90, source="other", truth=True)])
    world.workspace.store.delete(world.shards[1].key)
    out = tmp_path / "out"
    both = ("relative@1=bench", "relative@1=other")
    summary = world.run(out=str(out), pictures=0, benchmark=both)
    document = json.loads((out / "evaluation.json").read_text())
    gone = {"model": summary["model"], "protocol": "relative", "version": 1, "source": "bench"}
    assert document["not_scored"] == [gone]
    assert document["failed"] == summary["failed"] and document["shards_failed"] == 1
    for name in ("evaluation.md", "evaluation.html"):
        text = (out / name).read_text()
        assert "Not scored, and so not here: " in text and "first on relative@1=bench" in text
    before = {file: file.read_bytes() for file in out.iterdir()}
    assert "written" not in world.run(out=str(out))
    assert {file: file.read_bytes() for file in out.iterdir()} == before


@pytest.mark.parametrize("out", ["file", "file/out", ""])
def test_a_folder_that_cannot_be_written_is_found_before_anything_is_scored(world, tmp_path, out):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--out"):
        world.run(out=out and str(tmp_path / out))
    assert world.scores() == {}


def test_an_object_that_is_gone_is_given_up_by_name(world):
    world.workspace.store.delete(world.shards[0].key)
    summary = world.run()
    assert [each["shard"] for each in summary["failed"]] == [world.shards[0].shard_id]
    assert summary["results"] == []


def test_the_catalog_has_what_decided_the_numbers(world):
    result = world.run(size=56, upsampling="bicubic")["results"][0]
    (row,) = world.workspace.catalog.evaluations()
    assert (row.images, row.source_digest) == (
        SHARDS * IMAGES,
        world.workspace.catalog.source_digest("bench"),
    )
    assert row.metrics["depth/abs_rel"] == result["metrics"]["depth"]["abs_rel"]
    config = row.config
    assert (config["size"], config["upsampling"], config["precision"]) == (56, "bicubic", "fp32")
    assert config["protocol"]["name"] == "relative" and config["parameters"] > 1e6
    assert config["images_per_s"] > 0 and config["device"].startswith("cpu")
    assert config["intervals"] == result["intervals"]
    assert (config["skipped"], config["left_out"]) == ({}, 0)
    assert config["leaks"]["checked"] == "none"


def test_out_has_the_same_numbers_for_programs_and_people(world, tmp_path):
    summary = world.run("first", "second", out=str(tmp_path / "out"), pictures=1)
    assert {Path(path).suffix for path in summary["written"]} >= {".json", ".md"}
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [row["metrics"] for row in document["results"]] == [
        row["metrics"] for row in summary["results"]
    ]
    assert len(document["results"][0]["per_image"]) == SHARDS * IMAGES
    assert document["not_scored"] == [] and "failed" not in document


def test_an_incomplete_split_is_said(world):
    hearing = Hearing()
    summary = world.run(reporter=hearing, benchmark=("eth3d@1=bench",))
    assert any("12 images, and the split has 454" in warning for warning in hearing.warnings)
    assert summary["results"][0]["expected_images"] == 454


def test_where_nothing_can_be_scored_the_reasons_are_said(world):
    record = image_record(1, source="broken", truth=True)
    broken = replace(record, data=b"none", sha256=sha256_hex(b"none"))
    put(world.workspace, "broken", [broken])
    with pytest.raises(JobError, match=r"not one of 1 images .*: 1 not_an_image$"):
        world.run(benchmark=("relative@1=broken", "relative@1=bench"))
    assert [row.source for row in world.workspace.catalog.evaluations()] == ["bench"]


@pytest.mark.parametrize(
    ("names", "changes", "says"),
    [
        (["first"], {"benchmark": ("relative@1",)}, "expected PROTOCOL=SOURCE"),
        (["first"], {"benchmark": ("nothing@1=bench",)}, "unknown protocol"),
        (["first"], {"benchmark": ()}, "at least one --benchmark"),
        (["first"], {"benchmark": ("metric@1=bench",)}, "first predicts disparity_affine"),
        (["first"], {"benchmark": ("relative@1=photos",)}, "is unlabelled"),
        (["first"], {"benchmark": ("relative@1=points",)}, "needs maps"),
        (["first"], {"benchmark": ("pairs@1=bench",)}, "needs pairs of points"),
        (["first", "twin"], {}, "are the same model"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(
    world, monkeypatch, names, changes, says
):
    put(world.workspace, "photos", [image_record(50, source="photos")], role="unlabelled")
    pair = PointPair(1, 1, 5, 5, closer=1)
    put(world.workspace, "points", [replace(image_record(60, source="points"), points=(pair,))])
    monkeypatch.setattr(EvaluationEngine, "__init__", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(ConfigError, match=says):
        world.run(*names, **changes)
    assert world.workspace.catalog.evaluations() == []


def test_pairs_are_scored_from_the_command_too(world):
    pairs = tuple(PointPair(row, 3, 40 - row, 60, closer=1) for row in range(8))
    put(world.workspace, "points", [replace(image_record(60, source="points"), points=pairs)])
    (row,) = world.run(benchmark=("pairs@1=points",))["results"]
    assert row["valid_pixels"] == 8 and 0 <= row["metrics"]["order"]["pair_accuracy"] <= 1


def test_an_unknown_source_is_named(world):
    with pytest.raises(CatalogMissingError, match="nowhere"):
        world.run(benchmark=("relative@1=nowhere",))


def test_a_model_that_was_trained_on_the_benchmark_is_named(world, monkeypatch):
    leaks = Leaks(
        checked="exact",
        trained_on=100,
        exact=(image_record(0, source="bench").sample_id,),
        examples=(("00000.png", "photos", "copy.png"),),
        validated=("its-teacher",),
    )
    asked: list[dict[str, Any]] = []

    class Found:
        def among(self, sample_ids: set[str]) -> Leaks:
            assert len(sample_ids) == SHARDS * IMAGES
            return leaks

    monkeypatch.setattr(
        jobs.evaluate, "find_leaks", lambda *_, **given: asked.append(given) or Found()
    )
    hearing = Hearing()
    both = ("relative@1=bench", "affine-depth@1=bench")
    with pytest.raises(ConfigError):  # this one aligns in depth, of which the model has none
        world.run(benchmark=both)
    result = world.run(reporter=hearing, leakage="exact")["results"][0]
    assert [(given["source"], given["check"]) for given in asked] == [("bench", "exact")]
    assert any("was trained on 1 of these images" in warning for warning in hearing.warnings)
    assert any("00000.png is copy.png of photos" in warning for warning in hearing.warnings)
    assert any("--validation" in each and "its-teacher" in each for each in hearing.warnings)
    assert (result["leaks"]["exact"], result["leaks"]["validated"]) == (1, ["its-teacher"])
    assert result["without_leaks"]["images"] == SHARDS * IMAGES - 1
    (row,) = world.workspace.catalog.evaluations()
    assert row.config["leaks"]["exact"] == 1


def test_a_search_for_leaks_that_fails_costs_no_results(world, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise StoreFullError("no room for hashes")

    monkeypatch.setattr(jobs.evaluate, "find_leaks", fail)
    hearing = Hearing()
    (result,) = world.run(reporter=hearing)["results"]
    assert result["images"] == SHARDS * IMAGES
    assert result["leaks"]["checked"] == "none"
    assert "StoreFullError: no room for hashes" in result["leaks"]["why"]
    assert any("no room for hashes" in warning for warning in hearing.warnings)


def test_nobody_asked(world, monkeypatch):
    monkeypatch.setattr(jobs.evaluate, "find_leaks", lambda *_, **__: pytest.fail("looked"))
    assert world.run(leakage="none")["results"][0]["leaks"]["why"] == "nobody asked"


def test_images_that_the_protocol_leaves_out_do_not_leak(world):
    """A source with two scenes, of which the protocol takes one and the model has seen both."""
    every = [image_record(index, source="rooms", truth=True) for index in (70, 71)]
    rows = [replace(each, path=f"{kind}/it.png") for each, kind in zip(every, KINDS, strict=True)]
    put(world.workspace, "rooms", rows)
    catalog = world.workspace.catalog
    snapshot = catalog.pin_snapshot(labelled=["rooms"], pseudo=[]).snapshot_id
    run = catalog.begin_run("teacher", name="t", config={}, snapshot_id=snapshot, code_version="1")
    catalog.finish_run(run, state="done", metrics={})
    sha256 = load_depth_model(str(world.folder / "first"), device="cpu").sha256
    register_model(catalog, "t", run_id=run, sha256=sha256)
    both = ("diode-indoor@1=rooms", "diode@1=rooms")
    indoor, whole = world.run(benchmark=both, leakage="exact")["results"]
    assert (indoor["images"], indoor["left_out"], indoor["leaks"]["exact"]) == (1, 1, 1)
    assert [each[0] for each in indoor["leaks"]["examples"]] == ["indoors/it.png"]
    assert (whole["images"], whole["leaks"]["exact"]) == (2, 2)

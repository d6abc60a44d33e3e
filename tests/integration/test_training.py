"""Training verbs on a real Ray Train: registration, resuming, several workers, wrong use."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import DepthAnythingForDepthEstimation

from jobs.config import LabelConfig
from jobs.errors import ConfigError
from jobs.label import label
from jobs.run_files import RunFiles
from jobs.train_student import train_student
from jobs.train_teacher import train_teacher
from jobs.training_config import TrainStudentConfig, TrainTeacherConfig
from jobs.training_examples import examples
from jobs.training_validation import predictor, score_all, summary
from jobs.workspace import Workspace, open_workspace
from model.errors import CheckpointError, NonFiniteLossError
from pipeline.errors import CatalogConflictError, CatalogMissingError
from pipeline.labels import read_label_rows
from pipeline.lineage import lineage, nodes
from pipeline.training_input import TrainingShard
from tests.factories import tiny_teacher
from tests.line import ingest_rendered

pytestmark = pytest.mark.integration

FACTORY = Path(sys.executable).parent / "factory"
SMALL: dict[str, Any] = {
    "encoder": "scratch:tiny",
    "size": 42,
    "batch_size": 6,
    "learning_rate": 1e-4,
}


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A store with a labelled source and two unlabelled shards."""
    where = {"store": str(tmp_path_factory.mktemp("training") / "store")}
    ingest_rendered("held", n=5, seed=2, role="benchmark", **where)
    ingest_rendered("rendered", n=70, seed=0, role="labelled", licence="CC0-1.0", **where)
    wild = {"licence": "CC-BY-4.0", "shard_images": 20, **where}
    ingest_rendered("wild", n=40, seed=1, role="unlabelled", **wild)
    return where


@pytest.mark.usefixtures("ray_session")
def test_two_rounds_of_self_training_and_everything_is_traced(where: dict[str, Any]) -> None:
    taught = train_teacher(
        TrainTeacherConfig(labelled=("rendered",), name="teacher", steps=4, **SMALL, **where)
    )
    assert (taught["model"], taught["steps"]) == ("teacher", 4)
    label(LabelConfig(sources=("wild",), teacher="teacher", label_set="labels", **where))
    studied = train_student(
        TrainStudentConfig(
            labelled=("rendered",),
            pseudo=("labels",),
            name="student",
            steps=4,
            workers=2,
            validation=("held",),
            validation_images=3,
            **SMALL,
            **where,
        )
    )
    assert studied["steps"] == 4
    assert studied["losses"]["pseudo"] > 0
    assert studied["losses"]["feature"] is None
    # the student is the teacher of the next round, by its name
    label(LabelConfig(sources=("wild",), teacher="student", label_set="labels-2", **where))
    train_student(
        TrainStudentConfig(pseudo=("labels-2",), name="student-2", steps=2, **SMALL, **where)
    )
    with open_workspace(TrainTeacherConfig(name="x", encoder="x", **where)) as workspace:
        assert studied["best"]["step"] == 4
        assert studied["best"]["score"] == pytest.approx(scored(workspace, "student"), rel=1e-4)
        assert workspace.catalog.model("student-2").kind == "student"
        met = list(nodes(lineage(workspace.catalog, "student-2")))
    chain = ["student-2", "labels-2", "student", "labels", "teacher"]
    named = [node["name"] for node in met if node["kind"] in ("model", "label-set")]
    assert [name for name in named if name in chain] == chain, "each from the one before"
    sources = {node["name"]: node["licence"] for node in met if node["kind"] == "source"}
    assert sources == {"rendered": "CC0-1.0", "wild": "CC-BY-4.0"}


def scored(workspace: Workspace, name: str) -> float:
    """What one process says of the model that two workers have scored together."""
    folder = workspace.store.local_path(f"models/{name}")
    network = DepthAnythingForDepthEstimation.from_pretrained(folder)
    shards = [TrainingShard(s.key, s.rows) for s in workspace.catalog.image_shards("held")]
    chosen = examples(workspace.store, shards, 3, size=42)
    assert len(chosen) == 3
    predict = predictor(network, device="cpu", precision="fp32")
    return summary(score_all(predict, chosen, minimum_valid=10))["validation/loss"]


@pytest.mark.usefixtures("ray_session")
def test_a_student_learns_from_the_labels_that_pass(where: dict[str, Any], tmp_path: Path) -> None:
    teacher = str(tiny_teacher(tmp_path / "tiny"))
    for name, consistency in (("plain", False), ("checked", True)):
        label(
            LabelConfig(
                sources=("wild",),
                teacher=teacher,
                label_set=name,
                consistency=consistency,
                **where,
            )
        )
    with open_workspace(TrainTeacherConfig(name="x", encoder="x", **where)) as workspace:
        found = sorted(
            row.flip_correlation
            for shard in workspace.catalog.label_shards("checked")
            for row in read_label_rows(workspace.store, shard.key, maps=False)
            if row.flip_correlation is not None
        )
        assert len(found) == 40
        runs_before = len(workspace.catalog.runs())
    good: dict[str, Any] = {"labelled": ("rendered",), "steps": 12, **SMALL, **where}
    median = found[20]
    studied = train_student(
        TrainStudentConfig(pseudo=("checked",), name="choosy", min_flip_correlation=median, **good)
    )
    # 12 steps take 48 pseudo-labelled images, so more than a sweep over the 20 that pass
    assert studied["skipped"]["inconsistent"] >= 20

    refused: list[tuple[str, dict[str, Any], str]] = [
        ("plain", {"min_flip_correlation": 0.5}, "'plain' was made without --consistency"),
        ("checked", {"min_flip_correlation": 1.0}, "none of 40 labels passes: inconsistent 40"),
        ("checked", {"max_flat": 50.0}, "--max-flat: must be at most 1"),
    ]
    for label_set, limits, why in refused:
        with pytest.raises(ConfigError, match=why):
            train_student(TrainStudentConfig(pseudo=(label_set,), name="never", **limits, **good))
    with open_workspace(TrainTeacherConfig(name="x", encoder="x", **where)) as workspace:
        assert len(workspace.catalog.runs()) == runs_before + 1
        run = workspace.catalog.newest_run("choosy")
        assert run is not None
        assert run.config["min_flip_correlation"] == median


@pytest.mark.usefixtures("ray_session")
def test_wrong_use_is_refused_before_training(where: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "labelled": ("rendered",),
        "name": "never",
        "steps": 1,
        **SMALL,
        **where,
    }
    with pytest.raises(ConfigError) as refused:
        train_teacher(TrainTeacherConfig(**good | {"labelled": (), "size": 43, "workers": 0}))
    assert len(refused.value.problems) == 3
    with pytest.raises(ConfigError, match="no ground truth"):
        train_teacher(TrainTeacherConfig(**good | {"labelled": ("wild",)}))
    with pytest.raises(ConfigError, match="this machine has 2 CPUs"):  # the session's Ray
        train_teacher(TrainTeacherConfig(**good | {"workers": 3}))
    with pytest.raises(CheckpointError):
        train_teacher(TrainTeacherConfig(**good | {"encoder": "scratch:huge"}))
    with pytest.raises(CatalogMissingError, match="nowhere"):
        train_student(TrainStudentConfig(pseudo=("nowhere",), **good))
    with pytest.raises(CatalogMissingError, match="to resume"):
        train_teacher(TrainTeacherConfig(resume=True, **good))


@pytest.mark.usefixtures("ray_session")
def test_a_run_that_diverges_is_failed_by_name(where: dict[str, Any]) -> None:
    config = TrainTeacherConfig(
        labelled=("rendered",),
        name="reckless",
        steps=5,
        **SMALL | {"learning_rate": 1e30},
        **where,
    )
    with pytest.raises(NonFiniteLossError, match="reckless"):
        train_teacher(config)
    with open_workspace(config) as workspace:
        run = workspace.catalog.newest_run("reckless")
        assert run is not None
        assert run.state == "failed"
        with pytest.raises(CatalogMissingError):
            workspace.catalog.model("reckless")


@pytest.mark.timeout(600)
def test_an_interrupted_run_is_stopped_and_says_how_to_go_on(where: dict[str, Any]) -> None:
    command = [
        str(FACTORY), "train-teacher", "--labelled", "rendered", "--name", "interrupted",
        "--encoder", "scratch:tiny", "--size", "42", "--batch-size", "6", "--steps", "100000",
        "--checkpoint-steps", "5", "--json", "--store", where["store"],
    ]  # fmt: skip
    with open_workspace(TrainTeacherConfig(name="x", encoder="x", **where)) as workspace:
        driver = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # where the tests run in a shell's background, it would inherit that this is ignored
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            wait_for_a_checkpoint(workspace, driver, "interrupted")
            driver.send_signal(signal.SIGINT)
            output, messages = driver.communicate(timeout=120)
        finally:
            driver.kill()
        assert driver.returncode == 130
        assert json.loads(output)["error"] == "interrupted"
        assert b"--resume" in messages
        run = workspace.catalog.newest_run("interrupted")
        assert run is not None
        assert run.state == "stopped"


def wait_for_a_checkpoint(
    workspace: Workspace, driver: subprocess.Popen[bytes], name: str
) -> RunFiles:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and driver.poll() is None:
        run = workspace.catalog.newest_run(name)
        if run is not None:
            files = RunFiles(workspace.store, run.run_id)
            if files.newest_step() > 0:
                return files
        time.sleep(0.1)
    raise AssertionError(f"no checkpoint appeared (exit status {driver.poll()})")


@pytest.mark.usefixtures("ray_session")
def test_a_taken_name_is_refused(where: dict[str, Any]) -> None:
    with open_workspace(TrainTeacherConfig(name="x", encoder="x", **where)) as workspace:
        workspace.catalog.register_model(
            "taken",
            uri="/somewhere",
            sha256="0" * 64,
            family="depth_anything",
            geometry="disparity_affine_invariant",
            kind="imported",
        )
    config = TrainTeacherConfig(labelled=("rendered",), name="taken", steps=1, **SMALL, **where)
    with pytest.raises(CatalogConflictError, match="choose another"):
        train_teacher(config)

"""What the same command answers once the run has made its model; parts of a summary."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import ConfigError
from jobs.training_config import TrainStudentConfig
from jobs.training_end import already_made, losses_of
from jobs.training_runs import TrainingRun, open_run
from jobs.workspace import Workspace, open_workspace
from pipeline.errors import CatalogConflictError
from tests.catalog_factories import fill_source, label_all, open_label_set, register_model

RESULT = {"step": 7, "loss": 0.5, "skipped": 0, "damaged": 0, "damaged_first": [], "best": None}


@pytest.fixture
def config(tmp_path: Path) -> TrainStudentConfig:
    return TrainStudentConfig(
        store=str(tmp_path / "store"),
        encoder="scratch:tiny",
        name="student",
        pseudo=("set",),
        resume_if_any=True,
    )


@pytest.fixture
def workspace(config: TrainStudentConfig) -> Iterator[Workspace]:
    with open_workspace(config) as workspace:
        fill_source(workspace.catalog, "photos", 2)
        open_label_set(workspace.catalog, "set")
        label_all(workspace.catalog, "set", ["photos"])
        yield workspace


@pytest.fixture
def run(config: TrainStudentConfig, workspace: Workspace) -> TrainingRun:
    return open_run(config, "student", config.pseudo, workspace)


def test_a_run_that_is_not_done_has_made_nothing(
    config: TrainStudentConfig, workspace: Workspace, run: TrainingRun
) -> None:
    run.files.write_json("result.json", RESULT)
    assert already_made(config, "student", workspace) is None
    assert already_made(replace(config, name="other"), "student", workspace) is None


def test_a_run_that_is_done_says_so_again(
    config: TrainStudentConfig, workspace: Workspace, run: TrainingRun
) -> None:
    run.files.write_json("result.json", RESULT)
    register_model(workspace.catalog, "student", kind="student", run_id=run.run_id)
    made = already_made(config, "student", workspace)
    assert made is not None
    assert (made["run"], made["steps"], made["final_loss"]) == (run.run_id, 7, 0.5)
    assert made["snapshot"] == run.snapshot.snapshot_id
    assert workspace.catalog.run(run.run_id).state == "done", "its driver had died just before"
    assert already_made(config, "student", workspace) == made
    with pytest.raises(ConfigError, match="--seed was 0, is 1"):
        already_made(replace(config, seed=1), "student", workspace)


def test_a_model_from_elsewhere_is_not_the_runs(
    config: TrainStudentConfig, workspace: Workspace, run: TrainingRun
) -> None:
    run.files.write_json("result.json", RESULT)
    register_model(workspace.catalog, "student", kind="student")
    assert already_made(config, "student", workspace) is None
    with pytest.raises(CatalogConflictError, match="a model 'student' already"):
        open_run(config, "student", config.pseudo, workspace)


def test_the_parts_of_a_loss_are_all_in_the_summary() -> None:
    plain = {"loss": 2.0, "labelled": 1.0, "pseudo": 3.0}
    assert losses_of(plain) == {"labelled": 1.0, "pseudo": 3.0, "feature": None}
    matched = plain | {"labelled_gradient": 4.0, "pseudo_gradient": 5.0}
    assert losses_of(matched) == losses_of(plain) | {
        "labelled_gradient": 4.0,
        "pseudo_gradient": 5.0,
    }

"""What a training run refuses before it begins, and whom it will not disturb."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs import training_owner
from jobs.errors import ConfigError
from jobs.owner import current_owner
from jobs.training_config import TrainStudentConfig
from jobs.training_owner import heartbeat
from jobs.training_runs import open_run, recorded
from jobs.workspace import Workspace, open_workspace
from pipeline.catalog import Catalog
from pipeline.errors import (
    CatalogConflictError,
    CatalogMissingError,
    LeaseLostError,
    StorageError,
)
from tests.catalog_factories import fill_source, label_all, open_label_set


@pytest.fixture
def config(tmp_path: Path) -> TrainStudentConfig:
    return TrainStudentConfig(
        store=str(tmp_path / "store"), encoder="scratch:tiny", name="student", pseudo=("set",)
    )


@pytest.fixture
def workspace(config: TrainStudentConfig) -> Iterator[Workspace]:
    with open_workspace(config) as workspace:
        fill_source(workspace.catalog, "photos", 2)
        open_label_set(workspace.catalog, "set")
        yield workspace


def test_a_set_of_quarantined_images_teaches_nothing(
    config: TrainStudentConfig, workspace: Workspace
) -> None:
    label_all(workspace.catalog, "set", ["photos"], decode_failed=10)
    with pytest.raises(ConfigError, match=r"decode_failed.*20"):
        open_run(config, "student", config.pseudo, workspace)
    assert workspace.catalog.runs() == []


def test_a_set_without_a_shard_is_refused(config: TrainStudentConfig, workspace: Workspace) -> None:
    with pytest.raises(CatalogMissingError, match="no committed shard"):
        open_run(config, "student", config.pseudo, workspace)
    assert workspace.catalog.runs() == []


def test_a_few_quarantined_images_are_no_reason(
    config: TrainStudentConfig, workspace: Workspace
) -> None:
    label_all(workspace.catalog, "set", ["photos"], decode_failed=9)
    run = open_run(config, "student", config.pseudo, workspace)
    assert workspace.catalog.run(run.run_id).snapshot_id == run.snapshot.snapshot_id


def test_more_workers_than_row_groups_are_refused(
    config: TrainStudentConfig, workspace: Workspace
) -> None:
    label_all(workspace.catalog, "set", ["photos"])
    with pytest.raises(ConfigError, match="fill only 2 row groups"):
        open_run(replace(config, workers=3), "student", config.pseudo, workspace)
    assert workspace.catalog.runs() == []


@pytest.fixture
def labelled(workspace: Workspace) -> Workspace:
    label_all(workspace.catalog, "set", ["photos"])
    return workspace


def test_a_benchmark_is_not_trained_on(config: TrainStudentConfig, labelled: Workspace) -> None:
    fill_source(labelled.catalog, "kitti", 1, role="benchmark")
    with pytest.raises(ConfigError, match="spoils every score"):
        open_run(replace(config, labelled=("kitti",)), "student", config.pseudo, labelled)


def test_nobody_else_trains_under_the_name_of_a_run_that_lives(
    config: TrainStudentConfig, labelled: Workspace
) -> None:
    run = open_run(config, "student", config.pseudo, labelled)
    with pytest.raises(CatalogConflictError, match=run.run_id):
        open_run(config, "student", config.pseudo, labelled)
    with pytest.raises(CatalogConflictError, match="still going on"):
        open_run(replace(config, resume=True), "student", config.pseudo, labelled)


def test_a_dead_drivers_run_is_in_nobodys_way(
    config: TrainStudentConfig, labelled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_run(config, "student", config.pseudo, labelled)
    host, namespace, pid, started, nonce = current_owner().rsplit(":", 4)
    dead = f"{host}:{namespace}:{pid}:{int(started) + 1}:{nonce}"
    first.files.write_json("owner.json", {"owner": dead})
    resumed = open_run(replace(config, resume=True), "student", config.pseudo, labelled)
    assert resumed.run_id == first.run_id
    assert resumed.snapshot == first.snapshot
    first.files.write_json("owner.json", {"owner": dead})
    assert open_run(config, "student", config.pseudo, labelled).run_id != first.run_id


def test_a_resumed_run_is_the_run_it_was(config: TrainStudentConfig, labelled: Workspace) -> None:
    run = open_run(config, "student", config.pseudo, labelled)
    with pytest.raises(KeyboardInterrupt), recorded(run, labelled):
        raise KeyboardInterrupt
    assert labelled.catalog.run(run.run_id).state == "stopped"
    other = replace(config, resume=True, encoder="scratch:s", steps=7, checkpoint_steps=9)
    with pytest.raises(ConfigError) as refused:
        open_run(other, "student", config.pseudo, labelled)
    assert len(refused.value.problems) == 2
    assert "--encoder was scratch:tiny, is scratch:s" in "".join(refused.value.problems)
    again = open_run(replace(config, resume=True), "student", config.pseudo, labelled)
    assert again.run_id == run.run_id


def test_why_a_run_failed_is_kept_without_passwords(
    config: TrainStudentConfig, labelled: Workspace
) -> None:
    run = open_run(config, "student", config.pseudo, labelled)
    with pytest.raises(ValueError, match="no answer"), recorded(run, labelled):
        raise ValueError("no answer from https://me:secret@there/x")
    (event,) = run.files.history()
    assert (event["what"], event["error"]) == ("failed", "ValueError")
    assert event["text"].startswith("no answer from https://")
    assert "secret" not in event["text"]


def test_why_a_run_failed_is_not_hidden_by_a_catalog_that_is_away(
    config: TrainStudentConfig, labelled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(config, "student", config.pseudo, labelled)

    def away(*_: Any, **__: Any) -> None:
        raise StorageError("the catalog did not answer")

    monkeypatch.setattr(Catalog, "finish_run", away)
    with pytest.raises(ValueError, match="why"), recorded(run, labelled):
        raise ValueError("why")
    assert [event["text"] for event in run.files.history()] == ["why"], "the store hears of it"


def test_what_only_concerns_watching_may_change(
    config: TrainStudentConfig, labelled: Workspace
) -> None:
    run = open_run(config, "student", config.pseudo, labelled)
    labelled.catalog.finish_run(run.run_id, state="failed", metrics={})
    changes: dict[str, Any] = {
        "checkpoint_steps": 9,
        "keep_checkpoints": 5,
        "max_damaged": 0.5,
        "preview_steps": 7,
        "wandb": "project",
    }
    again = open_run(
        replace(config, resume=True, mlflow="http://here", **changes),
        "student",
        config.pseudo,
        labelled,
    )
    assert again.run_id == run.run_id
    labelled.catalog.finish_run(run.run_id, state="failed", metrics={})
    for last_bits in ({"compile": "on"}, {"checkpoint_activations": True}, {"workers": 2}):
        with pytest.raises(ConfigError, match=f"--{next(iter(last_bits)).replace('_', '-')} was"):
            open_run(replace(config, resume=True, **last_bits), "student", config.pseudo, labelled)


def test_a_run_taken_by_another_driver_is_left_as_it_is(
    config: TrainStudentConfig, labelled: Workspace
) -> None:
    run = open_run(config, "student", config.pseudo, labelled)
    with pytest.raises(LeaseLostError), recorded(run, labelled):
        raise LeaseLostError("taken")
    assert labelled.catalog.run(run.run_id).state == "running"


def test_the_same_command_again_begins_or_goes_on(
    config: TrainStudentConfig, labelled: Workspace
) -> None:
    again = replace(config, resume_if_any=True)
    run = open_run(again, "student", config.pseudo, labelled)
    labelled.catalog.finish_run(run.run_id, state="failed", metrics={})
    assert open_run(again, "student", config.pseudo, labelled).run_id == run.run_id
    labelled.catalog.finish_run(run.run_id, state="stopped", metrics={})
    with pytest.raises(
        ConfigError, match=r"--resume-if-any goes on with run .* --seed was 0, is 1"
    ):
        open_run(replace(again, seed=1), "student", config.pseudo, labelled)
    elsewhere = replace(again, device="cpu", resume_if_any=False, resume=True)
    assert open_run(elsewhere, "student", config.pseudo, labelled).run_id == run.run_id


def test_who_starts_jobs_again_waits_for_the_last_beat_of_a_dead_driver(
    config: TrainStudentConfig, labelled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_owner, "FRESH_S", 0.2)
    monkeypatch.setattr(training_owner, "LOOK_AGAIN_S", 0.05)
    again = replace(config, resume_if_any=True)
    first = open_run(again, "student", config.pseudo, labelled)
    first.files.write_json("owner.json", {"owner": "far-away:0000:17:4711:abcd"})
    notes: list[str] = []
    with pytest.raises(CatalogConflictError, match="still going on"):
        open_run(replace(config, resume=True), "student", config.pseudo, labelled)
    second = open_run(again, "student", config.pseudo, labelled, note=notes.append)
    assert second.run_id == first.run_id
    assert "process 17 on far-away" in notes[0]
    assert not first.files.is_owned(), "should it live after all, it writes nothing more"


def test_a_live_driver_is_not_taken_over(
    config: TrainStudentConfig, labelled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_owner, "FRESH_S", 0.5)
    monkeypatch.setattr(training_owner, "LOOK_AGAIN_S", 0.05)
    monkeypatch.setattr(training_owner, "HEARTBEAT_S", 0.1)
    again = replace(config, resume_if_any=True)
    run = open_run(again, "student", config.pseudo, labelled)
    with (
        heartbeat(run.files),
        pytest.raises(CatalogConflictError, match="still going on"),
    ):
        open_run(again, "student", config.pseudo, labelled)

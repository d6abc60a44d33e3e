"""What a training run refuses before it begins, without Ray."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.config import TrainStudentConfig
from jobs.errors import ConfigError
from jobs.ray_runtime import Node, Resources
from jobs.train import _cpus_per_worker, _open_run
from jobs.workspace import Workspace, open_workspace
from pipeline.errors import CatalogMissingError
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
        _open_run(config, "student", config.pseudo, workspace)
    assert workspace.catalog.runs() == []


def test_a_set_without_a_shard_is_refused(config: TrainStudentConfig, workspace: Workspace) -> None:
    with pytest.raises(CatalogMissingError, match="no committed shard"):
        _open_run(config, "student", config.pseudo, workspace)
    assert workspace.catalog.runs() == []


def test_a_few_quarantined_images_are_no_reason(
    config: TrainStudentConfig, workspace: Workspace
) -> None:
    label_all(workspace.catalog, "set", ["photos"], decode_failed=9)
    run = _open_run(config, "student", config.pseudo, workspace)
    assert workspace.catalog.run(run.run_id).snapshot_id == run.snapshot.snapshot_id


def test_more_workers_than_row_groups_are_refused(
    config: TrainStudentConfig, workspace: Workspace
) -> None:
    label_all(workspace.catalog, "set", ["photos"])
    with pytest.raises(ConfigError, match="fill only 2 row groups"):
        _open_run(replace(config, workers=3), "student", config.pseudo, workspace)
    assert workspace.catalog.runs() == []


def test_a_worker_asks_for_no_more_than_a_machine_has(config: TrainStudentConfig) -> None:
    head_and_one_gpu = Resources((Node(64), Node(16, gpus=1)))
    assert _cpus_per_worker(config, head_and_one_gpu) == 16

"""W&B offline and MLflow on a local database, the real libraries, read back."""

import importlib.util
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.errors import ConfigError
from jobs.models import ModelLocation
from jobs.run_files import RunFiles
from jobs.training_job import TrainingJob
from jobs.training_trackers import (
    EXPERIMENT,
    MlflowLog,
    WandbLog,
    absolute_mlflow,
    artefact_folder,
    check_trackers,
)
from jobs.training_worker import run_training
from model.recipes import V1, override
from pipeline.storage import Store
from pipeline.training_input import TrainingShard
from tests.factories import image_shard

PICTURE = np.full((4, 6, 3), 100, np.uint8)
BLOCK = 32768

# MLflow's own use of SQLAlchemy, and of its own modules
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of W&B's own file: 7 bytes of header, then a LevelDB log in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # all of it, or the last piece
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def test_wandb_keeps_numbers_and_pictures_under_our_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log = WandbLog(
        "depth", run_id="run-1", name="student", config={"size": 42}, folder=tmp_path / "w"
    )
    for step in (1, 2):
        log.log(step, {"loss": 1.0 / step})
    log.log(2, {"validation/loss": 0.25})
    log.image(2, "previews", PICTURE)
    log.close()

    (folder,) = (tmp_path / "w" / "wandb").glob("offline-run-*-run-1")
    written, until = folder / "run-run-1.wandb", time.monotonic() + 60
    while not (records := list(wandb_records(written))) and time.monotonic() < until:
        time.sleep(0.2)  # on a busy machine its service writes after `finish` has returned
    run = next(record.run for record in records if record.HasField("run"))
    assert (run.project, run.run_id, run.display_name) == ("depth", "run-1", "student")
    rows = [
        {(item.key or ".".join(item.nested_key)): item.value_json for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert [row["training/loss"] for row in rows] == ["1", "0.5"]
    assert rows[1]["validation/loss"] == "0.25"
    assert rows[1]["previews._type"] == '"image-file"'
    assert len(list((folder / "files/media/images").glob("*.png"))) == 1


@pytest.fixture(scope="module")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For a database, which takes MLflow seconds to make."""
    pytest.importorskip("mlflow")
    return tmp_path_factory.mktemp("mlflow")


def mlflow_run(uri: str, run_id: str) -> tuple[Any, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`factory.run_id` = '{run_id}'")
    return client, run


def test_mlflow_takes_a_run_up_again_and_no_step_twice(mlflow_folder: Path) -> None:
    uri = f"sqlite:///{mlflow_folder}/mlflow.db"

    def attempt(steps: range, *, failed: bool) -> None:
        log = MlflowLog(
            uri, run_id="run-1", name="student", config={"size": 42}, folder=artefact_folder(uri)
        )
        for step in steps:
            log.log(step, {"loss": 1.0 / step})
        log.image(steps[-1], "previews", PICTURE)
        log.close(failed=failed)

    attempt(range(1, 4), failed=True)
    _, run = mlflow_run(uri, "run-1")
    assert run.info.status == "FAILED"
    attempt(range(2, 6), failed=False)  # from the checkpoint of step 1
    client, run = mlflow_run(uri, "run-1")
    assert run.info.status == "FINISHED"
    assert run.data.params == {"size": "42"}
    history = client.get_metric_history(run.info.run_id, "training/loss")
    assert sorted((each.step, each.value) for each in history) == [
        (step, 1.0 / step) for step in range(1, 6)
    ]
    assert len(list((mlflow_folder / "mlartifacts").rglob("*.png"))) == 2


def test_a_server_that_breaks_costs_a_warning(
    mlflow_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow.exceptions import MlflowException

    log = MlflowLog(
        f"sqlite:///{mlflow_folder}/mlflow.db", run_id="run-2", name="n", config={}, folder=None
    )

    def refuse(*arguments: object, **options: object) -> None:
        raise MlflowException("https://me:secret@host is off")

    monkeypatch.setattr(log._client, "log_batch", refuse)
    log.log(1, {"loss": 1.0})
    log.close()
    assert "MLflow took no metrics: https://me:***@host is off" in caplog.text


def test_what_cannot_work_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_trackers(wandb=None, mlflow=None)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ConfigError) as refused:
            check_trackers(wandb="depth", mlflow="sqlite:///x.db")
    assert [problem.partition(" ")[0] for problem in refused.value.problems] == [
        "--wandb",
        "--mlflow",
    ]
    assert "pip install 'pseudo-label-factory[wandb]'" in refused.value.problems[0]
    pytest.importorskip("mlflow")
    with pytest.raises(ConfigError, match="--mlflow nonsense://me:\\*\\*\\*@x"):
        check_trackers(wandb=None, mlflow="nonsense://me:secret@x")


def test_a_project_without_a_key_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.here")
    keys = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(keys))
    wandb.teardown()
    try:
        with pytest.raises(ConfigError, match=r"--wandb depth: no key for https://wandb\.here:"):
            check_trackers(wandb="depth", mlflow=None)
        check_trackers(wandb="depth", mlflow=None, is_local=False)
        keys.write_text("machine elsewhere login user password key\n")
        with pytest.raises(ConfigError, match="no key"):
            check_trackers(wandb="depth", mlflow=None)
        keys.write_text("machine wandb.here login user password key\n")
        check_trackers(wandb="depth", mlflow=None)
        keys.unlink()
        monkeypatch.setenv("WANDB_API_KEY", "key")
        check_trackers(wandb="depth", mlflow=None)
        monkeypatch.delenv("WANDB_API_KEY")
        monkeypatch.setenv("WANDB_MODE", "offline")
        wandb.teardown()
        check_trackers(wandb="depth", mlflow=None)
    finally:
        wandb.teardown()


def test_a_local_database_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_mlflow("sqlite:///runs/m.db") == f"sqlite:///{tmp_path}/runs/m.db"
    assert absolute_mlflow("sqlite:////srv/m.db") == "sqlite:////srv/m.db"
    assert absolute_mlflow("https://host") == "https://host"
    assert absolute_mlflow(None) is None
    assert artefact_folder("sqlite:////srv/m.db") == Path("/srv/mlartifacts")
    assert artefact_folder("https://host") is None


def tiny_job(store: Store, **trackers: str) -> TrainingJob:
    shard = image_shard(store, range(8), truth=True)
    return TrainingJob(
        run_id="run-3",
        name="teacher",
        store=store,
        encoder=ModelLocation("plain", "scratch:tiny"),
        recipe=override(V1, size=28, batch_size=4),
        labelled=(TrainingShard(shard.key, 8),),
        pseudo=(),
        steps=2,
        images_per_pass=4,
        seed=0,
        precision="fp32",
        checkpoint_steps=2,
        threads=1,
        preview_steps=2,
        **trackers,
    )


def test_a_worker_tells_all_that_follow_its_run(
    mlflow_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    torch.set_num_threads(1)
    store = Store(str(tmp_path))
    uri = f"sqlite:///{mlflow_folder}/mlflow.db"
    job = tiny_job(store, wandb="depth", mlflow=uri)
    run_training(job)
    losses = [row["loss"] for row in RunFiles(store, "run-3").metrics()]
    client, run = mlflow_run(uri, "run-3")
    history = client.get_metric_history(run.info.run_id, "training/loss")
    assert [each.value for each in history] == losses
    (file,) = (tmp_path / "runs/run-3/wandb").glob("offline-run-*/run-run-3.wandb")
    rows = [record.history for record in wandb_records(file) if record.HasField("history")]
    assert len(rows) == len(losses) == 2

    caplog.clear()
    run_training(replace(job, wandb=None, mlflow="nonsense://x"))  # all its steps are done
    assert "training goes on without it: --mlflow nonsense://x" in caplog.text
    (told,) = RunFiles(store, "run-3").warnings()
    assert told in caplog.text, "the driver is told as well"
    with pytest.raises(ConfigError, match="--mlflow nonsense://x"):
        run_training(replace(job, run_id="run-4", wandb=None, mlflow="nonsense://x"))

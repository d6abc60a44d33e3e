"""The command that goes on with a run, read back by the command line itself."""

import shlex

import pytest

from jobs.cli import Call, build_app
from jobs.config import Common
from jobs.resume_command import resume_command
from jobs.settings import load_settings, resolved
from jobs.training_config import FinetuneMetricConfig, TrainStudentConfig, TrainTeacherConfig
from pipeline.catalog import RunRow

STUDENT = TrainStudentConfig(
    name="s", encoder="scratch:tiny", labelled=("rooms", "two words"), pseudo=("labels",),
    steps=7, learning_rate=5e-6, checkpoint_activations=True, wandb="it's", workers=2,
)  # fmt: skip
METRIC = FinetuneMetricConfig(name="m", init="t", labelled=("x",), max_depth=80)


def run(config: Common, kind: str, **changes: object) -> RunRow:
    return RunRow(
        run_id=f"{kind}-1", kind=kind, name="s", state="failed",
        config={**resolved(config), **changes}, snapshot_id="x", code_version="1", metrics={},
        started_at=0.0, finished_at=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("config", "kind", "verb"),
    [
        (STUDENT, "student", "train-student"),
        (TrainTeacherConfig(name="t", encoder="a/b", labelled=("x",)), "teacher", "train-teacher"),
        (METRIC, "metric", "finetune-metric"),
    ],
)
def test_the_command_says_again_what_was_said(config: Common, kind: str, verb: str) -> None:
    command = shlex.split(resume_command(run(config, kind)))
    assert command[:2] == ["factory", verb]
    calls: list[Call] = []
    build_app(calls.append)(command[1:], prog_name="factory", standalone_mode=False)
    heard = load_settings(type(config), flags=calls[0].flags, file=None, environ={})
    assert resolved(heard) == {**resolved(config), "resume": True}


def test_only_what_differs_from_a_default_is_said() -> None:
    command = resume_command(run(TrainTeacherConfig(name="t", encoder="a/b"), "teacher"))
    assert command == "factory train-teacher --name t --encoder a/b --resume"


def test_options_that_this_version_does_not_know_are_passed_over() -> None:
    command = resume_command(run(STUDENT, "student", gone="x"))
    assert "gone" not in command
    assert resume_command(run(STUDENT, "something else")) == ""

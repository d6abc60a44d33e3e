"""How training processes are sized, and what of a recipe is refused before any of them starts."""

import socket
from pathlib import Path

import pytest

from jobs import train
from jobs.cli import run
from jobs.errors import ConfigError
from jobs.train import _recipe
from jobs.training_config import TrainStudentConfig, TrainTeacherConfig


def student(**options: object) -> TrainStudentConfig:
    values = {"encoder": "scratch:tiny", "name": "student", "pseudo": ("set",), **options}
    return TrainStudentConfig(**values)


def test_values_of_the_recipe_are_changed_by_name_and_by_flag() -> None:
    config = student(override=("trimmed_share=0.2", "size=28"), batch_size=6)
    recipe = _recipe(config, "student", config.pseudo)
    assert (recipe.trimmed_share, recipe.size, recipe.batch_size) == (0.2, 28, 6)


def test_everything_wrong_with_a_recipe_is_said_at_once() -> None:
    wrong = ("trimmed_share=2", "sizes=28", "clip_norm")
    config = student(override=wrong, workers=7, batch_size=9, size=100)
    with pytest.raises(ConfigError) as caught:
        _recipe(config, "student", config.pseudo)
    for part in ("trimmed_share must be below 1", "'size'?", "'clip_norm' is not NAME=VALUE"):
        assert part in str(caught.value)
    assert "multiple of 14, not 100" in str(caught.value)
    assert "--batch-size 9 cannot be shared out to 7 workers" in str(caught.value)


@pytest.mark.parametrize("size", [{"size": 100}, {"override": ("size=100",)}])
def test_crops_that_are_no_whole_number_of_patches_are_refused(size: dict[str, object]) -> None:
    config = TrainTeacherConfig(encoder="scratch:tiny", name="t", labelled=("rooms",), **size)
    with pytest.raises(ConfigError, match="multiple of 14, not 100"):
        _recipe(config, "teacher", ())


def test_a_v2_student_takes_no_labelled_images_unless_told() -> None:
    config = student(preset="v2", labelled=("rooms",))
    with pytest.raises(ConfigError, match=r"pseudo-labels alone.*--labelled.*pseudo_only=false"):
        _recipe(config, "student", config.pseudo)
    told = student(preset="v2", labelled=("rooms",), override=("pseudo_only=false",))
    assert not _recipe(told, "student", told.pseudo).pseudo_only
    assert _recipe(student(preset="v2"), "student", ("set",)).pseudo_only
    teacher = TrainTeacherConfig(encoder="scratch:s", name="t", labelled=("rooms",), preset="v2")
    assert _recipe(teacher, "teacher", ()).batch_size == 64


def test_a_teacher_refuses_by_name_what_only_students_use() -> None:
    texts = ("feature-margin=0.5", "clip_norm=2", "jitter_hue=0.1")
    config = TrainTeacherConfig(
        encoder="scratch:tiny", name="t", labelled=("rooms",), override=texts
    )
    with pytest.raises(ConfigError) as caught:
        _recipe(config, "teacher", ())
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "--override feature_margin",
        "--override jitter_hue",
    ]
    assert _recipe(student(override=texts), "student", ("set",)).feature_margin == 0.5


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--override", "trimmed_share=2"], "trimmed_share must be below 1"),
        (["--override", "sizes=28"], "'size'?"),
        (["--override", "batch_size"], "is not NAME=VALUE"),
        (["--batch-size", "7", "--workers", "2"], "cannot be shared out to 2 workers"),
        (["--batch-size", "6", "--accumulate", "4"], "in 4 forward passes each"),
        (["--steps", "5", "--override", "steps=9"], "steps is given twice"),
        (["--steps", "5", "--override", "passes=2"], "passes are not counted where steps"),
        (["--batch-size", "1"], "needs two images"),
        (["--size", "100"], "multiple of 14, not 100"),
        (["--preset", "v3"], "'v3' is not one of v1, v2"),
        (["--learning-rate", "nan"], "expected a number"),
        (["--checkpoint-steps", "0"], "must be at least 1"),
        (["--keep-checkpoints", "0"], "must be at least 1"),
    ],
)
def test_wrong_values_end_with_status_2_before_ray_starts(
    flags: list[str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("Ray must not start")

    monkeypatch.setattr(train, "ray_cluster", started)
    monkeypatch.setattr(train, "local_resources", started)
    given = ["--labelled", "rooms", "--encoder", "scratch:tiny", "--name", "n"]
    verb = ["train-student", "--pseudo", "set", *given, "--store", str(tmp_path / "none")]
    assert run([*verb, *flags]) == 2
    assert why in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "none").exists()


def test_a_preset_that_does_not_exist_is_wrong_usage_in_python_too() -> None:
    with pytest.raises(ConfigError, match="v3"):
        _recipe(student(preset="v3"), "student", ("set",))


def test_no_worker_at_all_is_a_problem_like_others() -> None:
    with pytest.raises(ConfigError, match="--workers: must be at least 1"):
        _recipe(student(workers=0), "student", ("set",))


def test_a_cluster_that_does_not_answer_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("no run must begin")

    monkeypatch.setattr(train, "open_run", opened)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    given = ["--labelled", "rooms", "--encoder", "scratch:tiny", "--name", "n"]
    verb = ["train-teacher", *given, "--store", str(tmp_path), "--ray", f"127.0.0.1:{port}"]
    assert run(verb) == 2
    assert "--ray: nothing answers" in " ".join(capsys.readouterr().err.split())

"""How training processes are sized, and what of a recipe is refused before any of them starts."""

import pytest

from jobs.errors import ConfigError
from jobs.ray_runtime import Node, Resources
from jobs.train import _cpus_per_worker, _recipe
from jobs.training_config import TrainStudentConfig, TrainTeacherConfig


def test_a_worker_asks_for_no_more_than_a_machine_has() -> None:
    config = TrainStudentConfig(encoder="scratch:tiny", name="student", pseudo=("set",))
    head_and_one_gpu = Resources((Node(64), Node(16, gpus=1)))
    assert _cpus_per_worker(config, head_and_one_gpu) == 16


def student(**options: object) -> TrainStudentConfig:
    values = {"encoder": "scratch:tiny", "name": "student", "pseudo": ("set",), **options}
    return TrainStudentConfig(**values)


def test_values_of_the_recipe_are_changed_by_name_and_by_flag() -> None:
    config = student(override=("trimmed_share=0.2", "size=28"), batch_size=6)
    recipe = _recipe(config, "student", config.pseudo)
    assert (recipe.trimmed_share, recipe.size, recipe.batch_size) == (0.2, 28, 6)


def test_everything_wrong_with_a_recipe_is_said_at_once() -> None:
    config = student(override=("trimmed_share=2", "sizes=28", "clip_norm"), workers=7)
    with pytest.raises(ConfigError) as caught:
        _recipe(config, "student", config.pseudo)
    for part in ("trimmed_share must be below 1", "'size'?", "'clip_norm' is not NAME=VALUE", "7"):
        assert part in str(caught.value)


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

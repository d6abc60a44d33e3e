"""On what training computes, and what it refuses rather than train on CPUs overnight."""

import pytest

from jobs.errors import ConfigError
from jobs.ray_runtime import Node, Resources
from jobs.training_config import TrainTeacherConfig
from jobs.training_place import choose_place

CPUS = Resources((Node(0), Node(8), Node(4)))
HEAD_AND_ONE_GPU = Resources((Node(64), Node(16, gpus=1)))


def teacher(**options: object) -> TrainTeacherConfig:
    values = {"encoder": "scratch:tiny", "name": "teacher", "labelled": ("rooms",), **options}
    return TrainTeacherConfig(**values)


def test_gpus_are_taken_where_there_are_any() -> None:
    for config in (teacher(), teacher(ray="auto"), teacher(device="cuda")):
        place = choose_place(config, HEAD_AND_ONE_GPU)
        assert (place.use_gpus, place.precision, place.compile) == (True, "bf16", True)
        assert place.cpus == 16, "no more than the machine with the GPU has"


def test_cpus_are_taken_where_that_was_asked_for_or_nothing_else_is_there() -> None:
    for config in (teacher(), teacher(device="cpu"), teacher(ray="auto", device="cpu")):
        place = choose_place(config, CPUS)
        assert (place.use_gpus, place.precision, place.compile) == (False, "fp32", False)
        assert place.cpus == 8
    assert not choose_place(teacher(ray="auto", device="cpu"), HEAD_AND_ONE_GPU).use_gpus


def test_a_cluster_without_a_gpu_is_asked_about() -> None:
    with pytest.raises(ConfigError, match=r"no GPU now .*8 CPUs.*--device cuda .*--device cpu"):
        choose_place(teacher(ray="auto"), CPUS)
    place = choose_place(teacher(ray="auto", device="cuda"), CPUS)
    assert (place.use_gpus, place.precision, place.compile) == (True, "bf16", True)


def test_workers_that_a_machine_has_no_room_for_are_refused() -> None:
    with pytest.raises(ConfigError, match="--workers 2: this machine has 1 GPUs"):
        choose_place(teacher(workers=2), HEAD_AND_ONE_GPU)
    with pytest.raises(ConfigError, match="--workers 13: this machine has 12 CPUs"):
        choose_place(teacher(workers=13), CPUS)
    with pytest.raises(ConfigError, match="--device cuda: this machine has no GPU"):
        choose_place(teacher(device="cuda"), CPUS)
    assert choose_place(teacher(workers=13, ray="auto", device="cpu"), CPUS).cpus == 1, "may grow"


def test_what_was_asked_for_is_not_decided_again() -> None:
    place = choose_place(teacher(precision="fp32", compile="off"), HEAD_AND_ONE_GPU)
    assert (place.precision, place.compile) == ("fp32", False)
    assert choose_place(teacher(compile="on"), CPUS).compile

"""What actors are given, from the machines there are; the runs themselves are integration tests."""

from typing import Any

import pytest

from jobs.config import LabelConfig
from jobs.label_actors import label_precision, plan_actors, waiting_for_room
from jobs.ray_runtime import Node, Resources

LAPTOP = Resources((Node(8),))
GPU_MACHINE = Resources((Node(16, gpus=2),))
CPU_CLUSTER = Resources((Node(0), Node(16), Node(16), Node(16)))
CLUSTER = Resources((Node(64), Node(16, gpus=4), Node(16, gpus=4)))


@pytest.mark.parametrize(
    ("resources", "options", "actors", "cpus", "precision"),
    [
        (LAPTOP, {}, 1, 8, "fp32"),
        (LAPTOP, {"actors": 3}, 3, 2, "fp32"),
        (CPU_CLUSTER, {}, 3, 16, "fp32"),
        (GPU_MACHINE, {}, 2, 8, "bf16"),
        (GPU_MACHINE, {"gpus_per_actor": 0.5}, 4, 4, "bf16"),
        (GPU_MACHINE, {"gpus_per_actor": 0.0}, 1, 16, "fp32"),
        (GPU_MACHINE, {"gpus_per_actor": 0.0, "precision": "bf16"}, 1, 16, "bf16"),
        (CLUSTER, {}, 8, 4, "bf16"),
        (CLUSTER, {"cpus_per_actor": 2.0}, 8, 2, "bf16"),
    ],
)
def test_actors_fit_the_machines_and_suit_their_device(
    resources: Resources,
    options: dict[str, Any],
    actors: int,
    cpus: int,
    precision: str,
) -> None:
    config = LabelConfig(sources=("photos",), teacher="t", **options)
    plan = plan_actors(config, resources)
    assert (plan.count, plan.cpus) == (actors, cpus)
    assert label_precision(config, resources) == precision


@pytest.mark.parametrize(
    ("resources", "options", "share"),
    [
        (LAPTOP, {}, 1.0),
        (LAPTOP, {"actors": 4}, 0.25),
        (LAPTOP, {"actors": 3, "cpus_per_actor": 4.0}, 0.5),  # two at a time, the third waits
        (CPU_CLUSTER, {}, 1.0),
        (CPU_CLUSTER, {"actors": 6}, 0.5),
        (GPU_MACHINE, {}, 1.0),
        (GPU_MACHINE, {"gpus_per_actor": 0.25}, 0.25),
        (GPU_MACHINE, {"gpus_per_actor": 2.0}, 1.0),
    ],
)
def test_actors_on_one_device_share_its_memory(
    resources: Resources, options: dict[str, Any], share: float
) -> None:
    config = LabelConfig(sources=("photos",), teacher="t", **options)
    assert plan_actors(config, resources).memory_share == share


@pytest.mark.parametrize(
    ("resources", "free", "expected"),
    [
        (Resources(()), {}, "the cluster has no machine, none of them large enough"),
        (LAPTOP, {"CPU": 8.0}, "1 x (8 CPUs, 0 GPUs), none of them large enough"),
        (GPU_MACHINE, {"CPU": 16.0, "GPU": 0.0}, "but others use them"),
        (CLUSTER, {"CPU": 96.0, "GPU": 8.0}, "2 x (16 CPUs, 4 GPUs): it is being started"),
    ],
)
def test_why_no_actor_has_answered(
    resources: Resources, free: dict[str, float], expected: str
) -> None:
    options = {"gpus_per_actor": 1.0, "cpus_per_actor": 4.0}
    plan = plan_actors(LabelConfig(sources=("p",), teacher="t", **options), GPU_MACHINE)
    said = waiting_for_room(plan, has=resources, free=free)
    assert "each asks for 1 GPU and 4 CPUs" in said
    assert expected in said

"""What actors are given, from the machines there are; the runs themselves are integration tests."""

from typing import Any

import pytest

from jobs.config import LabelConfig
from jobs.label_actors import label_precision, plan_actors
from jobs.ray_runtime import Node, Resources

LAPTOP = Resources((Node(8),))
GPU_MACHINE = Resources((Node(16, gpus=2),))
CLUSTER = Resources((Node(64), Node(16, gpus=4), Node(16, gpus=4)))


@pytest.mark.parametrize(
    ("resources", "options", "actors", "cpus", "precision"),
    [
        (LAPTOP, {}, 1, 8, "fp32"),
        (LAPTOP, {"actors": 3}, 3, 2, "fp32"),
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

"""How training processes are sized."""

from jobs.ray_runtime import Node, Resources
from jobs.train import _cpus_per_worker
from jobs.training_config import TrainStudentConfig


def test_a_worker_asks_for_no_more_than_a_machine_has() -> None:
    config = TrainStudentConfig(encoder="scratch:tiny", name="student", pseudo=("set",))
    head_and_one_gpu = Resources((Node(64), Node(16, gpus=1)))
    assert _cpus_per_worker(config, head_and_one_gpu) == 16

"""Ray, started the way this project wants it: private by default, quiet, and shut down again.

Ray is imported inside functions: it takes half a second, and `factory --help` must not wait for it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

OBJECT_STORE_BYTES = 256 * 2**20  # shard ids and manifests travel, never pixels
FORWARDED_PREFIXES = ("AWS_", "FSSPEC_", "HF_", "GOOGLE_", "AZURE_")


@dataclass(frozen=True, slots=True)
class Resources:
    """What a cluster has in all."""

    cpus: int
    gpus: int


def local_resources() -> Resources:
    """What this machine has, without starting anything."""
    import torch

    return Resources(cpus=os.cpu_count() or 1, gpus=torch.cuda.device_count())


@contextmanager
def ray_cluster(address: str | None, *, num_cpus: int | None = None) -> Iterator[Resources]:
    """Join the cluster at ``address``, or start a private one on this machine and stop it after.

    A Ray that this process already uses is used again and left running. Without an address the
    private Ray is asked for by name: a bare ``ray.init()`` would join any Ray that happens to run.
    Token authentication stays as Ray has it: its ports listen on all interfaces even on a laptop.
    """
    import ray

    if ray.is_initialized():
        yield _resources()
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    if address:
        ray.init(
            address=address,
            logging_level="ERROR",
            log_to_driver=False,
            runtime_env={"env_vars": _forwarded_environment()},
        )
    else:
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            logging_level="ERROR",
            log_to_driver=False,
        )
    try:
        yield _resources()
    finally:
        ray.shutdown()


def _resources() -> Resources:
    import ray

    total = ray.cluster_resources()
    return Resources(cpus=int(total.get("CPU", 1)), gpus=int(total.get("GPU", 0)))


def _forwarded_environment() -> dict[str, str]:
    """Credentials and endpoints that workers on other machines need to reach the store."""
    return {
        name: value for name, value in os.environ.items() if name.startswith(FORWARDED_PREFIXES)
    }

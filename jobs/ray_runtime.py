"""Ray, started the way this project wants it: private by default, quiet, and shut down again.

Ray is imported inside functions: it takes half a second, and `factory --help` must not wait for it.
"""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from jobs.errors import ConfigError
from jobs.names import job_config
from jobs.ray_environment import worker_environment
from jobs.ray_join import explained

CONNECT_TIMEOUT_S = 10.0
OBJECT_STORE_BYTES = 256 * 2**20  # shard ids and manifests travel, never pixels


@dataclass(frozen=True, slots=True)
class Node:
    """What one machine has."""

    cpus: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Resources:
    """What the machines of a cluster have."""

    nodes: tuple[Node, ...]

    @property
    def cpus(self) -> int:
        """Of all machines."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> int:
        """Of all machines."""
        return sum(node.gpus for node in self.nodes)

    def fits(self, *, cpus: int, gpus: float) -> bool:
        """Whether one of them is large enough for a process that asks for that much."""
        return self.room(cpus=cpus, gpus=gpus) > 0

    def room(self, *, cpus: int, gpus: float) -> int:
        """How many processes that ask for that much there is room for, with nobody else there."""
        return sum(_room(node, cpus=cpus, gpus=gpus) for node in self.nodes)

    def in_words(self) -> str:
        """For people: ``2 x (8 CPUs, 1 GPUs) + 1 x (4 CPUs, 0 GPUs)``."""
        if not self.nodes:
            return "no machine"
        machines = [f"{node.cpus} CPUs, {node.gpus} GPUs" for node in self.nodes]
        counted = [f"{machines.count(each)} x ({each})" for each in dict.fromkeys(machines)]
        return " + ".join(counted[:5]) + (" + …" if len(counted) > 5 else "")

    def cpus_each(self, count: int, *, gpus: float = 0.0) -> int:
        """The most CPUs that each of ``count`` processes can have, with ``gpus`` for each.

        A process does not stretch over machines: one that asks for a share of all CPUs would wait
        for ever in a cluster whose machines are smaller, or whose head has CPUs and no GPU. 1 where
        there is no room for so many: what cannot start yet waits for what is added later.
        """
        largest = max((node.cpus for node in self.nodes), default=1)
        for cpus in range(largest, 1, -1):
            if self.room(cpus=cpus, gpus=gpus) >= count:
                return cpus
        return 1


def _room(node: Node, *, cpus: int, gpus: float) -> int:
    by_cpus = node.cpus // cpus
    return min(by_cpus, int(node.gpus / gpus)) if gpus else by_cpus


def local_resources() -> Resources:
    """What this machine has, or the Ray that this process already uses; nothing is started."""
    import ray
    import torch

    if ray.is_initialized():
        return cluster_resources()
    return Resources((Node(cpus=os.cpu_count() or 1, gpus=torch.cuda.device_count()),))


@contextmanager
def ray_cluster(
    address: str | None, *, num_cpus: int | None = None, name: str = "factory"
) -> Iterator[Resources]:
    """Join the cluster at ``address``, or start a private one on this machine and stop it after.

    ``name`` is what the job is called in Ray's dashboard (`jobs.names.title`). A Ray that this
    process already uses is used again and left running, under the name it has. Without an address
    the private Ray is asked for by name: a bare ``ray.init()`` would join any Ray that happens to
    run. Token authentication stays as Ray has it: its ports listen on all interfaces even on a
    laptop.
    """
    import ray

    if ray.is_initialized():
        yield cluster_resources()
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    with _termination_as_before():
        _init(address, num_cpus=num_cpus, name=name)
    try:
        yield cluster_resources()
    finally:
        ray.shutdown()


def _init(address: str | None, *, num_cpus: int | None, name: str) -> None:
    import ray

    quiet = {"logging_level": "ERROR", "log_to_driver": False, "job_config": job_config(name)}
    if address:
        check_answers(address)
        with explained(address):
            ray.init(address=address, runtime_env=worker_environment(), **quiet)
        return
    ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        **quiet,
    )


@contextmanager
def _termination_as_before() -> Iterator[None]:
    """Ray puts its own in place of what SIGTERM does here, and leaves it there.

    That one exits while Ray starts, and aborts with a dump of the stack from then on.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        if callable(before):
            before(signal.SIGTERM, None)
        raise
    finally:
        if callable(before):
            signal.signal(signal.SIGTERM, before)


def check_answers(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself goes on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():  # "auto", or something for Ray to judge
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError([f"--ray: nothing answers at {address}: {error}"]) from error


def cluster_resources() -> Resources:
    """What the machines have that are there now."""
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Resources(tuple(Node(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in alive))


def gpu_kinds() -> list[str]:
    """Kinds of GPU of the machines that are there now, as Ray names them: ``H200``."""
    import ray

    marks = (name for node in ray.nodes() if node["Alive"] for name in node["Resources"])
    prefix = "accelerator_type:"
    return sorted({name.removeprefix(prefix) for name in marks if name.startswith(prefix)})


def free_resources() -> dict[str, float]:
    """What nobody uses at the moment, of all machines together, as Ray names it."""
    import ray

    return dict(ray.available_resources())

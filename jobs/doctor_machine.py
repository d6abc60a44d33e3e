"""Doctor: processors, memory and limits of this machine, or of the container around it."""

import os
import resource
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import constants

from jobs.config import Common
from jobs.doctor_checks import OK, WARNING, Check
from jobs.doctor_disk import nearest_existing
from jobs.ray_runtime import OBJECT_STORE_BYTES
from jobs.readable import readable_bytes
from model.batch_size import device_memory

SHARED_MEMORY = Path("/dev/shm")
FEW_OPEN_FILES = 4096
LITTLE_MEMORY_BYTES = 4 << 30  # torch, Ray and a small network beside a batch of images
LITTLE_TEMPORARY_BYTES = 2 << 30
_CPU_QUOTAS = (
    Path("/sys/fs/cgroup/cpu.max"),
    Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineFacts:
    """What this process may use.

    Attributes:
        cpus: That the machine shows.
        cpus_allowed: That affinity and quota leave, which may be a fraction.
        memory_bytes: Of the machine or the container.
        shared_bytes: Size of /dev/shm; None where there is none.
        open_files: The most that a process may ask for.
        temporary: Folder of temporary files.
        temporary_free_bytes: What is free there.
    """

    cpus: int
    cpus_allowed: float
    memory_bytes: int
    shared_bytes: int | None
    open_files: int
    temporary: str
    temporary_free_bytes: int


def machine_checks(config: Common) -> list[Check]:
    """Processors, memory, shared memory, open files, temporary files, the Hugging Face cache."""
    return [*judge_machine(_machine()), judge_hub(_hub())]


def judge_machine(facts: MachineFacts) -> list[Check]:
    """What of it is too little."""
    return [
        _judge_cpus(facts),
        _judge_memory(facts),
        _judge_shared_memory(facts),
        _judge_open_files(facts),
        _judge_temporary(facts),
    ]


def _judge_cpus(facts: MachineFacts) -> Check:
    if facts.cpus_allowed > facts.cpus - 1:
        return Check("processors", OK, f"{facts.cpus}")
    found = f"{facts.cpus_allowed:g} of {facts.cpus} (affinity or quota of the container)"
    advice = (
        "libraries start as many threads as they see processors: "
        f"set OMP_NUM_THREADS={max(1, int(facts.cpus_allowed))}, or give --actors"
    )
    return Check("processors", WARNING, found, advice)


def _judge_memory(facts: MachineFacts) -> Check:
    found = readable_bytes(facts.memory_bytes)
    if facts.memory_bytes >= LITTLE_MEMORY_BYTES:
        return Check("memory", OK, found)
    return Check("memory", WARNING, found, "use a small encoder and --batch-size 1, or more memory")


def _judge_shared_memory(facts: MachineFacts) -> Check:
    where, wanted = str(SHARED_MEMORY), readable_bytes(OBJECT_STORE_BYTES)
    advice = f"Ray wants {wanted} there and takes a slow disk instead: docker run --shm-size=1g"
    if facts.shared_bytes is None:
        return Check("shared memory", WARNING, f"no {where}", advice)
    found = f"{readable_bytes(facts.shared_bytes)} at {where}"
    enough = facts.shared_bytes >= OBJECT_STORE_BYTES
    return Check("shared memory", OK if enough else WARNING, found, "" if enough else advice)


def _judge_open_files(facts: MachineFacts) -> Check:
    found = f"at most {facts.open_files:,}"
    if facts.open_files >= FEW_OPEN_FILES:
        return Check("open files", OK, found)
    advice = f"ulimit -n 65536 (Ray asks for {FEW_OPEN_FILES:,} and more, and fails under load)"
    return Check("open files", WARNING, found, advice)


def _judge_temporary(facts: MachineFacts) -> Check:
    found = f"{readable_bytes(facts.temporary_free_bytes)} free at {facts.temporary}"
    if facts.temporary_free_bytes >= LITTLE_TEMPORARY_BYTES:
        return Check("temporary files", OK, found)
    advice = "Ray's logs and objects and shards for remote stores go there: free it, or set TMPDIR"
    return Check("temporary files", WARNING, found, advice)


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFacts:
    """Where models of the Hugging Face Hub come from.

    Attributes:
        has_token: Whether there is one; what it is, nobody is told.
        can_write: Whether the cache, or what it would be made in, can be written.
    """

    cache: str
    can_write: bool
    free_bytes: int
    offline: bool
    has_token: bool


def judge_hub(facts: HubFacts) -> Check:
    """Whether models can be fetched and kept."""
    mode = "offline: only what is in the cache" if facts.offline else "online"
    token = "a token is there" if facts.has_token else "no token"
    free = f"{readable_bytes(facts.free_bytes)} free"
    found = f"{mode}; cache {facts.cache}, {free}; {token}"
    if facts.can_write or facts.offline:
        return Check("Hugging Face", OK, found)
    return Check(
        "Hugging Face",
        WARNING,
        f"{found}; the cache cannot be written",
        "set HF_HOME to a folder that can be written; models from the Hub are kept there",
    )


def _machine() -> MachineFacts:
    temporary = tempfile.gettempdir()
    return MachineFacts(
        cpus=os.cpu_count() or 1,
        cpus_allowed=_cpus_allowed(),
        memory_bytes=device_memory(torch.device("cpu")),
        shared_bytes=_size(SHARED_MEMORY),
        open_files=_open_files(),
        temporary=temporary,
        temporary_free_bytes=shutil.disk_usage(temporary).free,
    )


def _open_files() -> int:
    """Ray raises its own limit as far as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard


def _size(folder: Path) -> int | None:
    return shutil.disk_usage(folder).total if folder.is_dir() else None


def _cpus_allowed() -> float:
    seen = os.cpu_count() or 1
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else seen
    quotas = {path: path.read_text() for path in _CPU_QUOTAS if path.is_file()}
    return min([float(own), *_quotas(quotas)])


def _quotas(texts: Mapping[Path, str]) -> list[float]:
    """Processors that control groups grant: ``200000 100000`` is two, ``max`` and -1 are no limit.

    The second kind has its period of 100,000 µs in another file; nobody changes it.
    """
    granted = []
    for text in texts.values():
        quota, _, period = text.strip().partition(" ")
        if quota.isdecimal():
            granted.append(int(quota) / int(period or 100_000))
    return granted


def _hub() -> HubFacts:
    cache = Path(constants.HF_HUB_CACHE)
    existing = nearest_existing(cache)
    return HubFacts(
        cache=str(cache),
        can_write=os.access(existing, os.W_OK),
        free_bytes=shutil.disk_usage(existing).free,
        offline=bool(constants.HF_HUB_OFFLINE),
        has_token=bool(os.environ.get("HF_TOKEN")) or Path(constants.HF_TOKEN_PATH).is_file(),
    )

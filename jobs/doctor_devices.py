"""Doctor: torch and GPUs, and whether torch sees what the driver sees and can compute there."""

import os
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from jobs.config import Common
from jobs.doctor_checks import OK, PROBLEM, WARNING, Check
from jobs.readable import readable_bytes
from model.devices import pick_precision

ASK_DRIVER = (
    "nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits",
)  # fmt: skip
DRIVER_S = 20.0
OLD_DRIVER = (
    "install a build of torch for the CUDA of this driver, or a newer driver "
    "(https://pytorch.org/get-started/locally)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverFacts:
    """What nvidia-smi says.

    Attributes:
        gpus: Name and memory in MiB of each, as it writes them.
        version: Of the driver.
        fault: Why it says nothing, although it is installed.
    """

    gpus: tuple[str, ...] = ()
    version: str = ""
    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A GPU that torch sees.

    Attributes:
        has_bf16: Whether it computes bf16 in hardware.
        fault: What came of a small computation there; empty where all is well.
    """

    name: str
    memory_bytes: int
    has_bf16: bool
    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchFacts:
    """What torch says.

    Attributes:
        cuda: The CUDA that it was built for; None for a build without.
        hip: The same for ROCm.
        warnings: What it said while it looked for devices.
        visible: CUDA_VISIBLE_DEVICES, None where that is not set.
    """

    version: str
    cuda: str | None
    hip: str | None = None
    gpus: tuple[Gpu, ...] = ()
    warnings: tuple[str, ...] = ()
    visible: str | None = None


def device_checks(config: Common) -> list[Check]:
    """The build of torch, and the GPUs."""
    facts = _torch()
    return [judge_torch(facts), judge_gpus(facts, _driver())]


def judge_torch(facts: TorchFacts) -> Check:
    """Which build it is."""
    build = f"CUDA {facts.cuda}" if facts.cuda else f"ROCm {facts.hip}" if facts.hip else "CPU only"
    return Check("torch", OK, f"{facts.version}, {build}")


def judge_gpus(facts: TorchFacts, driver: DriverFacts) -> Check:
    """Whether torch sees and can use the GPUs that are there."""
    if driver.fault:
        advice = "restart this machine, or load the driver's module again (modprobe nvidia)"
        return Check("GPUs", PROBLEM, f"nvidia-smi fails: {driver.fault}", advice)
    if broken := [gpu for gpu in facts.gpus if gpu.fault]:
        found = "; ".join(f"{gpu.name}: {gpu.fault}" for gpu in broken)
        return Check("GPUs", PROBLEM, f"cannot compute: {found}", OLD_DRIVER)
    can_see = bool(facts.cuda or facts.hip)
    if len(facts.gpus) < len(driver.gpus) and (facts.visible is None or not can_see):
        return _judge_unseen(facts, driver)
    if not facts.gpus:
        return _judge_none(facts, driver)
    return _judge_seen(facts, driver)


def _judge_unseen(facts: TorchFacts, driver: DriverFacts) -> Check:
    found = f"torch sees {len(facts.gpus)} of {len(driver.gpus)} ({_names(driver.gpus)})"
    if facts.cuda is None and facts.hip is None:
        advice = "this build of torch has no CUDA: install one from https://pytorch.org"
        return Check("GPUs", PROBLEM, found, advice)
    said = f": {' '.join(facts.warnings)}" if facts.warnings else ""
    return Check("GPUs", PROBLEM, f"{found}, driver {driver.version}{said}", OLD_DRIVER)


def _judge_none(facts: TorchFacts, driver: DriverFacts) -> Check:
    if driver.gpus:
        found = f"{len(driver.gpus)} hidden by CUDA_VISIBLE_DEVICES={facts.visible}"
        return Check("GPUs", WARNING, found, "unset CUDA_VISIBLE_DEVICES to use them")
    return Check("GPUs", OK, "none: networks run on the processor")


def _judge_seen(facts: TorchFacts, driver: DriverFacts) -> Check:
    names = [
        f"{gpu.name} ({readable_bytes(gpu.memory_bytes)}, {'bf16' if gpu.has_bf16 else 'no bf16'})"
        for gpu in facts.gpus
    ]
    found = f"{len(facts.gpus)}: {_names(names)}"
    found += f", driver {driver.version}" if driver.version else ""
    if facts.visible is not None:
        found += f", CUDA_VISIBLE_DEVICES={facts.visible}"
    return Check("GPUs", OK, found)


def _names(names: Sequence[str]) -> str:
    """Each once, with how often."""
    return " + ".join(f"{names.count(each)} x {each}" for each in dict.fromkeys(names))


def _torch() -> TorchFacts:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        gpus = tuple(_gpu(torch.device("cuda", index)) for index in range(count))
    return TorchFacts(
        version=str(torch.__version__),
        cuda=torch.version.cuda,
        hip=torch.version.hip,
        gpus=gpus,
        warnings=tuple(str(each.message).splitlines()[0] for each in caught),
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def _gpu(device: torch.device) -> Gpu:
    properties = torch.cuda.get_device_properties(device)
    with torch.cuda.device(device):
        has_bf16 = pick_precision("auto", device) == "bf16"
    return Gpu(
        name=str(properties.name),
        memory_bytes=int(properties.total_memory),
        has_bf16=has_bf16,
        fault=_fault(device),
    )


def _fault(device: torch.device) -> str:
    """A build without code for this GPU says so at its first kernel only."""
    try:
        ones = torch.ones(64, 64, device=device)
        return "" if float((ones @ ones).sum()) == 64**3 else "it computes wrong results"
    except RuntimeError as error:
        return str(error).splitlines()[0]


def _driver() -> DriverFacts:
    try:
        answer = subprocess.run(
            ASK_DRIVER, capture_output=True, text=True, check=False, timeout=DRIVER_S
        )
    except FileNotFoundError:
        return DriverFacts()
    except subprocess.TimeoutExpired:
        return DriverFacts(fault=f"no answer within {DRIVER_S:g} s")
    return read_driver(answer.returncode, answer.stdout, answer.stderr)


def read_driver(status: int, written: str, complained: str) -> DriverFacts:
    """What nvidia-smi answered to `ASK_DRIVER`."""
    if status != 0:
        said = (written.strip() or complained.strip() or f"exit status {status}").splitlines()
        return DriverFacts(fault=said[0])
    rows = [line.split(", ") for line in written.splitlines() if line.count(", ") >= 2]
    return DriverFacts(
        gpus=tuple(f"{', '.join(name)} ({memory} MiB)" for *name, memory, _ in rows),
        version=rows[0][-1] if rows else "",
    )

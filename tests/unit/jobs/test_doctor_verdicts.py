"""Verdicts of the doctor on facts that are made up: small machines, broken GPUs, old packages."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import doctor_disk, doctor_machine, doctor_software
from jobs.doctor_catalog import catalog_url, judge_clock, judge_file, judge_look
from jobs.doctor_checks import OK, PROBLEM, WARNING, Check
from jobs.doctor_config import DoctorConfig
from jobs.doctor_devices import DriverFacts, Gpu, TorchFacts, judge_gpus, read_driver
from jobs.doctor_machine import HubFacts, MachineFacts, judge_hub, judge_machine
from jobs.doctor_ray import ray_checks
from jobs.doctor_software import Need, judge_extras, judge_packages, judge_python, wanted_extras
from jobs.doctor_store import judge_folder, judge_space
from pipeline.catalog_look import CatalogLook
from pipeline.catalog_schema import SchemaState

ROOT = Path(__file__).resolve().parents[3]
MACHINE = MachineFacts(
    cpus=64, cpus_allowed=64.0, memory_bytes=256 << 30, shared_bytes=64 << 30,
    open_files=65536, temporary="/tmp", temporary_free_bytes=100 << 30,
)  # fmt: skip
GPU = Gpu(name="A100", memory_bytes=80 << 30, has_bf16=True)
WITH_CUDA = TorchFacts(version="2.6.0", cuda="12.4", gpus=(GPU, GPU))
DRIVER = DriverFacts(gpus=("A100 (81920 MiB)",) * 2, version="570.1")
LOOK = CatalogLook(
    name="postgresql+psycopg://u:***@h/x", server="PostgreSQL 16.2",
    schema=SchemaState("0002", "0002", is_known=True), clock_ahead_s=0.01, answer_s=0.001,
)  # fmt: skip


def verdicts(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.verdict for check in checks if check.verdict != OK}


def test_a_large_machine_has_nothing_wrong():
    assert verdicts(judge_machine(MACHINE)) == {}


@pytest.mark.parametrize(
    ("small", "name", "word"),
    [
        ({"shared_bytes": 64 << 20}, "shared memory", "--shm-size"),
        ({"shared_bytes": None}, "shared memory", "--shm-size"),
        ({"cpus_allowed": 2.0}, "processors", "OMP_NUM_THREADS=2"),
        ({"cpus_allowed": 0.5}, "processors", "OMP_NUM_THREADS=1"),
        ({"memory_bytes": 2 << 30}, "memory", "--batch-size 1"),
        ({"open_files": 256}, "open files", "ulimit -n"),
        ({"temporary_free_bytes": 1 << 20}, "temporary files", "TMPDIR"),
    ],
)
def test_what_a_small_machine_lacks_is_a_warning_with_advice(small, name, word):
    checks = judge_machine(replace(MACHINE, **small))
    assert verdicts(checks) == {name: WARNING}
    assert word in next(check.advice for check in checks if check.name == name)


def test_quotas_of_both_kinds_of_control_groups():
    quotas = doctor_machine._quotas
    assert quotas({Path("a"): "200000 100000\n", Path("b"): "50000\n"}) == [2.0, 0.5]
    assert quotas({Path("a"): "max 100000\n", Path("b"): "-1\n"}) == []


def test_of_a_token_nothing_but_that_it_is_there():
    facts = HubFacts(cache="/c", can_write=True, free_bytes=1 << 40, offline=False, has_token=True)
    assert "a token is there" in judge_hub(facts).found
    assert judge_hub(facts).verdict == OK
    assert judge_hub(replace(facts, can_write=False)).verdict == WARNING
    assert judge_hub(replace(facts, can_write=False, offline=True)).verdict == OK


def test_gpus_that_torch_can_use():
    check = judge_gpus(WITH_CUDA, DRIVER)
    assert check.verdict == OK
    assert check.found == "2: 2 x A100 (85.9 GB, bf16), driver 570.1"
    assert judge_gpus(TorchFacts(version="2.6.0", cuda=None), DriverFacts()).verdict == OK


@pytest.mark.parametrize(
    ("facts", "driver", "verdict", "words"),
    [
        (TorchFacts(version="2.6.0+cpu", cuda=None), DRIVER, PROBLEM, "no CUDA"),
        (TorchFacts(version="2.6.0+cpu", cuda=None, visible="0"), DRIVER, PROBLEM, "no CUDA"),
        (replace(WITH_CUDA, gpus=(), warnings=("too old",)), DRIVER, PROBLEM, "too old"),
        (replace(WITH_CUDA, gpus=(GPU,)), DRIVER, PROBLEM, "sees 1 of 2"),
        (replace(WITH_CUDA, gpus=(GPU,), visible="0"), DRIVER, OK, "CUDA_VISIBLE_DEVICES=0"),
        (replace(WITH_CUDA, gpus=(), visible=""), DRIVER, WARNING, "unset CUDA_VISIBLE_DEVICES"),
        (WITH_CUDA, DriverFacts(fault="version mismatch"), PROBLEM, "version mismatch"),
        (replace(WITH_CUDA, gpus=(replace(GPU, fault="no kernel image"),)), DRIVER, PROBLEM,
         "no kernel image"),
    ],
)  # fmt: skip
def test_gpus_that_torch_cannot_use(facts, driver, verdict, words):
    check = judge_gpus(facts, driver)
    assert check.verdict == verdict
    assert words in f"{check.found} {check.advice}"


def test_what_nvidia_smi_writes():
    rows = "NVIDIA H200, 143771, 570.86.15\nNVIDIA H200, 143771, 570.86.15\n"
    facts = read_driver(0, rows, "")
    assert facts == DriverFacts(gpus=("NVIDIA H200 (143771 MiB)",) * 2, version="570.86.15")
    fault = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 5\n"
    assert read_driver(18, fault, "") == DriverFacts(fault=fault.splitlines()[0])
    assert read_driver(9, "", "").fault == "exit status 9"


def test_packages_that_are_old_or_missing():
    needs = [Need("torch", ">=2.6", "", "2.5.1"), Need("typer", ">=0.29", "", None)]
    check = judge_packages([*needs, Need("rich", ">=14", "", "14.0")])
    assert check.verdict == PROBLEM
    assert check.found == "torch 2.5.1 (needs >=2.6), typer missing (needs >=0.29)"
    assert check.advice == "pip install 'torch>=2.6' 'typer>=0.29'"
    assert judge_packages([Need("torch", ">=2.6", "", "2.7.0.dev1+cu128")]).verdict == OK
    assert judge_python("3.10.2", bounds=">=3.11", where="/v").verdict == PROBLEM


def test_an_extra_is_missed_only_where_it_is_needed():
    needs = [
        Need("s3fs", ">=2025.3", "s3", None),
        Need("onnx", ">=1.18", "export", None),
        Need("psycopg", ">=3.2", "postgres", "3.2.1"),
        Need("ruff", "", "dev", None),
    ]
    check = judge_extras(needs, wanted=[])
    assert (check.verdict, check.found) == (
        OK, "postgres here; missing: s3 (for a store on S3), export (for ONNX models)"
    )  # fmt: skip
    wanted = wanted_extras(DoctorConfig(store="s3://b/x", catalog="postgresql://h/x"))
    check = judge_extras(needs, wanted=wanted)
    assert check.verdict == PROBLEM
    assert check.advice == "pip install 'pseudo-label-factory[s3]'"
    old = judge_extras([Need("onnx", ">=1.18", "export", "1.2")], wanted=[])
    assert (old.verdict, old.advice) == (WARNING, "pip install 'onnx>=1.18'")


def test_every_extra_of_the_package_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"]) - {doctor_software.FOR_DEVELOPERS}
    assert set(doctor_software.EXTRAS) == extras


def test_what_is_installed_here_is_within_its_bounds():
    checks = doctor_software.software_checks(DoctorConfig())
    assert [check.name for check in checks] == ["Python", "packages", "extras", "code"]
    assert verdicts(checks) == {}


def test_kinds_of_file_systems():
    mounts = (
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        "2 1 0:5 / /mnt/team\\040data rw shared:1 - nfs4 host:/x rw\n"
        "3 1 8:2 / /mnt/team\\040data/local rw - xfs /dev/sdb rw\n"
        "4 1 8:3 / /over rw - ext4 /dev/sdc rw\n"
        "5 4 0:6 / /over rw - fuse.sshfs host: rw\n"
        "nonsense\n"
    )

    def kind(path: str) -> str:
        return doctor_disk.file_system_of(Path(path), mounts=mounts)

    assert kind("/home/a") == "ext4"
    assert kind("/mnt/team data/store") == "nfs4"
    assert kind("/mnt/team data/local/store") == "xfs"
    assert kind("/mnt/team database") == "ext4"
    assert kind("/over/it") == "fuse.sshfs"
    assert [doctor_disk.is_network(each) for each in ("ext4", "nfs4", "fuse.sshfs", "")] == [
        False, True, True, False,
    ]  # fmt: skip
    assert doctor_disk.file_system_of(Path("/x"), mounts="") == ""


def test_disks_that_are_full_or_far():
    assert judge_space(1 << 40, 1 << 20).verdict == OK
    assert judge_space(5 << 30, None).verdict == WARNING
    assert judge_space(1 << 20, None).verdict == PROBLEM
    assert judge_space(1 << 40, 3).verdict == PROBLEM
    assert judge_folder(Path("/s"), exists=False, kind="").verdict == WARNING
    assert "SQLite must not" in judge_folder(Path("/s"), exists=True, kind="nfs").found
    assert judge_file(Path("/s/c.sqlite"), kind="nfs4").verdict == PROBLEM
    assert judge_file(Path("/s/c.sqlite"), kind="ext4").verdict == OK


@pytest.mark.parametrize(
    ("changes", "name", "verdict"),
    [
        ({}, "", ""),
        ({"schema": SchemaState(None, "2", is_known=True)}, "", ""),
        ({"schema": SchemaState("1", "2", is_known=True)}, "catalog schema", WARNING),
        ({"schema": SchemaState("9", "2", is_known=False)}, "catalog schema", PROBLEM),
        ({"clock_ahead_s": -3600.0}, "catalog clock", WARNING),
        ({"cannot_write": "it is a replica"}, "catalog", PROBLEM),
        ({"is_busy": True}, "catalog", WARNING),
        ({"answer_s": 0.5}, "catalog", WARNING),
    ],
)
def test_catalogs_that_answer(changes, name, verdict):
    checks = judge_look(replace(LOOK, **changes), is_own_clock=False)
    assert verdicts(checks) == ({name: verdict} if name else {})
    assert len(judge_look(LOOK, is_own_clock=True)) == 2  # a file has no clock


def test_which_clock_is_wrong():
    assert "1 h 0 min behind" in judge_clock(-3600.0).found
    assert "2 min 0 s before" in judge_clock(120.0).found


def test_the_catalog_is_found_as_commands_find_it(tmp_path):
    assert catalog_url(DoctorConfig(store=str(tmp_path))) == f"sqlite:///{tmp_path}/catalog.sqlite"
    assert catalog_url(DoctorConfig(store="s3://b/x")) is None
    assert catalog_url(DoctorConfig(store="s3://b/x", catalog="sqlite:////c")) == "sqlite:////c"


def test_a_cluster_where_nobody_listens():
    checks = ray_checks(DoctorConfig(ray="127.0.0.1:1", start_ray=True))
    assert verdicts(checks) == {"Ray cluster": PROBLEM}
    assert len(checks) == 2  # nothing is started after that

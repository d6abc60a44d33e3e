"""`factory label` in which processes die at chosen steps of the protocol, each once.

The product has no hooks for this. A subclass of the engine, carried to the workers by value, wraps
the store's `put` there; the driver's calls of the catalog are wrapped here.

    with deadly([Plot("actor", "mid_write", folder)]):
        label(config)
"""

import errno
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import boto3

import jobs.label
from jobs.config import LabelConfig
from jobs.console import LineReporter
from jobs.label import label
from jobs.label_engine import LabelEngine
from jobs.owner import current_owner
from pipeline.catalog import Catalog
from pipeline.storage import Store
from tests.warm_workers import handed_on, warm_workers

WORKER_STEPS = ("before_write", "mid_write", "after_write")
DRIVER_STEPS = ("after_commit", "before_release")
STEPS = (*WORKER_STEPS, *DRIVER_STEPS)


class FullDiskError(Exception):
    """The disk is to be full for one object."""


@dataclass(frozen=True)
class Plot:
    """Who dies when; a marker file in ``folder`` makes sure that it happens ``times`` at most.

    Attributes:
        victim: ``actor``, ``driver`` or ``node``; ``store`` for a disk that is full.
        shard: The shard at whose step it happens; None for whichever comes there first.
        wait_s: Instead of killing, sleep that long there.
    """

    victim: str
    step: str
    folder: str
    shard: str | None = None
    times: int = 1
    driver_pid: int = 0
    wait_s: float = 0.0

    def strike(
        self, step: str, shard: str | None, *, first: Callable[[], object] = lambda: None
    ) -> None:
        """Do something and kill the victim if this is the moment."""
        if step != self.step or self.shard not in (None, shard) or not self._claim():
            return
        first()
        if self.wait_s:
            time.sleep(self.wait_s)
            return
        if self.victim == "store":
            raise FullDiskError
        victims = self._victims()
        self._note(f"{step} of {shard}: {self.victim} dies, processes {victims}")
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        if self.victim != "driver":  # whoever is to die does not go on for a moment longer
            time.sleep(60 if step in WORKER_STEPS else 0)

    def _note(self, what: str) -> None:
        """For whoever wonders afterwards why a test failed."""
        with (Path(self.folder) / "kills.log").open("a") as log:
            log.write(f"{time.time():.2f} in {os.getpid()}: {what}\n")

    def _claim(self) -> bool:
        for number in range(self.times):
            name = f"{self.victim}-{self.step}-{self.shard}-{number}"
            try:
                os.close(os.open(Path(self.folder) / name, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            return True
        return False

    def _victims(self) -> list[int]:
        if self.victim == "driver":
            return [self.driver_pid]
        if self.step in WORKER_STEPS:
            return [os.getpid()] if self.victim == "actor" else [raylet_pid(), os.getpid()]
        alive = [entry for entry in Path(self.folder).glob("actor:*") if _is_alive(entry)]
        if not alive:  # the one before has just died
            return []
        newest = max(alive, key=lambda entry: entry.stat().st_mtime_ns).name.split(":")
        return [int(newest[1])] if self.victim == "actor" else [int(newest[2]), int(newest[1])]


def raylet_pid() -> int:
    """Of the machine that this worker belongs to: its parent, unless it was forked elsewhere."""
    return int(os.environ.get("RAY_RAYLET_PID", os.getppid()))


def _is_alive(entry: Path) -> bool:
    try:
        os.kill(int(entry.name.split(":")[1]), 0)
    except ProcessLookupError:
        return False
    return True


def deadly_engine(plots: Sequence[Plot]) -> type[LabelEngine]:
    """An engine for actors; made in a function, so that it travels by value."""

    class DeadlyEngine(LabelEngine):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            for folder in {plot.folder for plot in plots}:
                (Path(folder) / f"actor:{os.getpid()}:{raylet_pid()}").touch()
            whole_put = Store.put

            def put(store: Store, key: str, data: bytes, *, exclusive: bool = False) -> None:
                shard = key.split("/")[2]
                full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                try:
                    for plot in plots:
                        plot.strike("before_write", shard)
                except FullDiskError:
                    with mock.patch.object(os, "fsync", side_effect=full):
                        whole_put(store, key, data, exclusive=exclusive)
                for plot in plots:
                    plot.strike("mid_write", shard, first=lambda: leave_half(store, key, data))
                whole_put(store, key, data, exclusive=exclusive)
                for plot in plots:
                    plot.strike("after_write", shard)

            Store.put = put  # type: ignore[method-assign]

    return DeadlyEngine


def leave_half(store: Store, key: str, data: bytes) -> None:
    """What a writer leaves that dies in the middle: half a scratch file, or half an upload."""
    if store.is_local:
        store.scratch_file().write_bytes(data[: len(data) // 2])
        return
    bucket, _, prefix = store.uri.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    upload = client.create_multipart_upload(Bucket=bucket, Key=f"{prefix}/{key}")
    client.upload_part(
        Bucket=bucket,
        Key=f"{prefix}/{key}",
        UploadId=upload["UploadId"],
        PartNumber=1,
        Body=bytes(data[: len(data) // 2]),
    )


@contextmanager
def deadly(plots: Sequence[Plot]) -> Iterator[None]:
    """Label commands of this process meet these plots."""
    commit, release = Catalog.commit_label_shard, Catalog.release_owner

    def deadly_commit(catalog: Catalog, lease: Any, manifest: Any) -> None:
        commit(catalog, lease, manifest)
        for plot in plots:
            plot.strike("after_commit", lease.shard.shard_id)

    def deadly_release(catalog: Catalog, label_set: str, owner: str) -> int:
        for plot in plots:
            if owner == current_owner():
                plot.strike("before_release", None)
        return release(catalog, label_set, owner)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(jobs.label, "LabelEngine", deadly_engine(plots)))
        stack.enter_context(mock.patch.object(Catalog, "commit_label_shard", deadly_commit))
        stack.enter_context(mock.patch.object(Catalog, "release_owner", deadly_release))
        yield


def one_death_each(victim: str, folder: Path, shards: Sequence[str]) -> list[Plot]:
    """A plot for every step, at eight or more shards of which two are under way at a time.

    Each at a pair of its own, so that no two deaths are one, and the last for what the driver does:
    another death beside a shard that has had two would make it one that kills three.
    """
    where = dict(zip(WORKER_STEPS, shards[::2], strict=False)) | {"after_commit": shards[-1]}
    return [Plot(victim, step, str(folder), shard=where.get(step)) for step in STEPS]


def carry_by_value() -> None:
    """Let workers have this module's code without its file."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def start_driver(
    config: dict[str, Any],
    plots: Sequence[dict[str, Any]],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """A driver in a process of its own; `summary_of` and `said_by` read what it leaves in a folder.

    Forked from one that has imported everything: that takes longer than the labelling here.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.deadly_label", "model.depth_model"])
    told = handed_on() | dict(environment or {})
    process = context.Process(target=_drive, args=(config, list(plots), folder, told))
    process.start()
    return process


def summary_of(process: BaseProcess, folder: Path) -> dict[str, Any]:
    """What a driver that ended well had to say."""
    return dict(json.loads((folder / f"summary-{process.pid}").read_text()))


def said_by(process: BaseProcess, folder: Path) -> str:
    """The lines a driver wrote for people."""
    return (folder / f"said-{process.pid}").read_text()


def _drive(
    config: dict[str, Any],
    plots: list[dict[str, Any]],
    folder: Path,
    environment: Mapping[str, str],
) -> None:
    os.environ.update(environment)
    carry_by_value()
    ready = {"folder": str(folder), "driver_pid": os.getpid()}
    with (folder / f"said-{os.getpid()}").open("w", buffering=1) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        with warm_workers(), deadly([Plot(**ready | plot) for plot in plots]):
            summary = label(LabelConfig(**config), reporter=LineReporter(said))
    (folder / f"summary-{os.getpid()}").write_text(json.dumps(summary))

"""Runs to be watched, each in a process of its own on one Ray: what they do is known beforehand.

``started(name, …)`` begins one of `RUNS`. The Ray is another process (`ray_head`): it reports more
often than every ten seconds, and has a dashboard, without which it does not say where its metrics
are.
"""

import json
import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

from jobs import training_ray
from jobs.config import IngestConfig, LabelConfig
from jobs.evaluate import evaluate
from jobs.evaluate_config import EvaluateConfig
from jobs.ingest import ingest
from jobs.label import label
from jobs.ray_runtime import OBJECT_STORE_BYTES, Resources
from jobs.train_teacher import train_teacher
from jobs.training_config import TrainTeacherConfig
from model.training_step import TrainingStep
from tests.deadly_label import Plot, carry_by_value, deadly
from tests.factories import png
from tests.warm_workers import handed_on, warm_workers

ROOT = Path(__file__).resolve().parents[1]
GOOD, BAD, NONE, SHARD_IMAGES = 20, 120, 3, 10
REPORT_MS = 4000  # a gauge is forgotten after two, and drivers set theirs every five seconds

RAY_HEAD = f"""
import json, sys
import ray
from tests.warm_workers import warm_workers

with warm_workers():
    context = ray.init(
        address="local", num_cpus=4, include_dashboard=True, log_to_driver=False,
        logging_level="ERROR", object_store_memory={OBJECT_STORE_BYTES},
        _system_config={{"metrics_report_interval_ms": {REPORT_MS}}},
    )
    facts = context.address_info | {{"dashboard": context.dashboard_url}}
    print(json.dumps(facts, default=str), flush=True)
    sys.stdin.read()
    ray.shutdown()
"""


@contextmanager
def ray_head() -> Iterator[dict[str, str]]:
    """A Ray of its own; its addresses and the folder of its session."""
    process = subprocess.Popen(
        [sys.executable, "-c", RAY_HEAD],
        cwd=ROOT,
        env=os.environ
        | handed_on()
        | {"PYTHONPATH": str(ROOT), "RAY_metrics_report_interval_ms": str(REPORT_MS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=30)


@dataclass(frozen=True)
class Place:
    """Where all runs find what they work with."""

    folder: Path
    ray: str

    @property
    def options(self) -> dict[str, Any]:
        return {"store": str(self.folder / "store"), "ray": self.ray}

    @property
    def teacher(self) -> str:
        return str(self.folder / "teacher")

    def labelling(self, label_set: str, source: str) -> LabelConfig:
        return LabelConfig(
            sources=(source,),
            teacher=self.teacher,
            label_set=label_set,
            actors=1,
            cpus_per_actor=1.0,
            **self.options,
        )


def make_pictures(folder: Path) -> Path:
    """Images of which most have garbage in their middle, and some that are none."""
    folder.mkdir()
    for number in range(GOOD + BAD):
        data = png(number)
        if number >= GOOD:
            middle = len(data) // 2
            data = data[:middle] + bytes(64) + data[middle + 64 :]
        (folder / f"{number:04d}.png").write_bytes(data)
    for number in range(NONE):
        (folder / f"none-{number}.png").write_bytes(b"no image")
    return folder


def whole_line(place: Place) -> None:
    """Ingest, label and evaluate; most images of the label set are quarantined."""
    carry_by_value()
    ingest(
        IngestConfig(
            uri=str(make_pictures(place.folder / "damaged")),
            source="damaged",
            shard_images=SHARD_IMAGES,
            actors=1,
            **place.options,
        )
    )
    slowly = Plot("", "before_write", str(place.folder), times=100, wait_s=2.0)
    with deadly([slowly]):
        label(place.labelling("quarantined", "damaged"))
    evaluate(
        EvaluateConfig(
            models=(place.teacher,),
            benchmark=("relative@1=judged",),
            batch_size=4,
            actors=1,
            cpus_per_actor=1.0,
            **place.options,
        )
    )


def label_in_trouble(place: Place) -> None:
    """Three actors die, and the next one never comes to an end."""
    carry_by_value()
    kills = place.folder / "kills"
    kills.mkdir()
    plots = [
        Plot("actor", "before_write", str(kills), times=3),
        Plot("", "before_write", str(kills), times=100, wait_s=600.0),
    ]
    with deadly(plots):
        label(place.labelling("troubled", "rendered"))


def train_until_it_breaks(place: Place) -> None:
    """A step a second, with a score after the third; after the eighth the loss is not a number."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    config = TrainTeacherConfig(
        labelled=("rendered",),
        name="broken",
        encoder="scratch:tiny",
        size=28,
        batch_size=4,
        steps=20,
        checkpoint_steps=3,
        validation=("judged",),
        device="cpu",
        **place.options,
    )
    with (
        mock.patch.object(training_ray, "_train_in_worker", breaking_worker()),
        # it takes all CPUs of a machine, and others are at work on this one
        mock.patch.object(Resources, "cpus_each", return_value=1),
    ):
        train_teacher(config)


def breaking_worker() -> Any:
    """The worker's function, made in a function so that it travels by value."""

    def train_in_worker(loop_config: dict[str, Any]) -> None:
        whole_step = TrainingStep.__call__

        def step_function(self: Any, labelled: Any, pseudo: Any, *, step: int) -> Any:
            losses = whole_step(self, labelled, pseudo, step=step)
            time.sleep(1.0)
            return replace(losses, total=losses.total * math.nan) if step > 8 else losses

        with mock.patch.object(TrainingStep, "__call__", step_function):
            real_worker(loop_config)

    real_worker = training_ray._train_in_worker
    return train_in_worker


RUNS = {run.__name__: run for run in (whole_line, label_in_trouble, train_until_it_breaks)}


def started(name: str, place: Place) -> BaseProcess:
    """One of `RUNS`, begun; forked from a process that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.monitored_runs", "model.depth_model"])
    process = context.Process(target=_run, args=(name, place, handed_on()))
    process.start()
    return process


def said_by(name: str, place: Place) -> str:
    """What a run wrote, for whoever wonders why it failed."""
    return (place.folder / f"said-{name}").read_text()


def _run(name: str, place: Place, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    with (place.folder / f"said-{name}").open("w", buffering=1) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        with warm_workers():
            RUNS[name](place)

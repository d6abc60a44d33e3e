"""Training in which processes die at chosen steps, each once; see `tests.deadly_label.Plot`.

The product has no hooks for this. What Ray Train runs in a worker is replaced by a function that is
carried there by value, and wraps the training step and the writing of checkpoints in that process.

    with deadly([Plot("actor", "mid_write", folder, shard="checkpoint 4")]):
        train_teacher(config)
"""

import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

from jobs import training_owner, training_ray
from jobs.console import LineReporter
from jobs.run_checkpoints import Checkpoints
from jobs.run_files import RunFiles
from jobs.train_teacher import train_teacher
from jobs.training_config import TrainTeacherConfig
from model.training_step import TrainingStep
from pipeline.storage import Store
from tests import deadly_label
from tests.deadly_label import Plot, leave_half
from tests.warm_workers import handed_on, warm_workers


def deadly_worker(plots: Sequence[Plot]) -> Any:
    """The worker's function, made in a function so that it travels by value."""

    def train_in_worker(loop_config: dict[str, Any]) -> None:
        step_up_to_losses, write, put_file = (
            TrainingStep.__call__,
            Checkpoints.write,
            Store.put_file,
        )

        def step_function(self: Any, labelled: Any, pseudo: Any, *, step: int) -> Any:
            for plot in plots:
                plot.strike("before_write", f"step {step}")
            return step_up_to_losses(self, labelled, pseudo, step=step)

        def write_checkpoint(self: Any, step: int, state: Any, **options: Any) -> Any:
            for plot in plots:
                plot.strike("before_write", f"checkpoint {step}")

            def put(store: Store, path: Path, key: str, **how: Any) -> None:
                half = partial(leave_half, store, key, path.read_bytes())
                for plot in plots:
                    plot.strike("mid_write", f"checkpoint {step}", first=half)
                put_file(store, path, key, **how)
                for plot in plots:
                    plot.strike("after_write", f"object {step}")

            with mock.patch.object(Store, "put_file", put):
                entry = write(self, step, state, **options)
            for plot in plots:
                plot.strike("after_write", f"checkpoint {step}")
            return entry

        with (
            mock.patch.object(TrainingStep, "__call__", step_function),
            mock.patch.object(Checkpoints, "write", write_checkpoint),
        ):
            real_worker(loop_config)

    real_worker = training_ray._train_in_worker
    return train_in_worker


@contextmanager
def deadly(plots: Sequence[Plot]) -> Iterator[None]:
    """Training commands of this process meet these plots."""
    carry_by_value()
    with mock.patch.object(training_ray, "_train_in_worker", deadly_worker(plots)):
        yield


def carry_by_value() -> None:
    """Let workers have the code of these modules without their files."""
    from ray import cloudpickle

    for module in (deadly_label, sys.modules[__name__]):
        cloudpickle.register_pickle_by_value(module)


def start_driver(
    config: Mapping[str, Any],
    plots: Sequence[Mapping[str, Any]],
    *,
    folder: Path,
    heartbeat_s: float = 15.0,
) -> BaseProcess:
    """``train-teacher`` in a process of its own; `ended` reads what it leaves in a folder."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.deadly_training"])
    arguments = (dict(config), list(plots), folder, heartbeat_s, handed_on())
    process = context.Process(target=_drive, args=arguments)
    process.start()
    return process


def ended(process: BaseProcess, folder: Path) -> dict[str, Any]:
    """The summary of a driver, or the class and text of its error."""
    return dict(json.loads((folder / f"ended-{process.pid}").read_text()))


def _drive(
    config: dict[str, Any],
    plots: list[dict[str, Any]],
    folder: Path,
    heartbeat_s: float,
    environment: dict[str, str],
) -> None:
    os.environ.update(environment)
    training_owner.HEARTBEAT_S = heartbeat_s
    ready: dict[str, Any] = {"folder": str(folder), "driver_pid": os.getpid()}
    with (folder / f"said-{os.getpid()}").open("w", buffering=1) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        try:
            with warm_workers(), deadly([Plot(**ready | plot) for plot in plots]):
                end = train_teacher(TrainTeacherConfig(**config), reporter=LineReporter(said))
        except Exception as error:
            end = {"kind": type(error).__name__, "error": str(error)}
    (folder / f"ended-{os.getpid()}").write_text(json.dumps(end))


def losses(files: RunFiles) -> list[tuple[int, float]]:
    """Every row of a run's metrics, as it stands there."""
    return [(row["step"], row["loss"]) for row in files.metrics()]

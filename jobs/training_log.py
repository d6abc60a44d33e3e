"""Where the numbers and pictures of a training run go while it trains.

JSON lines and TensorBoard always; W&B and MLflow when asked (`jobs.training_trackers`). Objects
cannot be appended to, and one that is rewritten at every checkpoint costs bytes that grow with the
square of the steps. So both are put in parts, one per checkpoint, named after their last step:
``metrics/000000500.jsonl`` and ``tensorboard/events.out.tfevents.000000500``. TensorBoard reads
such files of a folder one after another, by name.

Parts are put *before* their checkpoint. A run that goes on from a checkpoint forgets the parts
after it and writes them again, so that no step is ever there twice.
"""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from jobs.run_files import RunFiles

EVENTS = "tensorboard/events.out.tfevents."


class TrainingLog(Protocol):
    """One place that follows a run. Steps only grow; one step may be given in several calls."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers after so many steps; a name without ``/`` is of the training itself."""

    def image(self, step: int, name: str, picture_HWC: NDArray[np.uint8]) -> None:
        """A picture, RGB, after so many steps."""

    def flush(self) -> None:
        """Bring everything so far to where it lasts."""

    def close(self, *, failed: bool = False) -> None:
        """The same, and say how it ended."""


@dataclass(slots=True)
class MetricLines:
    """One JSON object per step, in parts in the run's folder."""

    files: RunFiles
    _rows: list[dict[str, Any]] = field(default_factory=list)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add to the line of this step."""
        if not self._rows or self._rows[-1]["step"] != step:
            self._rows.append({"step": step})
        self._rows[-1].update(metrics)

    def image(self, step: int, name: str, picture_HWC: NDArray[np.uint8]) -> None:
        """Lines hold no pictures."""

    def flush(self) -> None:
        """Put a part, if there is anything to put."""
        if self._rows:
            self.files.write_metrics(self._rows)
            self._rows = []

    def close(self, *, failed: bool = False) -> None:
        """Put the rest: the lines before a failure are the ones to look at."""
        self.flush()


class TensorBoardLog:
    """Event files, written on this machine and put in parts in the run's folder."""

    def __init__(self, files: RunFiles) -> None:
        self._files = files
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._writer: SummaryWriter | None = None
        self._step = 0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One scalar each, the training's own under ``training/``."""
        for name, value in metrics.items():
            self._at(step).add_scalar(titled(name), value, step)

    def image(self, step: int, name: str, picture_HWC: NDArray[np.uint8]) -> None:
        """Among the images of that step."""
        self._at(step).add_image(name, picture_HWC, step, dataformats="HWC")

    def flush(self) -> None:
        """Put a part, if there is anything to put; the next one is a new file."""
        if self._writer is None or self._folder is None:
            return
        self._writer.close()
        for path in Path(self._folder.name).iterdir():
            self._files.store.put(self._files.key(f"{EVENTS}{self._step:09d}"), path.read_bytes())
        self._folder.cleanup()
        self._writer = self._folder = None

    def close(self, *, failed: bool = False) -> None:
        """Put the rest."""
        self.flush()

    def _at(self, step: int) -> SummaryWriter:
        self._step = step
        if self._writer is None:
            self._folder = tempfile.TemporaryDirectory(prefix="factory-events-")
            self._writer = SummaryWriter(log_dir=self._folder.name)
        return self._writer


@dataclass(frozen=True, slots=True)
class Logs:
    """Several logs as one."""

    logs: Sequence[TrainingLog]

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """To all of them."""
        for each in self.logs:
            each.log(step, metrics)

    def image(self, step: int, name: str, picture_HWC: NDArray[np.uint8]) -> None:
        """To all of them."""
        for each in self.logs:
            each.image(step, name, picture_HWC)

    def flush(self) -> None:
        """All of them."""
        for each in self.logs:
            each.flush()

    def close(self, *, failed: bool = False) -> None:
        """All of them, also where one cannot."""
        with ExitStack() as stack:
            for each in self.logs:
                stack.callback(each.close, failed=failed)


def titled(name: str) -> str:
    """A metric's name among those of other kinds: ``loss`` is ``training/loss``."""
    return name if "/" in name else f"training/{name}"


def forget_after(files: RunFiles, step: int) -> None:
    """Delete what an earlier attempt logged after a step that is being gone on from."""
    files.forget_metrics_after(step)
    start = files.key(EVENTS)
    for key in list(files.store.list(files.key("tensorboard"))):
        if key.startswith(start) and int(key.removeprefix(start)) > step:
            files.store.delete(key)

"""`factory train-teacher`: a supervised model on labelled sources."""

from typing import Any

from jobs.console import Reporter
from jobs.train import train
from jobs.training_config import TrainTeacherConfig


def train_teacher(
    config: TrainTeacherConfig, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Train a teacher; see `TrainTeacherConfig` for the options."""
    return train(config, "teacher", reporter=reporter)

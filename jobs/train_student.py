"""`factory train-student`: a model that learns from ground truth and pseudo-labels together."""

from typing import Any

from jobs.console import Reporter
from jobs.pseudo_labels import label_filter
from jobs.train import train
from jobs.training_config import TrainStudentConfig


def train_student(
    config: TrainStudentConfig, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Train a student; see `TrainStudentConfig` for the options."""
    return train(
        config,
        "student",
        pseudo=config.pseudo,
        label_filter=label_filter(config),
        reporter=reporter,
    )

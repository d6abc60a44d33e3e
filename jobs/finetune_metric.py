"""`factory finetune-metric`: a relative model becomes one that predicts metres."""

from typing import Any

from jobs.console import Reporter
from jobs.train import train
from jobs.training_config import FinetuneMetricConfig


def finetune_metric(
    config: FinetuneMetricConfig, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Fine-tune a metric model; see `FinetuneMetricConfig` for the options."""
    return train(config, "metric", reporter=reporter)

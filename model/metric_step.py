"""One step of metric fine-tuning up to its loss. B images, H rows, W columns."""

import torch
from torch import nn

from model.batches import Batch, normalise
from model.devices import PRECISIONS
from model.metric_depth import silog_loss
from model.metric_recipe import MetricRecipe
from model.training_step import StepLosses


class MetricStep:
    """The forward half of a step: predict, compare. Nothing in it is random.

    Args:
        network: A metric one as `TrainableDepth`: its map is depth in metres, for that is what its
            last layer says. May be wrapped for distributed training.
        precision: Of the forward pass, ``fp32`` or ``bf16`` (autocast). The loss is always fp32.

    Raises:
        ValueError: For another precision.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        recipe: MetricRecipe,
        device: torch.device | str = "cpu",
        precision: str = "fp32",
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
        self.network = network
        self.recipe = recipe
        self.device = torch.device(device)
        self.precision = precision

    def __call__(self, labelled: Batch | None, pseudo: Batch | None, *, step: int) -> StepLosses:
        """The loss of a step on images whose targets are metres.

        Raises:
            ValueError: Without labelled images, or with pseudo-labelled ones, which say no metres.
        """
        if labelled is None or pseudo is not None:
            raise ValueError("metric fine-tuning takes labelled images, and those only")
        labelled = labelled.to(self.device)
        enabled = self.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled):
            depth_BHW = self.network(normalise(labelled.images_B3HW)).map_BHW
        truth_BHW = labelled.target_BHW
        mask_BHW = labelled.valid_BHW & (truth_BHW >= self.recipe.minimum_depth)
        loss = silog_loss(
            depth_BHW,
            truth_BHW,
            mask_BHW & (truth_BHW <= self.recipe.max_depth),
            mean_weight=self.recipe.silog_mean_weight,
        )
        seen = depth_BHW.detach().float()
        return StepLosses(
            total=loss,
            labelled=loss,
            pseudo=None,
            feature=None,
            kept_share=None,
            prediction_mean=seen.mean(),
            prediction_std=seen.std(correction=0),
            prediction_maximum=seen.max(),
        )

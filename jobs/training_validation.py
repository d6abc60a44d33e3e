"""How good a model is while it trains, on images that it does not learn from.

A relative model is scored by the affine-invariant loss that it is trained with, and by AbsRel in
disparity after alignment (`model.evaluation`); the loss picks the best checkpoint, for every kind
of truth has one and a few far pixels do not decide it. A metric model is scored by AbsRel in depth,
in metres as they are, which picks its best checkpoint.

These are means over a few squares of the training size: they say whether a run gets better, and are
no substitute for `factory evaluate`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from jobs.training_examples import Example
from model.batches import Sample, collate, normalise, to_target
from model.evaluation import evaluate_image
from model.losses import affine_invariant_loss
from model.metric_depth import to_metres
from model.metrics import abs_rel
from model.protocols import protocol

IMAGES_AT_ONCE = 4
PROTOCOL = "relative@1"

Predict = Callable[[Sequence[NDArray[np.uint8]]], list[NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class Score:
    """What was measured on one image; None where its truth cannot tell."""

    loss: float | None
    abs_rel: float | None


def predictor(network: nn.Module, *, device: str, precision: str) -> Predict:
    """From images of one size, uint8 H x W x 3, to what the network says of them, float32 H x W.

    The network comes back as it was; what is random in training is not touched.
    """

    def predict(images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = []
        enabled = precision == "bf16"
        with _evaluating(network), torch.no_grad():
            for start in range(0, len(images), IMAGES_AT_ONCE):
                stacked = np.stack(images[start : start + IMAGES_AT_ONCE])
                pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2).to(device)
                with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=enabled):
                    maps = network(pixel_values=normalise(pixels)).predicted_depth
                found.extend(maps.float().cpu().numpy())
        return found

    return predict


def score_all(
    predict: Predict, chosen: Sequence[Example], *, minimum_valid: int, metric: bool = False
) -> list[Score]:
    """The scores of some examples, in order."""
    scores = []
    for start in range(0, len(chosen), IMAGES_AT_ONCE):  # no more maps in memory than that
        some = chosen[start : start + IMAGES_AT_ONCE]
        predictions = predict([example.image_HWC for example in some])
        for example, prediction_HW in zip(some, predictions, strict=True):
            if metric:
                scores.append(_metric_score(example, prediction_HW))
            else:
                scores.append(_relative_score(example, prediction_HW, minimum_valid=minimum_valid))
    return scores


def summary(scores: Sequence[Score]) -> dict[str, float]:
    """Means over the images that have the number, under the names they are logged by."""
    means = {
        "validation/loss": _mean([score.loss for score in scores]),
        "validation/abs_rel": _mean([score.abs_rel for score in scores]),
    }
    return {name: value for name, value in means.items() if value is not None}


def deciding(means: Mapping[str, float]) -> float | None:
    """The number that picks the best checkpoint, lower is better; None where there is none."""
    return means.get("validation/loss", means.get("validation/abs_rel"))


def _relative_score(
    example: Example, prediction_HW: NDArray[np.float32], *, minimum_valid: int
) -> Score:
    target = to_target(example.values_HW, example.geometry)
    batch = collate([Sample(example.image_HWC, target)])
    loss = affine_invariant_loss(
        torch.from_numpy(prediction_HW)[None],
        batch.target_BHW,
        batch.valid_BHW,
        minimum_valid=minimum_valid,
    )
    rules = protocol(PROTOCOL)
    evaluated = evaluate_image(
        prediction_HW,
        example.values_HW,
        geometry="disparity_affine_invariant",
        truth_geometry=example.geometry,
        protocol=rules,
    )
    disparity = evaluated.metrics.get("disparity", {})
    value = float(loss.mean()) if bool(loss.counted_B.all()) else None
    return Score(value, disparity.get("abs_rel"))


def _metric_score(example: Example, prediction_HW: NDArray[np.float32]) -> Score:
    metres_HW = to_metres(example.values_HW, example.geometry)
    valid = np.isfinite(metres_HW)
    predicted = prediction_HW[valid]
    if not valid.any() or not np.isfinite(predicted).all() or predicted.min() <= 0:
        return Score(None, None)
    return Score(None, abs_rel(predicted, metres_HW[valid]))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    before = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(before)

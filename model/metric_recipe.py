"""The recipe of metric fine-tuning: what it adds to the other recipes, its values, their origins.

The original is ``metric_depth`` of DepthAnything/Depth-Anything-V2 @2cbc36a: ``train.py``, and
``dist_train.sh``, which starts it as its authors did. Of the other recipes' values only those in
`ORIGINS` play a part: no perturbations, no normalised disparity.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

from model.recipe_values import Recipe

TakenOver = Literal["encoder", "decoder"]
TAKEN_OVER: tuple[str, ...] = get_args(TakenOver)

_TRAIN = "author (V2 metric_depth/train.py)"
_LAUNCH = "author (V2 metric_depth/dist_train.sh)"


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricRecipe(Recipe):
    """Every number of a metric fine-tuning.

    Raises:
        ValueError: Naming every field whose value makes no sense.
    """

    max_depth: int = dataclasses.field(
        default=20,
        metadata={
            "help": "What the sigmoid is multiplied by; farther truth is left out of the loss, "
            "metres. transformers takes a whole number.",
            "origin": f"{_LAUNCH}: 20 for Hypersim, indoors; 80 for Virtual KITTI, outdoors",
            "at_least": 1,
        },
    )
    taken_over: TakenOver = dataclasses.field(
        default="decoder",
        metadata={
            "help": "What is kept of the relative model: its encoder, or its decoder too, all but "
            "the last layer.",
            "origin": "choice: train.py keeps the encoder alone; a decoder learnt from millions "
            "of labels should not have to be learnt again from a few thousand images",
        },
    )
    minimum_depth: float = dataclasses.field(
        default=0.001,
        metadata={
            "help": "Nearer truth is left out of the loss, metres.",
            "origin": _TRAIN,
            "above": 0,
        },
    )
    silog_mean_weight: float = dataclasses.field(
        default=0.5,
        metadata={
            "help": "Share of the squared mean error that the loss forgives.",
            "origin": "author (V2 metric_depth/util/loss.py)",
            "at_least": 0,
            "at_most": 1,
        },
    )

    def __post_init__(self) -> None:
        """Refuse values that make no sense, and changes that would change nothing."""
        Recipe.__post_init__(self)
        idle = [
            field.name
            for field in dataclasses.fields(self)
            if field.name not in ("name", *ORIGINS) and getattr(self, field.name) != field.default
        ]
        if idle:
            raise ValueError(f"recipe: plays no part in metric fine-tuning: {', '.join(idle)}")


ORIGINS = {
    "size": _TRAIN,
    "flip_probability": f"{_TRAIN}, where it flips whole batches",
    "batch_size": f"{_LAUNCH}: 4 on each of 8 GPUs",
    "passes": f"{_LAUNCH}; 40 by default in train.py",
    "steps": f"{_TRAIN} counts passes",
    "learning_rate": _TRAIN,
    "head_learning_rate_ratio": _TRAIN,
    "warmup_steps": f"{_TRAIN} has none",
    "final_learning_rate_ratio": _TRAIN,
    "decay_power": _TRAIN,
    "weight_decay": _TRAIN,
    "beta1": _TRAIN,
    "beta2": _TRAIN,
    "clip_norm": "choice: train.py does not clip; one bad batch must not undo an encoder",
    **{
        field.name: field.metadata["origin"]
        for field in dataclasses.fields(MetricRecipe)
        if field.name in ("max_depth", "taken_over", "minimum_depth", "silog_mean_weight")
    },
}


V2_METRIC = MetricRecipe(
    name="v2-metric", batch_size=32, passes=120.0, decay_power=0.9, weight_decay=0.01
)

_HEAD = """
## Metric fine-tuning

The values of `finetune-metric`, from `metric_depth` of DepthAnything/Depth-Anything-V2 @2cbc36a,
which does have training code. What is not in this table plays no part in it. Made from
`model/metric_recipe.py`.

"""

_CHOICES = (
    (
        "Loss",
        "SiLog over the valid pixels of a forward pass together, not per image: what is forgiven "
        "is common to the batch.",
        "author (V2 metric_depth/util/loss.py)",
    ),
    (
        "Last layer",
        "Sigmoid × `max_depth`. With `taken_over` `decoder` its weights are 0 at first, so that "
        "maps begin at half of it: a relative head feeds its last layer at any scale, and a "
        "sigmoid far from 0 has no gradient. With `encoder` the head is torch's initialisation.",
        "choice; `encoder` is author (V2 metric_depth/train.py)",
    ),
    (
        "Targets",
        "Metres as they are; crop and flip as for every training, no perturbations.",
        "author (V2 metric_depth/train.py)",
    ),
)


def metric_section() -> str:
    """The recipe as a section of the documentation."""
    fields = {field.name: field for field in dataclasses.fields(MetricRecipe)}
    lines = ["| name | value | what it is | origin |", "|---|--:|---|---|"]
    for name, origin in ORIGINS.items():
        value = getattr(V2_METRIC, name)
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        lines.append(f"| `{name}` | {shown} | {fields[name].metadata['help']} | {origin} |")
    lines += ["", "| what | how it is here | origin |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in _CHOICES]
    return _HEAD + "\n".join(lines) + "\n"

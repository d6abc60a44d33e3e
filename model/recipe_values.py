"""What a training recipe is: every number of a run, its meaning, its range and where it comes from.

The papers leave much unsaid. A reader who compares our student with theirs must see at once which
values are theirs and which are ours, so each field carries the origin of its ``v1`` value:

- ``paper (§…)``: printed in Depth Anything (arXiv:2401.10891), ``paper (V2 §…)`` in Depth Anything
  V2 (arXiv:2406.09414);
- ``author (…)``: said by their first author in the thread named, V1 being LiheYoung/Depth-Anything
  and V2 DepthAnything/Depth-Anything-V2;
- ``code (…)``: read in the inference code of those repositories;
- ``choice: …``: unstated anywhere; ours, with the reason.

`model.recipes` has the presets and the origins of what they change.
"""

import dataclasses
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

_COMPARISONS = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
}
# Of the crop's side; of longer boxes one draw in thousands lies within the crop.
_LONGEST_BOX = 0.9
_DEFAULT = "choice: unstated; AdamW's own default"
_UNIMATCH = "choice: unstated; UniMatch's value"


def _value(default: Any, help: str, origin: str, **limits: Any) -> Any:
    """A field with its ``v1`` value, one line of help and its origin.

    ``student`` marks what a teacher, who has no pseudo-labels, does not use. Limits are
    ``at_least``, ``above``, ``at_most`` and ``below``.
    """
    return dataclasses.field(default=default, metadata={"help": help, "origin": origin, **limits})


def _chance(default: float, help: str, origin: str, *, student: bool = True) -> Any:
    return _value(default, help, origin, student=student, at_least=0, at_most=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Every number of a training run; the defaults are the ``v1`` preset of a student.

    Raises:
        ValueError: Naming every field whose value makes no sense.
    """

    name: str = _value("v1", "Preset these values started from.", "choice: our name for it")

    head_blocks: Literal["v1", "v2"] = _value(
        "v1",
        "Encoder blocks that feed the head: v1 the last four, v2 four spread over all.",
        "code (V1 dpt.py)",
    )
    size: int = _value(518, "Side of the square training crop, pixels.", "paper (§6)", at_least=1)
    flip_probability: float = _chance(
        0.5,
        "Chance of a horizontal flip.",
        "choice: paper §4.1 flips labelled images without saying how often; "
        "pseudo-labelled ones are flipped alike",
        student=False,
    )
    pseudo_only: bool = _value(
        False, "Learn from pseudo-labels alone, refuse labelled images.", "paper (§3.2)",
        student=True,
    )  # fmt: skip
    pseudo_per_labelled: float = _value(
        2.0,
        "Pseudo-labelled images per labelled image in a batch.",
        "paper (§4.1)",
        student=True,
        above=0,
    )
    batch_size: int = _value(
        192,
        "Images per optimiser step, on all workers together.",
        "choice: unstated; that of the v2 student",
        at_least=1,
    )
    passes: float = _value(
        1.0,
        "Passes of a teacher over its labelled images, of a student over its pseudo-labelled ones.",
        "paper (§4.1)",
        above=0,
    )
    steps: int = _value(
        0,
        "Optimiser steps; 0: as many as the passes take.",
        "paper (§4.1) counts passes",
        at_least=0,
    )

    learning_rate: float = _value(
        5e-6, "Of the encoder, at the first step.", "paper (§4.1)", above=0
    )
    head_learning_rate_ratio: float = _value(
        10.0, "Learning rate of the head over that of the encoder.", "paper (§4.1)", above=0
    )
    warmup_steps: int = _value(0, "Steps of linear warm-up.", "choice: unstated", at_least=0)
    final_learning_rate_ratio: float = _value(
        0.0,
        "Learning rate after the last step over that of the first.",
        "choice: paper §4.1 says linear, not to where; to zero",
        at_least=0,
    )
    decay_power: float = _value(
        1.0,
        "The learning rate falls with (1 - progress) to this power; 1 is linear.",
        "paper (§4.1)",
        above=0,
    )
    weight_decay: float = _value(0.01, "Of AdamW, on every parameter.", _DEFAULT, at_least=0)
    beta1: float = _value(0.9, "Decay of AdamW's first moment.", _DEFAULT, at_least=0, below=1)
    beta2: float = _value(0.999, "Decay of AdamW's second moment.", _DEFAULT, at_least=0, below=1)
    clip_norm: float = _value(
        1.0,
        "Largest norm of the gradient of all parameters.",
        "choice: unstated; guards an encoder whose learning rate is tiny against one bad batch",
        above=0,
    )

    minimum_valid_pixels: int = _value(
        10,
        "A map, or a CutMix region, with fewer valid pixels is left out of the loss.",
        "choice: unstated; with a pixel or two, median and spread say nothing",
        at_least=1,
    )
    minimum_spread: float = _value(
        0.001,
        "A pseudo-labelled map, or a CutMix region, that deviates less from its median, on average "
        "and in shares of the map's range, is left out of the loss.",
        "choice: unstated; of a box in the sky, normalised, only the rounding of labels is left, "
        "and its gradient grows without limit as predictions flatten",
        student=True,
        at_least=0,
        below=1,
    )
    gradient_matching_weight: float = _value(
        0.0,
        "Weight of the gradient matching loss beside the affine-invariant one, whose weight is 1.",
        "paper (§3.1): no such loss",
        at_least=0,
    )
    gradient_matching_scales: int = _value(
        4,
        "Scales of the gradient matching loss: every pixel, every 2nd, every 4th …",
        "choice: MiDaS's (arXiv:1907.01341, §5), to whose code the author points (V2#137)",
        at_least=1,
        at_most=16,
    )
    trimmed_share: float = _value(
        0.0,
        "Share of a pseudo-labelled map whose loss is largest, and left out.",
        "choice: V2's paper says V1 did so too, V1's does not",
        student=True,
        at_least=0,
        below=1,
    )
    feature_weight: float = _value(
        1.0,
        "Weight of the feature loss in the average with the other losses; 0 leaves it out.",
        "paper (§3.3): plain average",
        student=True,
        at_least=0,
    )
    feature_margin: float = _value(
        0.85,
        "Tokens whose cosine to the frozen encoder is above it are left out of the feature loss.",
        "paper (§3.3); author (V1#80) corrects the 0.15 of its first version",
        student=True,
        at_least=-1,
        at_most=1,
    )

    cutmix_probability: float = _chance(0.5, "Chance of a CutMix box in an image.", "paper (§3.2)")
    cutmix_area_minimum: float = _value(
        0.02, "Smallest box, as a share of the crop's area.", "author (V1#240)",
        student=True, above=0,
    )  # fmt: skip
    cutmix_area_maximum: float = _value(
        0.4, "Largest box, as a share of the crop's area.", "author (V1#240)",
        student=True, below=1,
    )  # fmt: skip
    cutmix_aspect_minimum: float = _value(
        0.3, "Flattest box, height over width.", "author (V1#240)", student=True, above=0
    )
    cutmix_aspect_maximum: float = _value(
        1 / 0.3, "Tallest box, height over width.", "author (V1#240)", student=True
    )

    jitter_probability: float = _chance(0.8, "Chance of colour jitter.", _UNIMATCH)
    jitter_brightness: float = _value(
        0.5, "Brightness is scaled by 1 ± this.", _UNIMATCH, student=True, at_least=0
    )
    jitter_contrast: float = _value(
        0.5, "Contrast is scaled by 1 ± this.", _UNIMATCH, student=True, at_least=0
    )
    jitter_saturation: float = _value(
        0.5, "Saturation is scaled by 1 ± this.", _UNIMATCH, student=True, at_least=0
    )
    jitter_hue: float = _value(
        0.25,
        "Hue is turned by ± this share of the circle.",
        _UNIMATCH,
        student=True,
        at_least=0,
        at_most=0.5,
    )
    grayscale_probability: float = _chance(
        0.2, "Chance that the colours are taken away.", _UNIMATCH + "; not named in the paper"
    )
    blur_probability: float = _chance(0.5, "Chance of Gaussian blur.", _UNIMATCH)
    blur_sigma_minimum: float = _value(
        0.1, "Weakest blur, its sigma in pixels.", _UNIMATCH, student=True, above=0
    )
    blur_sigma_maximum: float = _value(
        2.0, "Strongest blur, its sigma in pixels.", _UNIMATCH, student=True
    )

    def __post_init__(self) -> None:
        """Refuse values that make no sense, all of them in one message."""
        problems = list(_problems(self)) or list(_misfits(self))
        if problems:
            raise ValueError("recipe: " + "; ".join(problems))

    def split(self, images: int) -> "Split":
        """How many of a student's images are of which kind, where it has both; one at least.

        Raises:
            ValueError: Fewer than two images cannot be of two kinds.
        """
        if images < 2:
            raise ValueError(f"a labelled and a pseudo-labelled image are two, not {images}")
        labelled = round(images / (1 + self.pseudo_per_labelled))
        labelled = min(max(labelled, 1), images - 1)
        return Split(labelled, images - labelled)


class Split(NamedTuple):
    """Images of each kind in a student's batch."""

    labelled: int
    pseudo: int


def _problems(recipe: Recipe) -> Iterator[str]:
    values = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    for field in dataclasses.fields(recipe):
        problem = _problem(values[field.name], field)
        if problem:
            yield f"{field.name} must {problem}, not {values[field.name]!r}"
        elif field.name.endswith("_minimum"):
            top = field.name.removesuffix("_minimum") + "_maximum"
            if values[field.name] > values[top]:
                yield f"{field.name} must not be above {top}, not {values[field.name]}"


def _misfits(recipe: Recipe) -> Iterator[str]:
    """Boxes that would be drawn without end before one lies within the crop."""
    squarest = min(max(1.0, recipe.cutmix_aspect_minimum), recipe.cutmix_aspect_maximum)
    side = math.sqrt(recipe.cutmix_area_maximum * max(squarest, 1 / squarest))
    if side > _LONGEST_BOX:
        yield (
            f"cutmix_area_maximum must fit: a box of {recipe.cutmix_area_maximum} of the crop is "
            f"at least {side:.2f} of its side long, not {_LONGEST_BOX} or less"
        )


def _problem(value: object, field: dataclasses.Field[Any]) -> str | None:
    """What a value must be and is not."""
    limits = field.metadata
    if field.type is bool:
        return None if isinstance(value, bool) else "be true or false"
    if field.type is str:
        return None if isinstance(value, str) else "be text"
    if choices := get_args(field.type):
        return None if value in choices else f"be one of {', '.join(choices)}"
    whole = field.type is int
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return "be a whole number" if whole else "be a number"
    if not math.isfinite(value):
        return "be finite"
    for name, holds in _COMPARISONS.items():
        if name in limits and not holds(value, limits[name]):
            return f"be {name.replace('_', ' ')} {limits[name]}"
    return None

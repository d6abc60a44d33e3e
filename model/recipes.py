"""Training recipes: every number of a training run, with where it comes from.

The papers leave much unsaid. A reader who compares our student with theirs must see at once which
values are theirs and which are ours, so each field carries its origin:

- ``paper``: printed in Depth Anything (arXiv:2401.10891), section named;
- ``author (…)``: said by its first author in the thread named, V1 being LiheYoung/Depth-Anything;
- ``choice: …``: unstated anywhere; ours, with the reason.

Documentation reads ``rows``; nothing repeats these values by hand.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

_UNIMATCH = (
    "choice: unstated; the value of the author's UniMatch (semi.py, transform.py), "
    "to which he points for CutMix"
)

_POSITIVE = {
    "size", "batch_size", "passes", "learning_rate",
    "head_learning_rate_ratio", "pseudo_per_labelled", "clip_norm", "minimum_valid_pixels",
    "decay_power",
}  # fmt: skip
_NOT_NEGATIVE = {
    "steps", "warmup_steps", "weight_decay", "beta1", "beta2", "final_learning_rate_ratio",
    "jitter_brightness", "jitter_contrast", "jitter_saturation", "jitter_hue",
}  # fmt: skip


def _value(default: Any, help: str, origin: str) -> Any:
    """A field with its value in the ``v1`` preset, one line of help and its origin."""
    return dataclasses.field(default=default, metadata={"help": help, "origin": origin})


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Every number of a training run; the defaults are the ``v1`` preset.

    Raises:
        ValueError: Naming every field whose value makes no sense.
    """

    name: str = _value("v1", "Preset these values started from.", "choice: our name for it")

    size: int = _value(518, "Side of the square training crop, pixels.", "paper (§6)")
    flip_probability: float = _value(
        0.5,
        "Chance of a horizontal flip.",
        "choice: paper §4.1 flips labelled images without saying how often; "
        "pseudo-labelled ones are flipped alike",
    )
    pseudo_per_labelled: float = _value(
        2.0, "Pseudo-labelled images per labelled image in a batch.", "paper (§4.1)"
    )
    batch_size: int = _value(
        192,
        "Images per optimiser step, on all workers together.",
        "choice: unstated; that of the v2 student",
    )
    passes: float = _value(
        1.0,
        "Passes of a teacher over its labelled images, of a student over its pseudo-labelled ones.",
        "paper (§4.1)",
    )
    steps: int = _value(
        0, "Optimiser steps; 0: as many as the passes take.", "paper (§4.1) counts passes"
    )

    learning_rate: float = _value(5e-6, "Of the encoder, at the first step.", "paper (§4.1)")
    head_learning_rate_ratio: float = _value(
        10.0, "Learning rate of the head over that of the encoder.", "paper (§4.1)"
    )
    warmup_steps: int = _value(0, "Steps of linear warm-up.", "choice: unstated")
    final_learning_rate_ratio: float = _value(
        0.0,
        "Learning rate after the last step over that of the first.",
        "choice: paper §4.1 says linear, not to where; to zero",
    )
    decay_power: float = _value(
        1.0, "The learning rate falls with (1 - progress) to this power.", "paper (§4.1): linear"
    )
    weight_decay: float = _value(
        0.01,
        "Of AdamW, on every parameter.",
        "choice: unstated; AdamW's own default",
    )
    beta1: float = _value(
        0.9, "Decay of AdamW's first moment.", "choice: unstated; AdamW's own default"
    )
    beta2: float = _value(
        0.999, "Decay of AdamW's second moment.", "choice: unstated; AdamW's own default"
    )
    clip_norm: float = _value(
        1.0,
        "Largest norm of the gradient of all parameters.",
        "choice: unstated; guards an encoder whose learning rate is tiny against one bad batch",
    )

    minimum_valid_pixels: int = _value(
        10,
        "A map, or a CutMix region, with fewer valid pixels is left out of the loss.",
        "choice: unstated; with a pixel or two, median and spread say nothing",
    )
    feature_margin: float = _value(
        0.85,
        "Tokens whose cosine to the frozen encoder is above it are left out of the feature loss.",
        "paper (§3.3); author (V1#80) corrects the 0.15 of its first version",
    )

    cutmix_probability: float = _value(0.5, "Chance of a CutMix box in an image.", "paper (§3.2)")
    cutmix_area_minimum: float = _value(
        0.02, "Smallest box, as a share of the crop's area.", "author (V1#240)"
    )
    cutmix_area_maximum: float = _value(
        0.4, "Largest box, as a share of the crop's area.", "author (V1#240)"
    )
    cutmix_aspect_minimum: float = _value(
        0.3, "Flattest box, height over width.", "author (V1#240)"
    )
    cutmix_aspect_maximum: float = _value(
        1 / 0.3, "Tallest box, height over width.", "author (V1#240)"
    )

    jitter_probability: float = _value(0.8, "Chance of colour jitter.", _UNIMATCH)
    jitter_brightness: float = _value(0.5, "Brightness is scaled by 1 ± this.", _UNIMATCH)
    jitter_contrast: float = _value(0.5, "Contrast is scaled by 1 ± this.", _UNIMATCH)
    jitter_saturation: float = _value(0.5, "Saturation is scaled by 1 ± this.", _UNIMATCH)
    jitter_hue: float = _value(0.25, "Hue is turned by ± this share of the circle.", _UNIMATCH)
    grayscale_probability: float = _value(
        0.2, "Chance that the colours are taken away.", _UNIMATCH + "; not named in the paper"
    )
    blur_probability: float = _value(0.5, "Chance of Gaussian blur.", _UNIMATCH)
    blur_sigma_minimum: float = _value(0.1, "Weakest blur, its sigma in pixels.", _UNIMATCH)
    blur_sigma_maximum: float = _value(2.0, "Strongest blur, its sigma in pixels.", _UNIMATCH)

    def __post_init__(self) -> None:
        """Refuse values that make no sense, all of them in one message."""
        problems = list(_problems(self))
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
    for name, value in values.items():
        if name.endswith("_probability") and not 0 <= value <= 1:
            yield f"{name} must lie in 0..1, not {value}"
        if name in _POSITIVE and not value > 0:
            yield f"{name} must be above 0, not {value}"
        if name in _NOT_NEGATIVE and not value >= 0:
            yield f"{name} must not be negative, not {value}"
        if name.endswith("_minimum"):
            top = name.removesuffix("_minimum") + "_maximum"
            if not 0 < value <= values[top]:
                yield f"{name} must lie above 0 and not above {top}, not {value}"
    if not recipe.cutmix_area_maximum < 1:
        yield f"cutmix_area_maximum must be below 1, not {recipe.cutmix_area_maximum}"
    if not -1 <= recipe.feature_margin <= 1:
        yield f"feature_margin is a cosine, not {recipe.feature_margin}"
    if not recipe.jitter_hue <= 0.5:
        yield f"jitter_hue must not exceed half the circle, 0.5, not {recipe.jitter_hue}"


class Row(NamedTuple):
    """One line of the table that documents a recipe."""

    field: str
    value: Any
    help: str
    origin: str


V1 = Recipe()
V1_TEACHER = Recipe(name="v1-teacher", passes=20.0)
PRESETS = {("v1", "student"): V1, ("v1", "teacher"): V1_TEACHER}


def preset(name: str, kind: str) -> Recipe:
    """The recipe of that name for a ``teacher`` or a ``student``.

    Raises:
        ValueError: With what exists.
    """
    if (name, kind) not in PRESETS:
        known = ", ".join(sorted({name for name, _ in PRESETS}))
        raise ValueError(f"unknown preset {name!r} for a {kind}; there are: {known}")
    return PRESETS[name, kind]


def override(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with some values changed; ``None`` leaves a value, as an unset flag does.

    Raises:
        ValueError: With every field that does not exist or whose value makes no sense.
    """
    known = {field.name for field in dataclasses.fields(recipe)} - {"name"}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise ValueError(
            f"a recipe has no {', '.join(unknown)}; it has: {', '.join(sorted(known))}"
        )
    return dataclasses.replace(
        recipe, **{name: value for name, value in changes.items() if value is not None}
    )


def rows(recipe: Recipe) -> Iterator[Row]:
    """Each value with its help and origin; a changed value says so in place of its origin."""
    (original,) = (each for each in PRESETS.values() if each.name == recipe.name)
    for field in dataclasses.fields(recipe):
        value, default = getattr(recipe, field.name), getattr(original, field.name)
        origin = field.metadata["origin"] if value == default else f"override of {default}"
        yield Row(field.name, value, field.metadata["help"], origin)


def markdown_table(recipe: Recipe) -> str:
    """The recipe as a page of the documentation."""
    lines = [
        f"# The {recipe.name} recipe",
        "",
        "Every number of a training run, and where it comes from: printed in the paper",
        "(arXiv:2401.10891), said by its author in a thread of his repository (V1), or our choice.",
        "Made by `make docs` from `model/recipes.py`.",
        "",
        "| value | default | what it is | origin |",
        "|---|---|---|---|",
    ]
    for row in rows(recipe):
        shown = f"{row.value:.4g}" if isinstance(row.value, float) else str(row.value)
        lines.append(f"| `{row.field}` | {shown} | {row.help} | {row.origin} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown_table(V1), end="")

"""The presets: the recipes of Depth Anything V1 and V2, for their teachers and their students.

A preset says where each value it changes comes from, as `model.recipe_values` does for ``v1``.
``docs/recipe.md`` is made from both, by ``make docs``; nothing repeats these values by hand.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from model.recipe_values import Recipe, Split

__all__ = [
    "PRESETS", "UNUSED", "V1", "V1_TEACHER", "V2", "V2_TEACHER",
    "Recipe", "Row", "Split", "override", "parse_overrides", "preset", "rows",
]  # fmt: skip

V1 = Recipe()
V1_TEACHER = Recipe(name="v1-teacher", passes=20.0)

# What both presets of V2 share. Its paper counts optimiser steps, not passes.
_V2: dict[str, Any] = {
    "head_blocks": "v2",
    "weight_decay": 0.0,
    "gradient_matching_weight": 2.0,
}
V2 = Recipe(
    name="v2", **_V2, pseudo_only=True, batch_size=192, steps=480_000, trimmed_share=0.1
)  # fmt: skip
V2_TEACHER = Recipe(name="v2-teacher", **_V2, batch_size=64, steps=160_000)

PRESETS = {
    ("v1", "teacher"): V1_TEACHER,
    ("v1", "student"): V1,
    ("v2", "teacher"): V2_TEACHER,
    ("v2", "student"): V2,
}

# The origin of a value that a preset has no use for.
UNUSED = "not used"
_AS_V1 = "author (V2#207): as V1, though not needed by S and B under a G teacher"
_V2_ORIGINS = {
    "name": "choice: our name for it",
    "head_blocks": "code (V2 dpt.py)",
    "size": "paper (V2 §7.1)",
    "batch_size": "paper (V2 §7.1)",
    "passes": UNUSED,
    "steps": "paper (V2 §7.1)",
    "learning_rate": "paper (V2 §7.1)",
    "head_learning_rate_ratio": "paper (V2 §7.1)",
    "weight_decay": "paper (V2 §7.1): Adam, which is AdamW without decay",
    "gradient_matching_weight": "paper (V2 §7.1), 1:2; for students too by author (V1#198)",
}
_ORIGINS = {
    "v1-teacher": {"passes": "paper (§4.1)"},
    "v2-teacher": _V2_ORIGINS,
    "v2": _V2_ORIGINS
    | {
        "pseudo_only": "paper (V2 §5.1)",
        "pseudo_per_labelled": UNUSED,
        "trimmed_share": "paper (V2 §5.2); of pixels by author (V2#108)",
        "feature_weight": "choice: paper V2 §5.2 has the loss, not its weight; as V1",
        "feature_margin": "paper (V2 §5.2): as V1",
        "cutmix_probability": _AS_V1,
        "jitter_probability": _AS_V1,
        "blur_probability": _AS_V1,
    },
}


def preset(name: str, kind: str) -> Recipe:
    """The recipe of that name for a ``teacher`` or a ``student``.

    Raises:
        ValueError: With what exists.
    """
    if (name, kind) not in PRESETS:
        known = ", ".join(sorted({name for name, _ in PRESETS}))
        raise ValueError(f"unknown preset {name!r} for a {kind}; there are: {known}")
    return PRESETS[name, kind]


class Row(NamedTuple):
    """One value of a recipe, for the documentation."""

    field: str
    value: Any
    help: str
    origin: str


def rows(recipe: Recipe) -> Iterator[Row]:
    """Each value with its help and origin; a changed value says so in place of its origin.

    A value that V2's paper leaves open is V1's, and so is its origin.
    """
    (original,) = (each for each in PRESETS.values() if each.name == recipe.name)
    origins = _ORIGINS.get(recipe.name, {})
    for field in dataclasses.fields(recipe):
        value, default = getattr(recipe, field.name), getattr(original, field.name)
        origin = origins.get(field.name, field.metadata["origin"])
        origin = origin if value == default else f"override of {default}"
        yield Row(field.name, value, field.metadata["help"], origin)


def override(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with some values changed; ``None`` leaves a value, as an unset flag does.

    Raises:
        ValueError: With every field that does not exist or whose value makes no sense.
    """
    known = _changeable(recipe)
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise ValueError(
            f"a recipe has no {', '.join(unknown)}; it has: {', '.join(sorted(known))}"
        )
    given = {name: value for name, value in changes.items() if value is not None}
    changed = dataclasses.replace(recipe, **given)
    if "passes" in given and changed.steps:
        raise ValueError(f"passes are not counted where steps are given: {changed.steps}, not 0")
    return changed


def parse_overrides(recipe: Recipe, texts: Iterable[str], **flags: Any) -> Recipe:
    """The recipe with values changed by texts ``NAME=VALUE``, and by flags as `override` has them.

    Raises:
        ValueError: With everything that is wrong: no such name, no such value, a name that comes
            twice, a value out of its range.
    """
    given = {name for name, value in flags.items() if value is not None}
    changes, problems, known = dict(flags), [], _changeable(recipe)
    for text in texts:
        name, separator, value = text.partition("=")
        name = name.strip().replace("-", "_")
        try:
            if not separator:
                raise ValueError(f"{text!r} is not NAME=VALUE")
            changes[name] = _parsed(name, value.strip(), known=known)
            if name in given:
                raise ValueError(f"{name} is given twice")
        except ValueError as error:
            problems.append(str(error))
        given.add(name)
    try:
        changed = override(recipe, **changes)
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return changed


def _changeable(recipe: Recipe) -> dict[str, Any]:
    """The type of every value that may be changed: all but the preset's name."""
    return {field.name: field.type for field in dataclasses.fields(recipe) if field.name != "name"}


def _parsed(name: str, text: str, *, known: Mapping[str, Any]) -> Any:
    if name not in known:
        close = difflib.get_close_matches(name, list(known), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else "; docs/recipe.md lists what it has"
        raise ValueError(f"a recipe has no {name!r}{hint}")
    kind = known[name]
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name} must be true or false, not {text!r}")
        return text.lower() == "true"
    if kind not in (int, float):
        return text
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} must be {expected}, not {text!r}") from None

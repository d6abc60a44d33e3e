"""The page of the documentation that lists every value of the presets, and where it comes from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from model.metric_recipe import metric_section
from model.recipes import PRESETS, UNUSED, Recipe, Row, rows

# The first value of each group, and its heading.
_GROUPS = {
    "head_blocks": "Network and images",
    "batch_size": "Length and batches",
    "learning_rate": "Optimiser",
    "minimum_valid_pixels": "Losses",
    "cutmix_probability": "CutMix",
    "jitter_probability": "Colours",
}

_HEAD = """\
# Recipes

Every number of a training run, for the four presets `--preset v1|v2` of `train-teacher` and
`train-student`, and where it comes from. Change any of them with `--override NAME=VALUE`; values
are checked before any worker starts. Made by `make docs` from `model/recipe_values.py` and
`model/recipes.py`.

- **paper**: printed in Depth Anything (arXiv:2401.10891), or, where it says V2, in Depth Anything
  V2 (arXiv:2406.09414).
- **author**: said by their first author, in the thread named: V1 is LiheYoung/Depth-Anything, V2 is
  DepthAnything/Depth-Anything-V2.
- **code**: read in the inference code of those repositories, which train no relative model.
- **choice**: stated nowhere; ours, with the reason. *UniMatch* is LiheYoung/UniMatch (`semi.py`,
  `transform.py`), the earlier work to which the author points for CutMix (V1#240).

Where V2 has no origin of its own its paper says nothing, and V1's value stays. **–**: not used,
as pseudo-labels are not by a teacher, nor passes where steps are given.
"""

_CHOICES = (
    (
        "Encoder",
        "`--encoder`. V1: ViT-L for the teacher; S, B and L for students. V2: ViT-G for the "
        "teacher, without registers (with them KITTI AbsRel is .084, not .075).",
        "paper (§4.1; V2 §7.1, table 13)",
    ),
    (
        "First weights of a student",
        "Those of DINOv2, never of its teacher: a depth model as `--encoder` is refused. The "
        "encoder learns too.",
        "paper (§3.2); author (V2#37)",
    ),
    (
        "Affine-invariant loss",
        "L1 between two maps less their median, over their mean absolute deviation; valid pixels "
        "alone. In v2 as well, whose author points to MiDaS's code, of which several forms exist.",
        "paper (§3.1); choice for v2: the form that V1 printed",
    ),
    (
        "Gradient matching loss",
        "Of the difference of the two normalised maps: at each scale the sum of the absolute steps "
        "between neighbours that are both valid, over the number of valid pixels there; scales "
        "are added.",
        "choice: as MiDaS (arXiv:1907.01341, §5)",
    ),
    (
        "What is trimmed",
        "The affine-invariant loss of pseudo-labelled images, per map, or per region under CutMix. "
        "Not gradient matching: its largest steps lie at the edges that it is for.",
        "choice: V2#108 defines it for a loss per pixel and says no more",
    ),
    (
        "Total",
        "Average of the labelled, the pseudo-labelled and the feature loss, of which the first two "
        "are affine-invariant + weight × gradient matching.",
        "paper (§3.3); choice for v2",
    ),
    (
        "Feature loss",
        "Mean over the tokens that are not above the margin. The frozen encoder sees the same "
        "perturbed images as the student.",
        "choice: paper §3.3 says neither",
    ),
    (
        "Targets",
        "Whatever a source measures becomes disparity, then 0 to 1 per map.",
        "paper (§3.1)",
    ),
    (
        "Sky",
        "Disparity 0 where a labelled map has no value and the image shows sky (`--sky-segmenter`, "
        "or the source says so); counted in the loss. It is 0 before the map is brought to 0 to 1, "
        "or, where the shift of disparity is unknown, the smallest value of the map.",
        "paper (§3.1); author (V1#206, V2#181: inverse depth 0); choice: the unknown shift, as "
        "MiDaS (isl-org/MiDaS#15)",
    ),
    (
        "Sources",
        "Put together as they are, none drawn more often than another.",
        "paper (§4.1; V2 §7.1)",
    ),
    (
        "CutMix over holes and sky",
        "A region with fewer than `minimum_valid_pixels`, or flatter than `minimum_spread`, leaves "
        "all the weight to the other.",
        "choice: unstated",
    ),
)


def markdown_page() -> str:
    """One table per group of values, one column per preset."""
    tables = {key: {row.field: row for row in rows(each)} for key, each in PRESETS.items()}
    lines = [_HEAD.rstrip()]
    for field in dataclasses.fields(Recipe):
        if field.name in _GROUPS:
            lines += [
                f"\n## {_GROUPS[field.name]}\n",
                "| name | " + " | ".join(f"{name} {kind}" for name, kind in PRESETS)
                + " | what it is | origin |",
                "|---|" + "--:|" * len(PRESETS) + "---|---|",
            ]  # fmt: skip
        if field.name != "name":
            lines.append(_line(field, tables))
    lines += ["\n## What is no number\n", "| what | how it is here | origin |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in _CHOICES]
    return "\n".join(lines) + "\n" + metric_section()


def _line(
    field: dataclasses.Field[Any], tables: Mapping[tuple[str, str], Mapping[str, Row]]
) -> str:
    """A row: the value in each preset, what it is, its origins."""
    values: list[str] = []
    origins: dict[str, list[str]] = {}
    for (name, kind), table in tables.items():
        row = table[field.name]
        if row.origin == UNUSED or (kind == "teacher" and field.metadata.get("student")):
            values.append("–")
        else:
            values.append(_shown(row.value))
            origins.setdefault(row.origin, []).append(f"{name} {kind}")
    help = field.metadata["help"]
    return f"| `{field.name}` | {' | '.join(values)} | {help} | {_origins(origins)} |"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _origins(origins: dict[str, list[str]]) -> str:
    """One origin as it is; several with the presets they belong to."""
    if len(origins) == 1:
        return next(iter(origins))
    return "; ".join(f"**{_presets(names)}** {text}" for text, names in origins.items())


def _presets(names: list[str]) -> str:
    versions = [name.split()[0] for name in names]
    return versions[0] if len(set(versions)) == 1 else ", ".join(names)


if __name__ == "__main__":
    print(markdown_page(), end="")

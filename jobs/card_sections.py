"""The sections of a model card, each as lines of Markdown, from what is on record."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.card_facts import CardFacts, Part, hub_dataset, shown
from jobs.licence_words import NO_ADVICE, NOT_SETTLED, consequences
from jobs.markdown import code, inline, link, table
from jobs.readable import readable_time
from pipeline.licences import permissions
from pipeline.origins import MADE_OF_NOTHING, Origin

UNKNOWN = "unknown"
GEOMETRIES = {
    "disparity_affine_invariant": (
        "relative disparity (the inverse of depth), up to an unknown factor and an unknown "
        "constant per image. Larger is nearer; there is no unit"
    ),
    "disparity_metric": "disparity in 1 / metres, the inverse of depth. Larger is nearer",
    "depth_metric": "depth in metres, along the axis of the camera. Larger is farther",
    "depth_scale_invariant": (
        "depth up to an unknown positive factor per image. Larger is farther; there is no unit"
    ),
}
_MADE = {
    "teacher": "A teacher, trained on ground truth.",
    "student": "A student, trained on pseudo-labels that a teacher made.",
    "metric": "A relative model, trained further on ground truth in metres.",
    "imported": "A model from elsewhere; nothing of its training is on record here.",
}
_COMMERCIAL = {"yes": "permitted", "conditions": "on conditions", "no": "no", "unknown": UNKNOWN}
_OPTIONS = ("preset", "seed", "precision", "ema", "max_saturated", "max_flat")
_NUMBERS = {"network": "Network", "encoder": "Encoder", "layers": "Layers", "width": "Channels"}


def what_section(facts: CardFacts) -> list[str]:
    """What it is, and what its numbers mean."""
    quantity = GEOMETRIES.get(facts.geometry, inline(facts.geometry))
    lines = [
        f"# {inline(facts.name)}",
        "",
        f"Monocular depth estimation. {_MADE.get(facts.made, '')}".rstrip(),
        "",
        f"- **Puts out** {quantity} ({code(facts.geometry)}).",
        f"- **Family** {code(facts.family)}{_network(facts.architecture)}.",
    ]
    if facts.reference:
        lines.append(f"- **From** {_model_link(facts.reference)}.")
    for option, reference in facts.began_with.items():
        lines.append(f"- **Began with** {_began(option, reference)}.")
    return lines


def data_section(facts: CardFacts) -> list[str]:
    """What it learnt from, each with its licence."""
    if not facts.trained_here:
        return ["## Training data", "", "Unknown: it was not trained here."]
    lines = ["## Training data", ""]
    lines += table(
        ("Source", "Learnt", "Licence", "Commercial use", "Images"),
        [*map(_part_row, facts.parts), *map(_origin_row, _farther(facts))],
        right=1,
    )
    lines += ["", f"Pinned as snapshot {code(facts.run.snapshot_id)}." if facts.run else ""]
    if facts.pseudo:
        # A snapshot has the rows of shards; which of them were quarantined, the shards know.
        said = "Numbers of images are those of all pinned shards; quarantined labels among them "
        lines += ["", f"{said}were not learnt from.", "", *_label_sets(facts)]
    cited = sorted({str((part.source.terms or {}).get("citation") or "") for part in facts.parts})
    lines += ["", *(f"- To be cited: {inline(text)}" for text in cited if text)]
    if facts.withdrawn:
        names = ", ".join(map(inline, facts.withdrawn))
        lines += ["", f"**Images of {names} were withdrawn after it was trained on them.**"]
    return lines


def recipe_section(facts: CardFacts) -> list[str]:
    """How it was trained, as the run wrote it down."""
    if facts.run is None:
        return []
    options: Mapping[str, Any] = facts.settings.get("config") or facts.run.config
    recipe: Mapping[str, Any] = facts.settings.get("recipe") or {}
    steps = facts.run.metrics.get("steps") or facts.settings.get("steps")
    rows = [("steps", steps), *((name, options.get(name)) for name in _OPTIONS)]
    rows += [(name, recipe.get(name, options.get(name))) for name in ("batch_size", "size")]
    lines = ["## Recipe", "", f"Run {code(facts.run.run_id)} ({inline(facts.run.state)})."]
    known = [(code(name), inline(value)) for name, value in rows if value not in (None, "auto")]
    lines += ["", *table(("Setting", "Value"), known)]
    loss = facts.run.metrics.get("loss")
    if isinstance(loss, int | float):
        lines += ["", f"The last loss was {loss:.4g}."]
    if not recipe:
        return [*lines, "", "The values of its recipe are not on record."]
    every = json.dumps(recipe, indent=2, ensure_ascii=True).replace("```", "'''")
    return [
        *lines,
        "",
        "<details><summary>Every value of the recipe</summary>",
        "",
        "```json",
        every,
        "```",
        "",
        "</details>",
    ]


def licence_section(facts: CardFacts) -> list[str]:
    """Which licences stand behind the weights, and what follows."""
    stated = inline(facts.licence) if facts.licence else "nobody has stated one"
    lines = ["## Licences", "", f"Of the weights themselves: {stated}."]
    if facts.trained_here:
        lines += ["", *_licences_behind(facts)]
    return [*lines, "", NO_ADVICE]


def lineage_section(facts: CardFacts) -> list[str]:
    """Digests, so that each of these things can be found again and checked."""
    rows = [("Weights and configuration", "sha256", code(facts.sha256))]
    if facts.run is not None:
        rows += [
            ("Run", "id", code(facts.run.run_id)),
            ("Snapshot", "id", code(facts.run.snapshot_id or UNKNOWN)),
            ("Code", "version", code(facts.run.code_version)),
            ("Trained", "began", f"{readable_time(facts.run.started_at)} UTC"),
        ]
    rows += [
        (f"Images of {inline(part.source.name)}", "digest", code(part.digest))
        for part in facts.parts
    ]
    for labels in facts.pseudo:
        name = inline(labels.name)
        rows += [
            (f"Labels {name}", "digest", code(labels.digest)),
            (f"Teacher of {name}", "sha256", code(labels.teacher_sha256)),
            (f"Recipe of {name}", "hash", code(labels.recipe_hash)),
            (f"Code that made {name}", "version", code(labels.code_version)),
        ]
    return ["## Lineage", "", *table(("What", "", "Value"), rows)]


def limits_section(facts: CardFacts) -> list[str]:
    """What it cannot do, and what nobody knows."""
    return ["## Limits", "", *(f"- {line}" for line in _limits(facts))]


def _limits(facts: CardFacts) -> Iterator[str]:
    if facts.geometry == "disparity_affine_invariant":
        yield "Its numbers are no distances, and those of two images cannot be compared."
    if facts.geometry == "depth_scale_invariant":
        yield "Its numbers are no distances before the factor of an image is known."
    if any(value.startswith(MADE_OF_NOTHING) for value in facts.began_with.values()):
        yield "Its encoder began with random weights, not with pre-trained ones."
    if not facts.evaluations:
        yield "How good it is has not been measured."
    else:
        yield "Results hold for the benchmarks above; on other kinds of images it is not known."
    if facts.pseudo:
        yield "It learnt from what another model predicted, mistakes included."


def _network(numbers: Mapping[str, Any]) -> str:
    parts = [f"{title.lower()} {inline(numbers[key])}" for key, title in _NUMBERS.items()
             if key in numbers]  # fmt: skip
    if "parameters" in numbers:
        parts.append(f"{numbers['parameters']:,} parameters")
    return f": {', '.join(parts)}" if parts else ""


def _began(option: str, reference: str) -> str:
    if reference.startswith(MADE_OF_NOTHING):
        return f"random weights ({code(reference)})"
    what = "the encoder" if option == "encoder" else "the relative model"
    return f"{what} {_model_link(reference)}"


def _model_link(reference: str) -> str:
    """Ids have a slash between two names; `shown` has left no other slashes."""
    if "/" in reference and "#" not in reference:
        return link(reference, f"https://huggingface.co/{reference.partition('@')[0]}")
    return code(reference)


def _part_row(part: Part) -> tuple[str, ...]:
    terms = part.source.terms or {}
    allowed = permissions(part.source.terms, part.source.licence)
    title = str(terms.get("title") or "")
    named = inline(part.source.name)
    if title and title != part.source.name:
        named = f"{named}: {_home(title, part)}"
    learnt = f"pseudo-labels {inline(part.label_set)}" if part.label_set else "ground truth"
    licence = inline(part.source.licence or UNKNOWN)
    return named, learnt, licence, _COMMERCIAL[allowed.commercial], f"{part.images:,}"


def _home(title: str, part: Part) -> str:
    dataset = hub_dataset(part.source)
    home = str((part.source.terms or {}).get("homepage") or "")
    return link(title, home or (f"https://huggingface.co/datasets/{dataset}" if dataset else ""))


def _farther(facts: CardFacts) -> list[Origin]:
    """Sources behind teachers, or behind what it began with."""
    direct = {part.source.name for part in facts.parts}
    return [each for each in facts.behind if each.kind == "source" and each.name not in direct]


def _origin_row(origin: Origin) -> tuple[str, ...]:
    licence = inline(origin.licence or UNKNOWN)
    return inline(origin.name), "by a model behind it", licence, _COMMERCIAL[origin.commercial], "–"


def _label_sets(facts: CardFacts) -> list[str]:
    rows = []
    for labels in facts.pseudo:
        recipe = ", ".join(f"{key} {value}" for key, value in labels.recipe.items())
        cells = (inline(labels.name), _model_link(labels.teacher), inline(recipe))
        rows.append((*cells, f"{labels.images:,}"))
    return table(("Pseudo-labels", "Teacher", "Made with", "Images"), rows, right=1)


def _licences_behind(facts: CardFacts) -> list[str]:
    if not facts.behind:
        return ["Nothing stands behind it that has a licence of its own."]
    rows = [
        (each.kind, _model_link(shown(each.name)) if each.kind == "model" else inline(each.name),
         inline(each.licence or UNKNOWN), _COMMERCIAL[each.commercial], _COMMERCIAL[each.rehost],
         "yes" if each.attribution else "")
        for each in facts.behind
    ]  # fmt: skip
    header = ("Behind it", "Name", "Licence", "Commercial use", "Images published again",
              "Authors named")  # fmt: skip
    return [
        NOT_SETTLED,
        "",
        *table(header, rows),
        "",
        *(f"- {line}" for line in _follows(facts)),
    ]


def _follows(facts: CardFacts) -> Iterator[str]:
    yield from consequences(
        facts.behind,
        of=facts.name,
        stated=facts.licence,
        text=inline,
        name=lambda origin: inline(shown(origin.name)),
        code=code,
    )

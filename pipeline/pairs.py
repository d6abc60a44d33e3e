"""Folders and archives of images with a depth file beside each, told by names alone.

Which names belong together: see `pipeline.pairing`; what becomes of every other file: the table of
`pipeline.truth`.
"""

from collections.abc import Iterable

from pipeline.errors import SourceError
from pipeline.filesystems import public_uri
from pipeline.member_paths import normalised_text
from pipeline.pairing import Group, grouped, name_of
from pipeline.parts import Part, Sample
from pipeline.records import Drop
from pipeline.truth_encodings import TRUTH_ENCODINGS, TruthEncoding

Plan = list[Sample | Drop]


def pairs_encoding(name: str | None) -> TruthEncoding:
    """How the depth files are encoded.

    Raises:
        SourceError: Nobody said, or it cannot be told by names.
    """
    known = ", ".join(each.name for each in TRUTH_ENCODINGS.values() if each.for_pairs)
    if name is None:
        raise SourceError(f"layout pairs needs --truth, one of {known}")
    encoding = TRUTH_ENCODINGS.get(name)
    if encoding is None or not encoding.for_pairs:
        raise SourceError(f"--truth {name} is unknown; there are {known}")
    return encoding


def plan_pairs(parts: Iterable[Part | Drop], encoding: TruthEncoding, *, uri: str) -> Plan:
    """What is to become of each file, in the order of the files; a pair stands at its image.

    Raises:
        SourceError: There is not one pair.
    """
    listed = list(parts)
    suffixes = frozenset([encoding.suffix])
    named = {part.path: part for part in listed if isinstance(part, Part) and not _is_junk(part)}
    groups = grouped(named, suffixes)
    plan: Plan = []
    for part in listed:
        planned = part if isinstance(part, Drop) else _planned(part, named, groups, encoding)
        if planned is not None:
            plan.append(planned)
    if not any(isinstance(item, Sample) for item in plan):
        where = public_uri(uri)
        raise SourceError(f"source {where} has no image with its depth; {_sought(plan, encoding)}")
    return plan


def _planned(
    part: Part,
    named: dict[str, Part],
    groups: dict[tuple[str, ...], Group],
    encoding: TruthEncoding,
) -> Sample | Drop | None:
    """None for the truth of a pair."""
    if _is_junk(part):
        return _drop(part, "apple_double", "left by macOS beside the real file")
    name = name_of(part.path, frozenset([encoding.suffix]))
    if name.kind == "other":
        return _drop(part, "other_file", "")
    group = groups[name.key]
    if not group.is_pair or name.kind == "foreign_truth":
        return _drop(part, *_why_alone(name.kind, group, encoding))
    if name.kind == "truth":
        return None
    return Sample(part.path, part, (named[group.truths[0]],), encoding.name)


def _is_junk(part: Part) -> bool:
    return part.path.rpartition("/")[2].startswith("._")


def _why_alone(kind: str, group: Group, encoding: TruthEncoding) -> tuple[str, str]:
    if kind == "foreign_truth":
        return "other_truth", f"{encoding.name} reads {encoding.suffix} files"
    if group.images and group.truths:
        return (
            "ambiguous_pair",
            f"these would belong together: {', '.join([*group.images, *group.truths][:4])}",
        )
    if kind == "truth":
        return "no_image", "no image is named like it"
    beside = f"; {group.foreign[0]} is no {encoding.suffix} file" if group.foreign else ""
    return "no_truth", f"no {encoding.suffix} file of depth is named like it{beside}"


def _drop(part: Part, reason: str, detail: str) -> Drop:
    uri = normalised_text(public_uri(part.uri))
    return Drop(part.path, uri, reason, normalised_text(detail), bytes=part.size)


def _sought(plan: Plan, encoding: TruthEncoding) -> str:
    """What was looked for, and the first files that were found instead."""
    drops = [item for item in plan if isinstance(item, Drop)]
    found = {
        reason: [drop.path for drop in drops if drop.reason == reason]
        for reason in ("no_truth", "no_image")
    }
    images, truths = found["no_truth"], found["no_image"]
    return (
        f"looked for pairs like a_rgb.png + a_depth{encoding.suffix}, rgb/a.png + "
        f"depth/a{encoding.suffix} and a.png + a_depth{encoding.suffix}; found {len(images)} images"
        f"{_example(images)} and {len(truths)} {encoding.suffix} files of depth{_example(truths)}"
    )


def _example(paths: list[str]) -> str:
    return f" ({paths[0]} …)" if paths else ""

"""Licences by their names: which ones a list of patterns allows, and what well-known ones permit.

Names are compared as people write them: ``CC BY 4.0`` and ``cc-by-4.0`` are one licence. A summary,
not legal advice.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, get_args

from pipeline.presets import Permission, Terms

ANY = "any"
UNKNOWN = "unknown"  # what a missing licence is called, in patterns too
_WILD = re.compile(r"[*?\[]")
# Whole names with their versions and nothing else: "apache-2.0, cc-by-nc-4.0" permits neither.
_FREE = re.compile(
    r"(?:cc0|public-domain|pddl|mit|apache|bsd|0bsd|isc|zlib|unlicense)"
    r"(?:-licen[cs]e)?(?:-v?\d[\d.]*)?(?:-clause|-universal)?"
)
_CC_BY = re.compile(r"cc-by((?:-nc|-sa|-nd)*)(?:-v?\d[\d.]*)?(?:-[a-z]{2,3})?")


@dataclass(frozen=True, slots=True)
class Permits:
    """What a licence permits: using the images commercially, publishing them again."""

    commercial: Permission
    rehost: Permission


def allows(patterns: Sequence[str], licence: str | None) -> bool:
    """Whether one of the patterns (as of a shell) matches; ``any`` matches all, missing ones too.

    ``CC-BY-*`` matches CC-BY-NC-4.0; ``CC-BY-[0-9]*`` does not.
    """
    return any(_matches(pattern, licence) for pattern in patterns)


def names(patterns: Sequence[str], licence: str | None) -> bool:
    """Whether the licence is allowed by its very name or by ``any``, not through a wildcard."""
    return allows([pattern for pattern in patterns if not _WILD.search(pattern)], licence)


def _matches(pattern: str, licence: str | None) -> bool:
    return _plain(pattern) == ANY or fnmatchcase(_plain(licence or UNKNOWN), _plain(pattern))


def _plain(name: str) -> str:
    """Lower case, words joined by dashes; what a pattern needs stays."""
    return re.sub(r"[\s_-]+", "-", name.strip().casefold())


def permits(licence: str | None) -> Permits:
    """What a licence that is known by its id permits; ``unknown`` for every other.

    Creative Commons: NC forbids commercial use; SA and ND attach conditions to what is made of a
    work; all may be shared on, NC ones on condition.
    """
    name = _plain(licence or UNKNOWN)
    if attached := _CC_BY.fullmatch(name):
        if "nc" in attached[1]:
            return Permits("no", "conditions")
        return Permits("conditions" if attached[1] else "yes", "yes")
    if _FREE.fullmatch(name):
        return Permits("yes", "yes")
    return Permits("unknown", "unknown")


def permissions(terms: Mapping[str, Any] | None, licence: str | None) -> Permits:
    """As the recorded terms say; where there are none, as the licence does."""
    if not terms:
        return permits(licence)
    return Permits(terms.get("commercial", "unknown"), terms.get("rehost", "unknown"))


def terms_problems(given: Mapping[str, Any]) -> list[str]:
    """What keeps a mapping from being `Terms`, each problem in words."""
    known = {field.name: field.type for field in fields(Terms)}
    problems = [f"unknown key {key!r}" for key in given if key not in known]
    for name in ("rehost", "commercial"):
        if given.get(name, UNKNOWN) not in get_args(Permission):
            listed = ", ".join(get_args(Permission))
            problems.append(f"{name}: {given[name]!r} is not one of {listed}")
    for name, value in given.items():
        kind = bool if name == "attribution" else str
        if name in known and not isinstance(value, kind):
            word = "true or false" if kind is bool else "text"
            problems.append(f"{name}: expected {word}, got {value!r}")
    return problems


def terms_from(given: Mapping[str, Any], *, title: str) -> dict[str, Any]:
    """Fields of `Terms` from some of them; the others are open.

    ``rehost`` and ``commercial`` follow from a licence that is known by its id.
    """
    follows = permits(given.get("licence"))
    open_terms = Terms(
        title=title,
        homepage="",
        citation="",
        licence=UNKNOWN,
        rehost=follows.rehost,
        commercial=follows.commercial,
    )
    return asdict(open_terms) | dict(given)

"""What a thing was made from and what was made of it, as parts of a report."""

from collections.abc import Mapping
from typing import Any

from jobs.readable import readable_bytes, readable_time
from jobs.report_page import Fact, Section, Table
from pipeline.catalog import Catalog
from pipeline.licences import permissions
from pipeline.lineage import lineage, made_from, nodes

NOT_GIVEN = "not given"
LONGEST_ID = 24
SHORT = 12  # characters of a digest that tell things apart
_SHOWN = {
    "source": ("role", "licence", "commercial", "images"),
    "label-set": ("images", "recipe_hash", "code_version"),
    "model": ("made", "licence", "sha256", "external"),
    "run": ("job", "state", "code_version"),
    "snapshot": ("shards", "images"),
    "evaluation": ("model", "source"),
}
_CODES = ("sha256", "recipe_hash", "digest")


def lineage_sections(catalog: Catalog, ref: str) -> tuple[Section, ...]:
    """The tree behind a thing, and the tree ahead of it where there is one."""
    behind, ahead = lineage(catalog, ref), made_from(catalog, ref)
    sections = []
    if behind.get("from"):
        sections.append(Section("lineage", "Made from", tree=_node(behind, "from")))
    if ahead.get("into"):
        sections.append(
            Section(
                "made-of-it",
                "Made of it",
                text="What would have to go if this were withdrawn.",
                tree=_node(ahead, "into"),
            )
        )
    return tuple(sections)


def sources_section(catalog: Catalog, ref: str) -> Section | None:
    """Every source behind a thing with its licence and how it came in."""
    found = [node for node in nodes(lineage(catalog, ref)) if node["kind"] == "source"]
    names = sorted({node["name"] for node in found})
    if not names:
        return None
    rows = tuple(_source_row(catalog, name) for name in names)
    without = sum(row[2] == NOT_GIVEN for row in rows)
    return Section(
        "sources",
        "Sources and licences",
        text=f"No licence was given for {without} of {len(rows)} sources." if without else "",
        table=Table(
            (
                *("Source", "Role", "Licence", "Commercial use", "Published again", "Attribution"),
                *("Images", "Ingested from", "Ingest runs"),
            ),
            rows,
            (*(False,) * 6, True, False, False),
        ),
    )


def short(digest: str) -> str:
    """The beginning of a digest."""
    return digest[:SHORT]


def in_short(licence: str | None) -> str:
    """An SPDX id whole, the beginning of a sentence."""
    text = licence or NOT_GIVEN
    return text if len(text) <= LONGEST_ID else f"{text[: LONGEST_ID - 1]}…"


def _source_row(catalog: Catalog, name: str) -> tuple[str, ...]:
    row = catalog.source(name)
    runs = [
        f"{readable_time(run.started_at)} UTC, {run.state}, code {run.code_version}"
        for run in catalog.ingests(name)
    ]
    allowed = permissions(row.terms, row.licence)
    return (
        name,
        row.role,
        row.licence or NOT_GIVEN,
        allowed.commercial,
        allowed.rehost,
        row.attribution or "",
        f"{row.images:,}",
        row.uri,
        "; ".join(runs),
    )


def _node(node: Mapping[str, Any], link: str) -> dict[str, Any]:
    return {
        "kind": node["kind"].replace("-", " "),
        "name": str(node["name"]),
        "facts": [*_facts(node)],
        "children": [_node(child, link) for child in node.get(link, ())],
    }


def _facts(node: Mapping[str, Any]) -> list[Fact]:
    if node.get("repeated"):
        return [Fact("", "shown above")]
    shown = _SHOWN.get(node["kind"], ())
    facts = [_fact(key, node[key]) for key in shown if node.get(key) is not None]
    if node["kind"] == "source" and node.get("licence") is None:
        facts.append(Fact("licence", NOT_GIVEN))
    return facts


def _fact(key: str, value: object) -> Fact:
    label = key.replace("_", " ")
    if key in _CODES:
        return Fact(label, short(str(value)), code=True)
    if key == "bytes" and isinstance(value, int):
        return Fact(label, readable_bytes(value))
    return Fact(label, f"{value:,}" if isinstance(value, int) and value is not True else str(value))

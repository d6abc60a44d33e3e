"""What a thing was made from and what was made of it, as parts of a report."""

from collections.abc import Mapping
from typing import Any

from jobs.readable import readable_bytes, readable_setting
from jobs.report_licences import NOT_GIVEN
from jobs.report_lineage_graph import lineage_graph
from jobs.report_page import Fact, Section
from pipeline.catalog import Catalog
from pipeline.lineage import lineage, made_from, nodes

LONG_TREE = 30  # things, beyond which it is opened by hand
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
    """Where a thing stands as a drawing, the tree behind it, and the tree ahead of it."""
    behind, ahead = lineage(catalog, ref), made_from(catalog, ref)
    drawing = lineage_graph(behind, ahead)
    if drawing is None:
        return ()
    sections = [Section("lineage", "Lineage", drawings=(drawing,))]
    if behind.get("from"):
        sections.append(_tree("made-from", "Made from", behind, "from"))
    if ahead.get("into"):
        text = "What would have to go if this were withdrawn."
        sections.append(_tree("made-of-it", "Made of it", ahead, "into", text=text))
    return tuple(sections)


def _tree(
    anchor: str, title: str, root: Mapping[str, Any], link: str, *, text: str = ""
) -> Section:
    folded = len(list(nodes(dict(root)))) > LONG_TREE
    tree = _node(root, link)
    return Section(anchor, title, text, tree=tree, below=True, folded=folded)


def short(digest: str) -> str:
    """The beginning of a digest."""
    return digest[:SHORT]


def in_short(licence: str | None) -> str:
    """An SPDX id whole, the beginning of a sentence."""
    text = licence or NOT_GIVEN
    return text if len(text) <= LONGEST_ID else f"{text[: LONGEST_ID - 1]}…"


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
    if isinstance(value, int) and not isinstance(value, bool):
        return Fact(label, f"{value:,}")
    return Fact(label, readable_setting(value))

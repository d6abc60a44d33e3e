"""Where a thing in the catalog comes from, and what was made of it.

``lineage`` walks back: model → run → snapshot → label sets → teacher → … → sources with licence,
URI, ingest runs and code version. ``made_from`` walks forward from a source, so that one that its
owner withdraws can be traced through every label set, model and result. Both answer a tree of plain
dicts, fit for JSON: ``kind``, ``name``, facts, and the next nodes under ``from`` or ``into``.

What was made of images that have been withdrawn since is still there, and marked.

Shards are added up (count, images, digest), never listed: the tree of 62,000 shards is as small as
that of six. What was met before is named again with ``repeated`` and not walked a second time: a
chain of self-training ends, and stays linear.
"""

from collections.abc import Iterator
from difflib import get_close_matches

from sqlalchemy import select

from pipeline.catalog import Catalog
from pipeline.catalog_tables import image_shards, label_sets, models, runs, snapshots, sources
from pipeline.errors import CatalogConflictError, CatalogMissingError
from pipeline.lineage_back import BACK
from pipeline.lineage_forward import FORWARD
from pipeline.lineage_nodes import Node, Ref, walk
from pipeline.lineage_withdrawn import tainted

_NAMES = {
    "source": sources.c.name,
    "label-set": label_sets.c.name,
    "model": models.c.name,
    "run": runs.c.run_id,
    "snapshot": snapshots.c.snapshot_id,
    "shard": image_shards.c.shard_id,
}


def lineage(catalog: Catalog, ref: str) -> Node:
    """All that a source, shard, label set, model, run or snapshot was made from.

    ``ref`` is its name or id; ``model:NAME``, ``label-set:NAME`` and so on where a name is used
    for several.

    Raises:
        CatalogMissingError: Nothing has that name.
        CatalogConflictError: Several things have it.
    """
    return _marked(catalog, walk(catalog, _resolve(catalog, ref), BACK, "from"))


def made_from(catalog: Catalog, ref: str) -> Node:
    """All that was made from it; takes and raises what ``lineage`` does."""
    return _marked(catalog, walk(catalog, _resolve(catalog, ref), FORWARD, "into"))


def _marked(catalog: Catalog, tree: Node) -> Node:
    """Say ``from_withdrawn`` of what was made with images that were withdrawn since."""
    names = tainted(catalog)
    for node in nodes(tree):
        if node["name"] in names.get(node["kind"], ()):
            node["from_withdrawn"] = True
    return tree


def nodes(tree: Node) -> Iterator[Node]:
    """Every node of a tree once, apart from those that only repeat another."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if not node.get("repeated"):
            yield node
        stack += [*node.get("from", ()), *node.get("into", ())]


def _resolve(catalog: Catalog, ref: str) -> Ref:
    kind, _, name = ref.partition(":")
    kinds = [kind] if kind in _NAMES and name else list(_NAMES)
    name = name if kinds == [kind] else ref
    with catalog.read() as connection:
        found = [k for k in kinds if connection.scalar(select(1).where(_NAMES[k] == name))]
        if len(found) == 1:
            return Ref(found[0], name)
        if found:
            msg = f"{name!r} is several things: say {' or '.join(f'{k}:{name}' for k in found)}"
            raise CatalogConflictError(msg)
        named = ("source", "label-set", "model")
        known = [other for k in named for other in connection.scalars(select(_NAMES[k]))]
    meant = get_close_matches(name, known, n=1)
    guess = f"; did you mean {meant[0]!r}?" if meant else ""
    msg = f"nothing in the catalog is named {name!r} (looked for: {', '.join(kinds)}){guess}"
    raise CatalogMissingError(msg)

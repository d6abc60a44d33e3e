"""What was made with images that were withdrawn since: models to train again, and all after them.

A snapshot says which shards a run has read. One of them that was withdrawn makes the models of that
run tainted, the labels that such a model made, the snapshots that hold those labels, and so on.
"""

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import ColumnElement, false, or_, select, true

from pipeline.catalog import Catalog
from pipeline.catalog_tables import (
    image_shards,
    label_sets,
    models,
    runs,
    snapshot_members,
    snapshots,
)
from pipeline.lineage_forward import FORWARD
from pipeline.lineage_nodes import STARTED_FROM, Found, Node, Ref, pins, refs, walk

_AT_ONCE = 500  # values in one statement


def made_of_withdrawn(
    catalog: Catalog, source: str, shard_ids: Sequence[str] | None = None
) -> Node:
    """All that was made of some shards of a source, or of all of it: a tree as of ``made_from``."""
    holding = [
        Ref("snapshot", name) for name in sorted(set(_snapshots_with(catalog, source, shard_ids)))
    ]
    steps = FORWARD | {"withdrawal": lambda catalog, ref: Found({}, holding)}
    return walk(catalog, Ref("withdrawal", source), steps, "into")


def _snapshots_with(
    catalog: Catalog, source: str, shard_ids: Sequence[str] | None
) -> Iterator[str]:
    if shard_ids is None:
        known = [None, *_names(catalog, label_sets.c.name, true())]  # None: with ground truth
        holds = or_(*(pins(label_set=name, source=source) for name in known))
        yield from _names(catalog, snapshots.c.snapshot_id, holds)
        return
    yield from _holding(catalog, shard_ids)


def _holding(catalog: Catalog, shard_ids: Sequence[str]) -> Iterator[str]:
    """Snapshots that hold some of these, looked up by the shards: members are a million."""
    for start in range(0, len(shard_ids), _AT_ONCE):
        some = snapshot_members.c.shard_id.in_(shard_ids[start : start + _AT_ONCE])
        yield from _names(catalog, snapshot_members.c.snapshot_id, some)


def tainted(catalog: Catalog) -> dict[str, set[str]]:
    """Names per kind (``snapshot, run, model, label-set``) of all that withdrawn images are in."""
    found: dict[str, set[str]] = {kind: set() for kind in ("snapshot", "run", "model", "label-set")}
    with catalog.read() as connection:
        withdrawn = image_shards.c.withdrawn_at.is_not(None)
        gone = list(connection.scalars(select(image_shards.c.shard_id).where(withdrawn)))
    new = set(_holding(catalog, gone))
    while new:
        found["snapshot"] |= new
        found["run"] |= set(_names(catalog, runs.c.run_id, runs.c.snapshot_id.in_(new)))
        before = -1
        while len(found["model"]) > before:  # a model may have begun as another
            before = len(found["model"])
            made = models.c.run_id.in_(found["run"])
            found["model"] |= set(_names(catalog, models.c.name, made))
            begun = _began_as(found["model"])
            found["run"] |= set(_names(catalog, runs.c.run_id, begun))
        weights = select(models.c.sha256).where(models.c.name.in_(found["model"]))
        taught = label_sets.c.teacher_sha256.in_(weights)
        found["label-set"] |= set(_names(catalog, label_sets.c.name, taught))
        holds = or_(false(), *(pins(label_set=name) for name in found["label-set"]))
        new = set(_names(catalog, snapshots.c.snapshot_id, holds)) - found["snapshot"]
    return found


def _began_as(names: Collection[str]) -> ColumnElement[bool]:
    return or_(*(runs.c.config[key].as_string().in_(names) for key in STARTED_FROM))


def _names(catalog: Catalog, column: ColumnElement[str], which: ColumnElement[bool]) -> list[str]:
    return [ref.name for ref in refs(catalog, "", column, which)]

"""One step back for each kind of thing: what it came from."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, select

from pipeline.catalog import Catalog
from pipeline.catalog_sources import shards_digest
from pipeline.catalog_tables import models, snapshot_members
from pipeline.lineage_nodes import (
    STARTED_FROM,
    Found,
    Node,
    Ref,
    Step,
    label_set_facts,
    model_facts,
    refs,
    run_facts,
    shard_facts,
    source_facts,
)

_Shard = tuple[str, str, int]  # id, sha256, images
_FROM_NOTHING = "scratch"  # what encoders of random weights are called


def _back_model(catalog: Catalog, ref: Ref) -> Found:
    model = catalog.model(ref.name)
    return Found(model_facts(model), [Ref("run", model.run_id)] if model.run_id else [])


def _back_run(catalog: Catalog, ref: Ref) -> Found:
    run = catalog.run(ref.name)
    begun = {key: str(run.config[key]) for key in STARTED_FROM if run.config.get(key)}
    found = refs(catalog, "model", models.c.name, models.c.name.in_(begun.values()))
    known = {ref.name for ref in found}
    elsewhere = [
        {"kind": "model", "name": name, "external": True}
        for name in begun.values()
        if name not in known and not name.startswith(_FROM_NOTHING)
    ]
    if run.snapshot_id:
        found.append(Ref("snapshot", run.snapshot_id))
    return Found(run_facts(run), found, elsewhere)


def _back_snapshot(catalog: Catalog, ref: Ref) -> Found:
    members = _members(catalog, ref.name)
    labelled: dict[str, list[_Shard]] = {}
    pseudo: dict[str, list[_Shard]] = {}
    for member in members:
        if member.label_set is None:
            shard = (member.shard_id, member.image_sha256, member.rows)
            labelled.setdefault(member.source, []).append(shard)
        else:
            shard = (member.shard_id, member.label_sha256, member.rows)
            pseudo.setdefault(member.label_set, []).append(shard)
    found = [
        *(Ref("source", name, facts=_sum(labelled[name])) for name in labelled),
        *(Ref("label-set", name, snapshot=ref.name, facts=_sum(pseudo[name])) for name in pseudo),
    ]
    return Found({"shards": len(members), "images": sum(m.rows for m in members)}, found)


def _members(catalog: Catalog, snapshot_id: str, *which: ColumnElement[bool]) -> list[Any]:
    mine = select(snapshot_members).where(snapshot_members.c.snapshot_id == snapshot_id, *which)
    with catalog.read() as connection:
        return list(connection.execute(mine.order_by(snapshot_members.c.position)))


def _back_label_set(catalog: Catalog, ref: Ref) -> Found:
    facts = label_set_facts(catalog, ref.name)
    per_source: dict[str, list[_Shard]] = {}
    for source, shard_id, sha256, images in _image_shards(catalog, ref):
        per_source.setdefault(source, []).append((shard_id, sha256, images))
    found = [Ref("source", name, facts=_sum(per_source[name])) for name in sorted(per_source)]
    teacher = _teacher(catalog, facts["teacher"], facts["teacher_sha256"])
    if teacher is not None:
        return Found(facts, [teacher, *found])
    external = {"kind": "model", "name": facts["teacher"], "sha256": facts["teacher_sha256"]}
    return Found(facts, found, [external | {"external": True}])


def _image_shards(catalog: Catalog, ref: Ref) -> list[tuple[str, str, str, int]]:
    """(source, shard id, sha256, images) of what a label set labels, or of what is pinned."""
    if ref.snapshot is None:
        shards = [row.shard for row in catalog.label_shards(ref.name)]
        return [(shard.source, shard.shard_id, shard.sha256, shard.rows) for shard in shards]
    pinned = _members(catalog, ref.snapshot, snapshot_members.c.label_set == ref.name)
    return [(row.source, row.shard_id, row.image_sha256, row.rows) for row in pinned]


def _teacher(catalog: Catalog, name: str, sha256: str) -> Ref | None:
    """The registered model with the teacher's weights: the one of its name, or else any."""
    same = refs(catalog, "model", models.c.name, models.c.sha256 == sha256)
    return next((ref for ref in same if ref.name == name), next(iter(same), None))


def _sum(shards: Sequence[_Shard]) -> Node:
    digest = shards_digest((shard_id, sha256) for shard_id, sha256, _ in shards)
    return {"shards": len(shards), "images": sum(rows for *_, rows in shards), "digest": digest}


def _back_source(catalog: Catalog, ref: Ref) -> Found:
    return Found(source_facts(catalog, ref.name))


def _back_shard(catalog: Catalog, ref: Ref) -> Found:
    shard = shard_facts(catalog, ref.name)
    return Found(shard, [Ref("source", shard["source"])])


BACK: dict[str, Step] = {
    "source": _back_source,
    "shard": _back_shard,
    "label-set": _back_label_set,
    "model": _back_model,
    "run": _back_run,
    "snapshot": _back_snapshot,
}

"""One step back for each kind of thing: what it came from."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from pipeline.catalog import Catalog
from pipeline.catalog_tables import image_shards, label_shards, models, snapshot_members
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
    mine = snapshot_members.c.snapshot_id == ref.name
    columns = (snapshot_members.c.label_set, snapshot_members.c.source)
    images, labels = (_lines(snapshot_members.c[f"{kind}_sha256"]) for kind in ("image", "label"))
    members = _added_up(snapshot_members.c.rows, *columns, images, labels).where(mine)
    found: list[Ref] = []
    pseudo: dict[str, dict[str, _Part]] = {}
    with catalog.read() as connection:
        parts = connection.execute(members.group_by(*columns).order_by(*columns)).all()
    for shards, rows, label_set, source, image_lines, label_lines in parts:
        if label_set is None:
            facts = _Part(shards, int(rows), image_lines).facts()
            found.append(Ref("source", source, facts=facts))
        else:
            part = _Part(shards, int(rows), image_lines, label_lines)
            pseudo.setdefault(label_set, {})[source] = part
    for label_set, of_set in sorted(pseudo.items()):
        whole = _labels_of(of_set.values())
        per_source = {source: part.facts() for source, part in of_set.items()}
        pinned = Ref("label-set", label_set, ref.name, facts=whole.facts(), parts=per_source)
        found.append(pinned)
    total = {"shards": sum(p[0] for p in parts), "images": sum(int(p[1]) for p in parts)}
    return Found(total, found)


def _added_up(rows: ColumnElement[int], *columns: ColumnElement[Any]) -> Select[Any]:
    return select(func.count(), func.sum(rows), *columns)


def _lines(sha256: ColumnElement[str]) -> ColumnElement[str]:
    """What a digest is of, put together by the database: 62,000 rows of Python take five times."""
    line = sha256.table.c.shard_id + " " + func.coalesce(sha256, "")
    return func.aggregate_strings(line, "\n")


@dataclass(frozen=True, slots=True)
class _Part:
    """Shards of one source, added up; each line is the id of a shard and a sha256."""

    shards: int
    images: int
    lines: str
    label_lines: str = ""

    def facts(self) -> Node:
        """Count, images, and the digest as of ``shards_digest``."""
        lines = "\n".join(sorted(self.lines.split("\n")))
        digest = hashlib.sha256(f"{lines}\n".encode()).hexdigest()
        return {"shards": self.shards, "images": self.images, "digest": digest}


def _labels_of(parts: Iterable[_Part]) -> _Part:
    """The labels of several sources as one part."""
    parts = list(parts)
    lines = "\n".join(part.label_lines for part in parts)
    return _Part(sum(p.shards for p in parts), sum(p.images for p in parts), lines)


def _back_label_set(catalog: Catalog, ref: Ref) -> Found:
    facts = label_set_facts(catalog, ref.name)
    parts = _labelled_now(catalog, ref.name) if ref.snapshot is None else ref.parts
    found = [Ref("source", name, facts=parts[name]) for name in sorted(parts)]
    teacher = _teacher(catalog, facts["teacher"], facts["teacher_sha256"])
    if teacher is not None:
        return Found(facts, [teacher, *found])
    external = {"kind": "model", "name": facts["teacher"], "sha256": facts["teacher_sha256"]}
    return Found(facts, found, [external | {"external": True}])


def _labelled_now(catalog: Catalog, label_set: str) -> dict[str, Node]:
    """The image shards that a label set has labels of, added up per source."""
    same = image_shards.c.shard_id == label_shards.c.shard_id
    columns = image_shards.c.source, _lines(image_shards.c.sha256)
    found = _added_up(image_shards.c.rows, *columns).join_from(label_shards, image_shards, same)
    found = found.where(label_shards.c.label_set == label_set).group_by(image_shards.c.source)
    with catalog.read() as connection:
        rows = connection.execute(found).all()
    return {source: _Part(n, int(images), lines).facts() for n, images, source, lines in rows}


def _teacher(catalog: Catalog, name: str, sha256: str) -> Ref | None:
    """The registered model with the teacher's weights: the one of its name, or else any."""
    same = refs(catalog, "model", models.c.name, models.c.sha256 == sha256)
    return next((ref for ref in same if ref.name == name), next(iter(same), None))


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

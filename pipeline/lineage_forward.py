"""One step forward for each kind of thing: what was made of it."""

from dataclasses import asdict

from sqlalchemy import ColumnElement, or_, select

from pipeline.catalog import Catalog
from pipeline.catalog_tables import (
    evaluations,
    image_shards,
    label_sets,
    label_shards,
    models,
    runs,
    snapshot_members,
)
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
    source_facts,
)

_PINNED = snapshot_members.c.snapshot_id


def _forward_source(catalog: Catalog, ref: Ref) -> Found:
    found = _made_of_shards(catalog, "source", ref.name)
    scores = _scores(catalog, evaluations.c.source == ref.name)
    return Found(source_facts(catalog, ref.name), found, scores)


def _forward_shard(catalog: Catalog, ref: Ref) -> Found:
    shard = asdict(catalog.image_shard(ref.name))
    return Found(shard, _made_of_shards(catalog, "shard_id", ref.name))


def _made_of_shards(catalog: Catalog, column: str, value: str) -> list[Ref]:
    """Label sets of some image shards, and the snapshots that hold them with ground truth."""
    shards = select(image_shards.c.shard_id).where(image_shards.c[column] == value)
    labelled = label_shards.c.shard_id.in_(shards)
    with_truth = (snapshot_members.c[column] == value, snapshot_members.c.role == "labelled")
    return [
        *refs(catalog, "label-set", label_shards.c.label_set, labelled, only=(column, value)),
        *refs(catalog, "snapshot", _PINNED, *with_truth),
    ]


def _forward_label_set(catalog: Catalog, ref: Ref) -> Found:
    which = [snapshot_members.c.label_set == ref.name]
    if ref.only is not None:
        column, value = ref.only
        which.append(snapshot_members.c[column] == value)
    return Found(label_set_facts(catalog, ref.name), refs(catalog, "snapshot", _PINNED, *which))


def _forward_snapshot(catalog: Catalog, ref: Ref) -> Found:
    return Found({}, refs(catalog, "run", runs.c.run_id, runs.c.snapshot_id == ref.name))


def _forward_run(catalog: Catalog, ref: Ref) -> Found:
    made = refs(catalog, "model", models.c.name, models.c.run_id == ref.name)
    return Found(run_facts(catalog.run(ref.name)), made)


def _forward_model(catalog: Catalog, ref: Ref) -> Found:
    model = catalog.model(ref.name)
    taught = label_sets.c.teacher_sha256 == model.sha256
    began = or_(*(runs.c.config[key].as_string() == model.name for key in STARTED_FROM))
    found = [
        *refs(catalog, "label-set", label_sets.c.name, taught),
        *refs(catalog, "run", runs.c.run_id, began),
    ]
    scores = _scores(catalog, evaluations.c.model_sha256 == model.sha256)
    return Found(model_facts(model), found, scores)


def _scores(catalog: Catalog, which: ColumnElement[bool]) -> list[Node]:
    with catalog.read() as connection:
        rows = connection.execute(select(evaluations).where(which).order_by(evaluations.c.number))
        return [
            {
                "kind": "evaluation",
                "name": f"{row.protocol}@{row.version}",
                "model": row.model,
                "source": row.source,
            }
            for row in rows
        ]


FORWARD: dict[str, Step] = {
    "source": _forward_source,
    "shard": _forward_shard,
    "label-set": _forward_label_set,
    "model": _forward_model,
    "run": _forward_run,
    "snapshot": _forward_snapshot,
}

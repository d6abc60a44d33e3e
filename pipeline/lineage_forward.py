"""One step forward for each kind of thing: what was made of it."""

from sqlalchemy import ColumnElement, exists, or_, select

from pipeline.catalog import Catalog
from pipeline.catalog_tables import (
    evaluations,
    label_sets,
    label_shards,
    models,
    runs,
    snapshot_members,
    snapshots,
)
from pipeline.lineage_nodes import (
    STARTED_FROM,
    Found,
    Node,
    Ref,
    Step,
    label_set_facts,
    model_facts,
    pins,
    refs,
    run_facts,
    shard_facts,
    source_facts,
)


def _forward_source(catalog: Catalog, ref: Ref) -> Found:
    found = _made_of_shards(catalog, "source", ref.name)
    scores = _scores(catalog, evaluations.c.source == ref.name)
    return Found(source_facts(catalog, ref.name), found, scores)


def _forward_shard(catalog: Catalog, ref: Ref) -> Found:
    shard = shard_facts(catalog, ref.name)
    return Found(shard, _made_of_shards(catalog, "shard_id", ref.name))


def _made_of_shards(catalog: Catalog, column: str, value: str) -> list[Ref]:
    """Label sets of some image shards, and the snapshots that hold them with ground truth.

    Also label sets of which a snapshot has labels that were withdrawn since.
    """
    of_set = label_shards.c.label_set == label_sets.c.name, label_shards.c[column] == value
    # Over the snapshots, of which there are few: their members have no index without them.
    pinned = exists().where(
        snapshot_members.c.snapshot_id == snapshots.c.snapshot_id,
        snapshot_members.c.label_set == label_sets.c.name,
        snapshot_members.c[column] == value,
    )
    holds = or_(exists().where(*of_set), pinned)
    with_truth = pins(label_set=None, **{column: value})
    return [
        *refs(catalog, "label-set", label_sets.c.name, holds, only=(column, value)),
        *refs(catalog, "snapshot", snapshots.c.snapshot_id, with_truth),
    ]


def _forward_label_set(catalog: Catalog, ref: Ref) -> Found:
    only = [ref.only] if ref.only is not None else []
    held = pins(label_set=ref.name, **dict(only))
    found = refs(catalog, "snapshot", snapshots.c.snapshot_id, held)
    return Found(label_set_facts(catalog, ref.name), found)


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

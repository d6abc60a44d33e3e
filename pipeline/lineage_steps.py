"""One step of lineage for each kind of thing: what it came from, and what was made of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, select

from pipeline.catalog import Catalog, EvaluationRow, ModelRow, RunRow
from pipeline.catalog_sources import shards_digest
from pipeline.catalog_tables import image_shards, label_shards, snapshot_members

Node = dict[str, Any]

STARTED_FROM = ("init", "encoder")  # keys of a run's configuration that may name a model


@dataclass(frozen=True, slots=True)
class Ref:
    """A thing to walk to.

    Attributes:
        snapshot: Walking back: only what this snapshot holds of a label set.
        only: Walking forward: only what holds this (column of snapshot_members, value).
        facts: Known already, about this mention of it.
    """

    kind: str
    name: str
    snapshot: str | None = None
    only: tuple[str, str] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What one step finds: facts about the thing, where to walk on, and nodes without a next."""

    facts: Mapping[str, Any]
    next: Sequence[Ref] = ()
    leaves: Sequence[Node] = ()


_Shard = tuple[str, str, int]  # id, sha256, images
Step = Callable[[Catalog, Ref], Found]


def _model_facts(model: ModelRow) -> Node:
    facts = asdict(model)
    facts["made"] = facts.pop("kind")
    return {key: value for key, value in facts.items() if value is not None and key != "name"}


def _run_facts(run: RunRow) -> Node:
    return {
        "job": run.kind,
        "of": run.name,
        "state": run.state,
        "code_version": run.code_version,
        "started_at": run.started_at,
    }


def _source_facts(catalog: Catalog, name: str) -> Node:
    row = catalog.source(name)
    ingests = [
        {
            "run_id": run.run_id,
            "uri": run.uri,
            "state": run.state,
            "code_version": run.code_version,
            "started_at": run.started_at,
        }
        for run in catalog.ingests(name)
    ]
    keys = ("role", "uri", "layout", "licence", "attribution")
    return {key: getattr(row, key) for key in keys} | {"ingest_runs": ingests}


def _label_set_facts(catalog: Catalog, name: str) -> Node:
    row = catalog.label_set(name)
    keys = ("teacher", "teacher_sha256", "recipe", "recipe_hash", "code_version")
    return {key: getattr(row, key) for key in keys}


def _back_model(catalog: Catalog, ref: Ref) -> Found:
    model = catalog.model(ref.name)
    return Found(_model_facts(model), [Ref("run", model.run_id)] if model.run_id else [])


def _back_run(catalog: Catalog, ref: Ref) -> Found:
    run = catalog.run(ref.name)
    known = {model.name for model in catalog.models()}
    found = [Ref("model", name) for name in _started_from(run) if name in known]
    if run.snapshot_id:
        found.append(Ref("snapshot", run.snapshot_id))
    return Found(_run_facts(run), found)


def _started_from(run: RunRow) -> list[str]:
    return [str(run.config[key]) for key in STARTED_FROM if key in run.config]


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
    facts = _label_set_facts(catalog, ref.name)
    per_source: dict[str, list[_Shard]] = {}
    for source, shard_id, sha256, images in _image_shards(catalog, ref):
        per_source.setdefault(source, []).append((shard_id, sha256, images))
    found = [Ref("source", name, facts=_sum(per_source[name])) for name in sorted(per_source)]
    teacher = _teacher(catalog, facts["teacher"], facts["teacher_sha256"])
    if teacher is not None:
        return Found(facts, [Ref("model", teacher), *found])
    external = {"kind": "model", "name": facts["teacher"], "sha256": facts["teacher_sha256"]}
    return Found(facts, found, [external | {"external": True}])


def _image_shards(catalog: Catalog, ref: Ref) -> list[tuple[str, str, str, int]]:
    """(source, shard id, sha256, images) of what a label set labels, or of what is pinned."""
    if ref.snapshot is None:
        shards = [row.shard for row in catalog.label_shards(ref.name)]
        return [(shard.source, shard.shard_id, shard.sha256, shard.rows) for shard in shards]
    pinned = _members(catalog, ref.snapshot, snapshot_members.c.label_set == ref.name)
    return [(row.source, row.shard_id, row.image_sha256, row.rows) for row in pinned]


def _teacher(catalog: Catalog, name: str, sha256: str) -> str | None:
    """The registered model with the teacher's weights: the one of its name, or else the first."""
    same = [model.name for model in catalog.models() if model.sha256 == sha256]
    return name if name in same else next(iter(same), None)


def _sum(shards: Sequence[_Shard]) -> Node:
    digest = shards_digest((shard_id, sha256) for shard_id, sha256, _ in shards)
    return {"shards": len(shards), "images": sum(rows for *_, rows in shards), "digest": digest}


def _back_source(catalog: Catalog, ref: Ref) -> Found:
    return Found(_source_facts(catalog, ref.name))


def _back_shard(catalog: Catalog, ref: Ref) -> Found:
    shard = asdict(catalog.image_shard(ref.name))
    return Found(shard, [Ref("source", shard["source"])])


def _forward_source(catalog: Catalog, ref: Ref) -> Found:
    found = _made_of_shards(
        catalog,
        labelled=image_shards.c.source == ref.name,
        pinned=snapshot_members.c.source == ref.name,
        only=("source", ref.name),
    )
    scores = [row for row in catalog.evaluations() if row.source == ref.name]
    return Found(_source_facts(catalog, ref.name), found, [*map(_score, scores)])


def _forward_shard(catalog: Catalog, ref: Ref) -> Found:
    found = _made_of_shards(
        catalog,
        labelled=image_shards.c.shard_id == ref.name,
        pinned=snapshot_members.c.shard_id == ref.name,
        only=("shard_id", ref.name),
    )
    return Found(asdict(catalog.image_shard(ref.name)), found)


def _made_of_shards(
    catalog: Catalog,
    *,
    labelled: ColumnElement[bool],
    pinned: ColumnElement[bool],
    only: tuple[str, str],
) -> list[Ref]:
    """Label sets of some image shards, and the snapshots that hold them with ground truth."""
    same_shard = image_shards.c.shard_id == label_shards.c.shard_id
    sets = select(label_shards.c.label_set).join(image_shards, same_shard).where(labelled)
    with catalog.read() as connection:
        names = sorted(connection.scalars(sets.distinct()))
    truth = pinned & (snapshot_members.c.role == "labelled")
    return [Ref("label-set", name, only=only) for name in names] + _pinned(catalog, truth)


def _pinned(catalog: Catalog, which: ColumnElement[bool]) -> list[Ref]:
    ids = select(snapshot_members.c.snapshot_id).where(which).distinct()
    with catalog.read() as connection:
        return [Ref("snapshot", snapshot_id) for snapshot_id in sorted(connection.scalars(ids))]


def _forward_label_set(catalog: Catalog, ref: Ref) -> Found:
    which = snapshot_members.c.label_set == ref.name
    if ref.only is not None:
        column, value = ref.only
        which &= snapshot_members.c[column] == value
    return Found(_label_set_facts(catalog, ref.name), _pinned(catalog, which))


def _forward_snapshot(catalog: Catalog, ref: Ref) -> Found:
    runs = [run for run in catalog.runs() if run.snapshot_id == ref.name]
    return Found({}, [Ref("run", run.run_id) for run in runs])


def _forward_run(catalog: Catalog, ref: Ref) -> Found:
    made = [model for model in catalog.models() if model.run_id == ref.name]
    facts = _run_facts(catalog.run(ref.name))
    return Found(facts, [Ref("model", model.name) for model in made])


def _forward_model(catalog: Catalog, ref: Ref) -> Found:
    model = catalog.model(ref.name)
    sets = [row for row in catalog.label_sets() if row.teacher_sha256 == model.sha256]
    runs = [run for run in catalog.runs() if model.name in _started_from(run)]
    scores = [row for row in catalog.evaluations() if row.model_sha256 == model.sha256]
    found = [Ref("label-set", row.name) for row in sets] + [Ref("run", run.run_id) for run in runs]
    return Found(_model_facts(model), found, [*map(_score, scores)])


def _score(row: EvaluationRow) -> Node:
    name = f"{row.protocol}@{row.version}"
    return {"kind": "evaluation", "name": name, "model": row.model, "source": row.source}


BACK: dict[str, Step] = {
    "source": _back_source,
    "shard": _back_shard,
    "label-set": _back_label_set,
    "model": _back_model,
    "run": _back_run,
    "snapshot": _back_snapshot,
}
FORWARD: dict[str, Step] = {
    "source": _forward_source,
    "shard": _forward_shard,
    "label-set": _forward_label_set,
    "model": _forward_model,
    "run": _forward_run,
    "snapshot": _forward_snapshot,
}

"""What lineage is made of: things to walk to, what a step finds there, and facts to show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, exists, select

from pipeline.catalog import Catalog, ModelRow, RunRow
from pipeline.catalog_tables import image_shards, label_sets, snapshot_members, snapshots, sources
from pipeline.licences import permissions

# Keys of a run's configuration that may name a model of which something went into the new one.
STARTED_FROM = ("init", "encoder", "sky_segmenter")

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ref:
    """A thing to walk to.

    Attributes:
        snapshot: Walking back: only what this snapshot holds of a label set.
        only: Walking forward: only what holds this (column of snapshot_members, value).
        facts: Known already, about this mention of it.
        parts: Of a label set in a snapshot: facts about each source in it.
    """

    kind: str
    name: str
    snapshot: str | None = None
    only: tuple[str, str] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)
    parts: Mapping[str, Node] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What one step finds: facts about the thing, where to walk on, and nodes without a next."""

    facts: Mapping[str, Any]
    next: Sequence[Ref] = ()
    leaves: Sequence[Node] = ()


Step = Callable[[Catalog, Ref], Found]


def refs(
    catalog: Catalog, kind: str, name: ColumnElement[Any], *which: Any, **scope: Any
) -> list[Ref]:
    """A reference to each thing of one kind whose rows are so, by name."""
    names = select(name).where(*which).distinct().order_by(name)
    with catalog.read() as connection:
        return [Ref(kind, found, **scope) for found in connection.scalars(names)]


def pins(**which: str | None) -> ColumnElement[bool]:
    """Whether a snapshot, a row of ``snapshots``, has a member whose columns are so.

    Asked of each snapshot by the index of its members: there are tens of snapshots, and a million
    members.
    """
    columns = (snapshot_members.c[name] == value for name, value in which.items())
    return exists().where(snapshot_members.c.snapshot_id == snapshots.c.snapshot_id, *columns)


def walk(catalog: Catalog, start: Ref, steps: Mapping[str, Step], link: str) -> Node:
    """Breadth first and without recursion, for chains of any length."""
    root: Node = {"kind": start.kind, "name": start.name}
    queue, met = [(start, root)], {start}
    for ref, node in queue:
        found = steps[ref.kind](catalog, ref)
        node |= found.facts
        node[link] = [*found.leaves]
        for child in found.next:
            mention = {"kind": child.kind, "name": child.name, **child.facts}
            node[link].append(mention)
            if child in met:
                mention["repeated"] = True
            else:
                met.add(child)
                queue.append((child, mention))
    return root


def model_facts(model: ModelRow) -> Node:
    """What there is to say of a model."""
    facts = asdict(model)
    facts["made"] = facts.pop("kind")
    return {key: value for key, value in facts.items() if value is not None and key != "name"}


def run_facts(run: RunRow) -> Node:
    """What there is to say of a training run; its configuration is for ``Catalog.run``."""
    return {
        "job": run.kind,
        "of": run.name,
        "state": run.state,
        "code_version": run.code_version,
        "started_at": run.started_at,
    }


def source_facts(catalog: Catalog, name: str) -> Node:
    """What there is to say of a source: licence, what was withdrawn, who ingested what into it.

    Nothing is counted.
    """
    row = _source(catalog, name)
    ingests = [
        {
            "run_id": run.run_id,
            "uri": run.uri,
            "state": run.state,
            "code_version": run.code_version,
            "started_at": run.started_at,
        }
        for run in catalog.ingests(name)
        if "withdraw" not in run.config  # it held the source, and added nothing
    ]
    keys = ("role", "uri", "layout", "preset", "licence", "attribution", "terms")
    facts = {key: getattr(row, key) for key in keys} | {"ingest_runs": ingests}
    facts |= asdict(permissions(row.terms, row.licence))
    if row.withdrawn_at is not None:
        facts["withdrawn_at"] = row.withdrawn_at
    elif withdrawn := sum(each.samples for each in catalog.withdrawals(name)):
        facts["withdrawn_samples"] = withdrawn
    return facts


def _source(catalog: Catalog, name: str) -> Any:
    """Its row, without what it holds."""
    with catalog.read() as connection:
        row = connection.execute(select(sources).where(sources.c.name == name)).first()
    return catalog.source(name) if row is None else row  # which says what was meant


def shard_facts(catalog: Catalog, shard_id: str) -> Node:
    """What there is to say of an image shard, also of one that was withdrawn."""
    facts = asdict(catalog.image_shard(shard_id))
    at = select(image_shards.c.withdrawn_at).where(image_shards.c.shard_id == shard_id)
    with catalog.read() as connection:
        withdrawn_at = connection.scalar(at)
    return facts if withdrawn_at is None else facts | {"withdrawn_at": withdrawn_at}


def label_set_facts(catalog: Catalog, name: str) -> Node:
    """What there is to say of a label set; nothing is counted."""
    keys = ("teacher", "teacher_sha256", "recipe", "recipe_hash", "code_version")
    facts = select(*(label_sets.c[key] for key in keys)).where(label_sets.c.name == name)
    with catalog.read() as connection:
        row = connection.execute(facts).first()
    if row is None:
        catalog.label_set(name)  # which says what was meant
    return dict(row._mapping) if row is not None else {}

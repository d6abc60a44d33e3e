"""What lineage is made of: things to walk to, what a step finds there, and facts to show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, select

from pipeline.catalog import Catalog, ModelRow, RunRow

STARTED_FROM = ("init", "encoder")  # keys of a run's configuration that may name a model

Node = dict[str, Any]


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


Step = Callable[[Catalog, Ref], Found]


def refs(
    catalog: Catalog, kind: str, name: ColumnElement[Any], *which: Any, **scope: Any
) -> list[Ref]:
    """A reference to each thing of one kind whose rows are so, by name."""
    names = select(name).where(*which).distinct().order_by(name)
    with catalog.read() as connection:
        return [Ref(kind, found, **scope) for found in connection.scalars(names)]


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
    """What there is to say of a source: its licence, and each run that ingested into it."""
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


def label_set_facts(catalog: Catalog, name: str) -> Node:
    """What there is to say of a label set."""
    row = catalog.label_set(name)
    keys = ("teacher", "teacher_sha256", "recipe", "recipe_hash", "code_version")
    return {key: getattr(row, key) for key in keys}

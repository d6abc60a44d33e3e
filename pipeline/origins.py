"""Which sources and models from elsewhere stand behind a thing, and what their owners permit.

`lineage` answers with trees for people; this answers with names for a policy, and fast enough to
be asked for every model of a list: shards are never listed, only which sources a snapshot or a
label set has some of.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from sqlalchemy import select

from pipeline.catalog import Catalog
from pipeline.catalog_tables import (
    label_sets,
    label_shards,
    models,
    runs,
    snapshot_members,
    sources,
)
from pipeline.errors import CatalogConflictError, CatalogMissingError
from pipeline.licences import permissions
from pipeline.lineage_nodes import STARTED_FROM
from pipeline.presets import Permission

MADE_OF_NOTHING = "scratch"  # what encoders of random weights are called

Kind = Literal["source", "label-set", "model"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Something that was not made here.

    Attributes:
        attribution: Whether each image's author is to be named.
        via: What was asked for and led here, such as ``label-set photos-labels``; empty where it is
            the thing itself.
    """

    kind: Literal["source", "model"]
    name: str
    licence: str | None
    commercial: Permission
    rehost: Permission
    attribution: bool = False
    via: str = ""


class Origins:
    """Walks back from things of a catalog to what they began with.

    Args:
        catalog: Read once, at the beginning; a snapshot's sources when they are needed.
        licence_of: The licence of a model from elsewhere, by its path or id.
    """

    def __init__(self, catalog: Catalog, licence_of: Callable[[str], str | None]) -> None:
        self._catalog = catalog
        self._licence_of = licence_of
        self._pinned: dict[str, set[tuple[str, str | None]]] = {}
        with catalog.read() as connection:
            self._sources = {row.name: row for row in connection.execute(select(sources))}
            self._models = {row.name: row for row in connection.execute(select(models))}
            taught = select(label_sets.c.name, label_sets.c.teacher, label_sets.c.teacher_sha256)
            self._label_sets = {row.name: row for row in connection.execute(taught)}
            began = select(runs.c.run_id, runs.c.config, runs.c.snapshot_id)
            self._runs = {row.run_id: row for row in connection.execute(began)}

    def behind(self, *things: tuple[Kind, str]) -> list[Origin]:
        """What stands behind these, sources first, each once, by name.

        A model that the catalog does not have is itself from elsewhere.

        Raises:
            CatalogMissingError: There is no such source or label set.
        """
        found: dict[tuple[str, str], Origin] = {}
        queue = deque((kind, name, "") for kind, name in things)
        met: set[tuple[Kind, str]] = set()
        while queue:
            kind, name, via = queue.popleft()
            if (kind, name) in met:
                continue
            met.add((kind, name))
            origin = self._origin(kind, name, via)
            if origin is not None:
                found.setdefault((origin.kind, origin.name), origin)
                continue
            via = via or f"{kind} {name}"
            queue.extend((*step, via) for step in self._steps(kind, name))
        return sorted(found.values(), key=lambda origin: (origin.kind == "model", origin.name))

    def find(self, ref: str) -> tuple[Kind, str]:
        """What has that name; ``model:NAME``, ``label-set:NAME``, ``source:NAME`` where several do.

        Raises:
            CatalogMissingError: Nothing has it.
            CatalogConflictError: Several things have it.
        """
        known: dict[Kind, Collection[str]] = {
            "source": self._sources,
            "label-set": self._label_sets,
            "model": self._models,
        }
        kind, _, name = ref.partition(":")
        asked = {each: (name if each == kind else ref) for each in known if kind in (each, ref)}
        found = [(each, called) for each, called in asked.items() if called in known[each]]
        if not found:
            meant = get_close_matches(
                name or ref, [n for names in known.values() for n in names], 1
            )
            guess = f"; did you mean {meant[0]!r}?" if meant else ""
            msg = f"no source, label set or model is named {ref!r}{guess}"
            raise CatalogMissingError(msg)
        if len(found) > 1:
            listed = " or ".join(f"{each}:{ref}" for each, _ in found)
            raise CatalogConflictError(f"{ref!r} is several things: say {listed}")
        return found[0]

    def snapshots(self, *things: tuple[Kind, str]) -> set[str]:
        """The snapshots that models have learnt from: these, teachers, and what they began with."""
        pinned: set[str] = set()
        queue = [*things]
        met: set[tuple[Kind, str]] = set()
        for kind, name in queue:
            if (kind, name) in met or kind == "source":
                continue
            met.add((kind, name))
            run = self._run_of(name) if kind == "model" else None
            if run is not None and run.snapshot_id:
                pinned.add(run.snapshot_id)
            if kind == "label-set" or run is not None:
                queue += self._steps(kind, name)
        return pinned

    def _origin(self, kind: Kind, name: str, via: str) -> Origin | None:
        """The thing, if it is one; None for what was made here of something else."""
        if kind == "source":
            return self._source(name, via)
        if kind == "label-set":
            return None
        model = self._model(name)
        if model is not None and model.run_id is not None:
            return None
        licence = self._licence_of(name)
        if model is not None:
            name, licence = model.name, model.licence or self._licence_of(model.uri or "")
        allowed = permissions(None, licence)
        return Origin("model", name, licence, allowed.commercial, allowed.rehost, via=via)

    def _source(self, name: str, via: str) -> Origin:
        if name not in self._sources:
            self._catalog.source(name)  # which knows what was meant
        row = self._sources[name]
        terms: Mapping[str, Any] = row.terms or {}
        allowed = permissions(terms, row.licence)
        needs_names = bool(terms.get("attribution"))
        return Origin(
            "source", name, row.licence, allowed.commercial, allowed.rehost, needs_names, via
        )

    def _steps(self, kind: Kind, name: str) -> Iterator[tuple[Kind, str]]:
        if kind == "label-set":
            yield from self._behind_label_set(name)
            return
        run = self._run_of(name)
        if run is None:
            return
        for key in STARTED_FROM:
            began = run.config.get(key)
            if began and not str(began).startswith(MADE_OF_NOTHING):
                yield "model", str(began)
        for source, label_set in self._pinned_by(run.snapshot_id):
            yield "source", source
            if label_set in self._label_sets:
                yield "model", self._teacher(label_set)

    def _behind_label_set(self, name: str) -> Iterator[tuple[Kind, str]]:
        if name not in self._label_sets:
            self._catalog.label_set(name)
        yield "model", self._teacher(name)
        shards = select(label_shards.c.source).where(label_shards.c.label_set == name).distinct()
        with self._catalog.read() as connection:
            for source in connection.scalars(shards):
                yield "source", source

    def _pinned_by(self, snapshot_id: str | None) -> set[tuple[str, str | None]]:
        """Sources of a snapshot, with the label set where they are in it by their labels."""
        if snapshot_id is None:
            return set()
        if snapshot_id not in self._pinned:
            columns = (snapshot_members.c.source, snapshot_members.c.label_set)
            mine = select(*columns).where(snapshot_members.c.snapshot_id == snapshot_id).distinct()
            with self._catalog.read() as connection:
                self._pinned[snapshot_id] = {tuple(row) for row in connection.execute(mine)}
        return self._pinned[snapshot_id]

    def _teacher(self, label_set: str | None) -> str:
        """The registered model with the teacher's weights, else the name it had."""
        row = self._label_sets[label_set]
        same = [model.name for model in self._models.values() if model.sha256 == row.teacher_sha256]
        return str(row.teacher) if row.teacher in same or not same else str(same[0])

    def _run_of(self, name: str) -> Any | None:
        model = self._model(name)
        return None if model is None or model.run_id is None else self._runs.get(model.run_id)

    def _model(self, name: str) -> Any | None:
        """By its name, or by the place it was registered from."""
        if name in self._models:
            return self._models[name]
        return next((row for row in self._models.values() if row.uri == name), None)

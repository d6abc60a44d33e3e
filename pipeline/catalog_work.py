"""Work of a label set as a whole: planned in one statement, counted, and asked about.

Leasing and committing single shards is in ``leases``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)

from pipeline import catalog_tables as tables
from pipeline.catalog_database import Database
from pipeline.catalog_labels import labelled_of, quarantined_of
from pipeline.catalog_rows import Amount, LabelProgress, SourceWork
from pipeline.catalog_sources import require_names
from pipeline.catalog_tables import database_now, image_shards, label_sets, quarantine, work
from pipeline.catalog_withdrawn import require_not_withdrawn

_EXPIRED = (work.c.state == "leased") & (work.c.lease_until <= database_now())


def plan_work(database: Database, label_set: str, sources: Sequence[str]) -> int:
    """Add the committed shards of these sources that the label set lacks; returns how many.

    One statement, whatever the number of shards; running it again adds what came since.

    Raises:
        CatalogMissingError: No label set or source has that name.
        WithdrawnError: One of the sources was withdrawn.
    """
    missing = select(
        literal(label_set),
        image_shards.c.shard_id,
        image_shards.c.source,
        image_shards.c.number,
        image_shards.c.rows,
        literal("pending"),
        literal(0),
        literal(0),
    ).where(*_unplanned(label_set, sources))
    columns = ["label_set", "shard_id", "source", "number", "images", "state", "attempts", "epoch"]
    with database.write() as connection:
        require_names(connection, label_sets, [label_set], what="label set")
        require_names(connection, tables.sources, sources, what="source")
        # Before the label set, as in a withdrawal, which must not miss what is planned meanwhile.
        names = tables.sources.c.name
        as_they_are = select(names).where(names.in_(sources)).order_by(names)
        connection.execute(as_they_are.with_for_update(read=True))
        require_not_withdrawn(connection, sources)
        one_planner = select(label_sets.c.name).where(label_sets.c.name == label_set)
        connection.execute(one_planner.with_for_update(key_share=True))
        added = insert(work).from_select(columns, missing)
        return connection.execute(added.execution_options(preserve_rowcount=True)).rowcount


def _unplanned(label_set: str, sources: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    mine = work.c.label_set == label_set, work.c.shard_id == image_shards.c.shard_id
    counts = image_shards.c.source.in_(sources), image_shards.c.withdrawn_at.is_(None)
    return (*counts, ~exists().where(*mine))


def progress(
    database: Database, label_set: str, sources: Sequence[str] | None = None
) -> LabelProgress:
    """Where the planned work of a label set stands, for all its sources or for some.

    Raises:
        CatalogMissingError: No label set has that name.
    """
    with database.read() as connection:
        require_names(connection, label_sets, [label_set], what="label set")
        amounts = _planned_of(connection, label_set, sources)
        labelled = labelled_of(connection, label_set, sources)
        quarantined = quarantined_of(connection, label_set, sources)
    total = SourceWork(label_set, **_added_up(amounts.values()))
    return LabelProgress(
        pending=total.pending.shards,
        leased=total.leased.shards,
        done=total.done.shards,
        failed=total.failed.shards,
        images=total.total.images,
        images_left=total.left.images,
        labelled=labelled,
        quarantined=quarantined,
    )


def _added_up(amounts: Iterable[Mapping[str, Amount]]) -> dict[str, Amount]:
    """Amounts per state over all sources."""
    states: dict[str, Amount] = {}
    for found in amounts:
        for state, amount in found.items():
            states[state] = states.get(state, Amount()) + amount
    return states


def progress_by_source(
    database: Database, label_set: str, sources: Sequence[str] | None = None
) -> list[SourceWork]:
    """Where the planned work stands, source by source, by name; sources without any are left out.

    Raises:
        CatalogMissingError: No label set has that name.
    """
    with database.read() as connection:
        require_names(connection, label_sets, [label_set], what="label set")
        amounts = _planned_of(connection, label_set, sources)
    return [SourceWork(source, **states) for source, states in sorted(amounts.items())]


def work_ahead(database: Database, label_set: str, sources: Sequence[str]) -> list[SourceWork]:
    """What planning these sources now would find, each of them in the order given.

    Nothing is written; the label set need not exist yet.

    Raises:
        CatalogMissingError: No source has that name.
        WithdrawnError: One of them was withdrawn.
    """
    new = select(image_shards.c.source, func.count(), func.sum(image_shards.c.rows))
    new = new.where(*_unplanned(label_set, sources)).group_by(image_shards.c.source)
    with database.read() as connection:
        require_names(connection, tables.sources, sources, what="source")
        require_not_withdrawn(connection, sources)
        amounts = _planned_of(connection, label_set, sources)
        for what, query in (("new", new), ("quarantined", _triable_of(label_set, sources))):
            for source, shards, images in connection.execute(query):
                amounts.setdefault(source, {})[what] = Amount(shards, int(images))
    return [SourceWork(source, **amounts.get(source, {})) for source in sources]


def _planned_of(
    connection: Connection, label_set: str, sources: Iterable[str] | None
) -> dict[str, dict[str, Amount]]:
    """Amounts per source and state; what is leased and has expired is pending.

    Apart from the few that are leased, only an index is read.
    """
    every = select(work.c.source, work.c.state, func.count(), func.sum(work.c.images))
    every = every.where(*_which(label_set, sources)).group_by(work.c.source, work.c.state)
    expired = select(work.c.source, func.count(), func.sum(work.c.images))
    expired = expired.where(*_which(label_set, sources), _EXPIRED).group_by(work.c.source)
    amounts: dict[str, dict[str, Amount]] = {}
    for source, state, shards, images in connection.execute(every):
        amounts.setdefault(source, {})[state] = Amount(shards, int(images))
    for source, shards, images in connection.execute(expired):
        states, late = amounts[source], Amount(shards, int(images))
        states["pending"] = states.get("pending", Amount()) + late
        states["leased"] = states["leased"] + Amount(-shards, -int(images))
    return amounts


def _triable_of(label_set: str, sources: Iterable[str]) -> Select[Any]:
    same = (work.c.label_set == quarantine.c.label_set) & (work.c.shard_id == quarantine.c.shard_id)
    shards = func.count(quarantine.c.shard_id.distinct())
    found = select(quarantine.c.source, shards, func.sum(quarantine.c.images))
    at_rest = work.c.state.in_(("done", "failed"))
    found = found.join_from(quarantine, work, same).where(*_which(label_set, sources), at_rest)
    return found.group_by(quarantine.c.source)


def retry_failed(database: Database, label_set: str, sources: Sequence[str] | None = None) -> int:
    """Make failed shards pending again, with no attempt charged; returns how many."""
    failed = update(work).where(*_which(label_set, sources), work.c.state == "failed")
    with database.write() as connection:
        return connection.execute(failed.values(state="pending", attempts=0)).rowcount


def retry_quarantined(
    database: Database, label_set: str, sources: Sequence[str] | None = None
) -> int:
    """Make shards with quarantined images pending again; returns how many.

    Their labels stay committed until the commit of a new label shard replaces them.
    """
    has_quarantined = exists().where(
        quarantine.c.label_set == work.c.label_set, quarantine.c.shard_id == work.c.shard_id
    )
    at_rest = work.c.state.in_(("done", "failed"))
    again = update(work).where(*_which(label_set, sources), at_rest, has_quarantined)
    with database.write() as connection:
        return connection.execute(again.values(state="pending", attempts=0)).rowcount


def failed_work(
    database: Database, label_set: str, sources: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """The id and last error of each failed shard."""
    failed = select(work.c.shard_id, work.c.error).where(*_which(label_set, sources))
    failed = failed.where(work.c.state == "failed").order_by(work.c.number)
    with database.read() as connection:
        return [(shard_id, error) for shard_id, error in connection.execute(failed)]


def live_owners(database: Database, label_set: str) -> list[str]:
    """Who holds leases of the label set that have not expired."""
    live = select(work.c.owner).where(
        work.c.label_set == label_set,
        work.c.state == "leased",
        work.c.lease_until > database_now(),
    )
    with database.read() as connection:
        return list(connection.scalars(live.distinct().order_by(work.c.owner)))


def _which(label_set: str, sources: Iterable[str] | None) -> list[ColumnElement[bool]]:
    of_set = [work.c.label_set == label_set]
    return of_set if sources is None else [*of_set, work.c.source.in_(sources)]

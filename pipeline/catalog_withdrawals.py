"""What was taken out of a source after it had been committed: all of it, or samples of some shards.

A shard never changes. One that holds withdrawn samples is replaced by another without them; the old
one is marked and counts no more, and neither do its labels and the work on them. All of that is one
transaction. Nobody can read the old shard into a snapshot or plan work on it meanwhile: the source
and the label sets are locked, in the order in which `pin_snapshot` locks them.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from pipeline.catalog_database import Database
from pipeline.catalog_ingest import lock_newest, update_held
from pipeline.catalog_rows import Amount, IngestLease
from pipeline.catalog_tables import (
    database_now,
    image_shards,
    label_sets,
    label_shards,
    quarantine,
    sources,
    withdrawals,
    work,
)
from pipeline.catalog_values import storable_text
from pipeline.errors import CatalogConflictError
from pipeline.records import ShardRef

_REASON_CHARACTERS = 4000


def withdraw_shard(
    database: Database,
    lease: IngestLease,
    shard_id: str,
    *,
    replacement: ShardRef | None,
    key: str,
    samples: int,
    reason: str,
    ttl_s: float,
) -> dict[str, Amount]:
    """Let a shard count no more, and its replacement instead, as of the same ingest run.

    The lease lives ``ttl_s`` from now. The same call again is allowed, for callers that did not
    hear the answer: nothing happens a second time.

    Returns:
        Per label set the label shards that count no more, and the labelled images in them.

    Raises:
        LeaseLostError: Another owner took over the source.
        CatalogConflictError: The source has no such shard, or it was withdrawn with another result.
    """
    replaced_by = replacement.shard_id if replacement else None
    with database.write() as connection:
        _lock(connection, lease, ttl_s)
        mine = image_shards.c.shard_id == shard_id, image_shards.c.source == lease.source
        mark = update(image_shards).where(*mine, image_shards.c.withdrawn_at.is_(None))
        mark = mark.values(withdrawn_at=database_now()).returning(image_shards.c.run_id)
        run_id = connection.scalar(mark)
        if run_id is None:
            _check_same(connection, lease.source, shard_id, replaced_by)
            return {}
        if replacement is not None:
            row = {name: getattr(replacement, name) for name in ShardRef.__slots__}
            row |= {"run_id": run_id, "committed_at": database_now()}
            connection.execute(insert(image_shards).values(row))
        values = {"shard_id": shard_id, "replaced_by": replaced_by, "key": key}
        _record(connection, lease.source, samples=samples, reason=reason, **values)
        return _forget_labels(connection, "shard_id", shard_id)


def withdraw_source(
    database: Database, lease: IngestLease, *, reason: str, ttl_s: float
) -> dict[str, Amount]:
    """Let all shards of a source count no more, for good; returns and raises as `withdraw_shard`.

    What is withdrawn already stays as it is.
    """
    with database.write() as connection:
        _lock(connection, lease, ttl_s)
        mark = update(sources).where(sources.c.name == lease.source)
        mark = mark.where(sources.c.withdrawn_at.is_(None)).values(withdrawn_at=database_now())
        if connection.execute(mark).rowcount == 0:
            return {}
        left = image_shards.c.source == lease.source, image_shards.c.withdrawn_at.is_(None)
        images = connection.scalar(select(func.sum(image_shards.c.rows)).where(*left))
        connection.execute(update(image_shards).where(*left).values(withdrawn_at=database_now()))
        _record(connection, lease.source, samples=int(images or 0), reason=reason)
        return _forget_labels(connection, "source", lease.source)


def _lock(connection: Connection, lease: IngestLease, ttl_s: float) -> None:
    lock_newest(connection, lease.source)
    update_held(connection, lease, lease_until=database_now() + ttl_s)


def _check_same(
    connection: Connection, source: str, shard_id: str, replaced_by: str | None
) -> None:
    mine = withdrawals.c.source == source, withdrawals.c.shard_id == shard_id
    known = connection.execute(select(withdrawals.c.replaced_by).where(*mine)).first()
    if known is None or known.replaced_by != replaced_by:
        msg = f"shard {shard_id} of source {source!r} is not there, or was withdrawn by another"
        raise CatalogConflictError(msg)


def _record(connection: Connection, source: str, *, reason: str, **values: Any) -> None:
    text = storable_text(reason, limit=_REASON_CHARACTERS)
    row = {"source": source, "reason": text, "withdrawn_at": database_now(), **values}
    connection.execute(insert(withdrawals).values(row))


def _forget_labels(connection: Connection, column: str, value: str) -> dict[str, Amount]:
    """Remove labels and work of a shard or source; what a driver holds, it can commit no more.

    Work goes first: a commit that is under way holds its row, and what it commits goes with it.
    """
    lock = select(label_sets.c.name).order_by(label_sets.c.name)
    names = list(connection.scalars(lock.with_for_update(key_share=True)))
    if not names:
        return {}

    def which(table: Any) -> tuple[ColumnElement[bool], ...]:
        return table.c.label_set.in_(names), table.c[column] == value

    rows = select(work.c.shard_id).where(*which(work)).order_by(work.c.label_set, work.c.number)
    connection.execute(rows.with_for_update())
    connection.execute(delete(work).where(*which(work)))
    lost = select(label_shards.c.label_set, func.count(), func.sum(label_shards.c.labelled))
    lost = lost.where(*which(label_shards)).group_by(label_shards.c.label_set)
    found = {name: Amount(count, int(n)) for name, count, n in connection.execute(lost)}
    for table in (quarantine, label_shards):
        connection.execute(delete(table).where(*which(table)))
    return found

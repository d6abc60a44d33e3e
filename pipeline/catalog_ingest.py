"""Ingest runs: who may add shards to a source, and what was added or refused.

One run per source at a time. Its lease is (owner, epoch) on the newest run of the source; whoever
takes over raises the epoch, and every commit of the former holder fails from then on.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from sqlalchemy import Connection, Row, select, update

from pipeline.catalog_database import Database, insert_if_absent
from pipeline.catalog_rows import IngestLease, IngestRow
from pipeline.catalog_sources import require_names
from pipeline.catalog_tables import (
    database_now,
    image_drops,
    image_shards,
    ingest_pieces,
    ingest_runs,
    sources,
)
from pipeline.catalog_values import counts, differences, storable, storable_text
from pipeline.catalog_withdrawn import require_not_withdrawn, withdrawn_among
from pipeline.errors import CatalogConflictError, LeaseLostError, WithdrawnError
from pipeline.records import ShardRef

_LIVE = (ingest_runs.c.state == "running") & (ingest_runs.c.lease_until > database_now())


def begin_ingest(
    database: Database,
    source: str,
    *,
    owner: str,
    ttl_s: float,
    uri: str,
    config: Mapping[str, Any],
    code_version: str,
    dead_owner: str | None = None,
) -> IngestLease:
    """Begin a run that may add shards to the source.

    ``owner`` is unique to the calling process; a former run of its own is taken over. The lease
    lives ``ttl_s`` without being renewed; that of ``dead_owner``, whom the caller knows to be dead,
    need not expire before it is taken over.

    Raises:
        CatalogMissingError: No source has that name.
        CatalogConflictError: Another owner ingests into the source; says who and until when.
        WithdrawnError: The source was withdrawn; says when and why.
    """
    with database.write() as connection:
        require_names(connection, sources, [source], what="source")
        last = lock_newest(connection, source)
        require_not_withdrawn(connection, [source])
        if last and last.is_live and last.owner not in {owner, dead_owner}:
            until = datetime.fromtimestamp(last.lease_until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            msg = (
                f"{last.owner!r} is ingesting into source {source!r}; its lease lasts until {until}"
            )
            raise CatalogConflictError(msg)
        lose_running(connection, source)
        epoch = last.epoch + 1 if last else 1
        lease = IngestLease(f"ingest-{token_hex(6)}", source, owner, epoch)
        values = _lease_values(lease) | {
            "lease_until": database_now() + ttl_s,
            "state": "running",
            "uri": storable_text(uri),
            "config": storable(config),
            "code_version": code_version,
            "summary": {},
            "started_at": database_now(),
        }
        connection.execute(ingest_runs.insert().values(values))
        return lease


def lock_newest(connection: Connection, source: str) -> Row[Any] | None:
    """The newest run of a source, and whether it ``is_live``; no other begins meanwhile."""
    # The row of the source is locked, because the first run of a source has no row to lock yet.
    # "No key update" lets shards of other runs, which refer to the row, be committed meanwhile.
    lock = select(sources.c.name).where(sources.c.name == source)
    connection.execute(lock.with_for_update(key_share=True))
    runs = select(ingest_runs, _LIVE.label("is_live")).where(ingest_runs.c.source == source)
    return connection.execute(runs.order_by(ingest_runs.c.epoch.desc()).limit(1)).one_or_none()


def lose_running(connection: Connection, source: str) -> int:
    """Take the lease from who has it: every commit of that run fails from now on."""
    return _lose(connection, ingest_runs.c.source == source)


def _lose(connection: Connection, which: Any) -> int:
    running = update(ingest_runs).where(which, ingest_runs.c.state == "running")
    lost = running.values(state="lost", finished_at=database_now())
    return connection.execute(lost).rowcount


def _lease_values(lease: IngestLease) -> dict[str, Any]:
    return {
        "run_id": lease.run_id,
        "source": lease.source,
        "owner": lease.owner,
        "epoch": lease.epoch,
    }


def update_held(connection: Connection, lease: IngestLease, **values: Any) -> None:
    """Update the run of a lease, which also locks it until the transaction ends.

    Raises:
        LeaseLostError: Another owner took over, or the run is finished.
    """
    held = update(ingest_runs).filter_by(**_lease_values(lease), state="running")
    if connection.execute(held.values(values)).rowcount == 0:
        msg = f"{lease.owner!r} no longer holds source {lease.source!r} (run {lease.run_id})"
        raise LeaseLostError(msg)


def renew_ingest(database: Database, lease: IngestLease, ttl_s: float) -> None:
    """Let the lease live ``ttl_s`` from now; one that expired but was not taken over revives.

    Raises:
        LeaseLostError: Another owner took over, or the run is finished.
    """
    with database.write() as connection:
        update_held(connection, lease, lease_until=database_now() + ttl_s)


def commit_image_shard(
    database: Database, lease: IngestLease, shard: ShardRef, *, dropped: Mapping[str, int]
) -> bool:
    """Commit a written shard and the count of what was refused beside it, per reason.

    Returns:
        False when this very shard was committed before: nothing is counted a second time.

    Raises:
        LeaseLostError: Another owner took over, or the run is finished.
        CatalogConflictError: Another shard has that id.
        WithdrawnError: It was withdrawn after it had been committed.
    """
    if shard.source != lease.source:
        msg = f"shard {shard.shard_id} belongs to source {shard.source!r}, not {lease.source!r}"
        raise ValueError(msg)
    with database.write() as connection:
        update_held(connection, lease, state="running")
        row = _shard_values(shard) | {"run_id": lease.run_id, "committed_at": database_now()}
        if not insert_if_absent(connection, image_shards, **row):
            _check_same(connection, shard)
            if withdrawn_among(connection, [shard.shard_id]):
                msg = f"shard {shard.shard_id} of source {shard.source!r} was withdrawn"
                raise WithdrawnError(msg)
            return False
        _count_drops(connection, lease, batch_id=shard.shard_id, dropped=dropped)
        return True


def commit_drops(
    database: Database, lease: IngestLease, batch_id: str, *, dropped: Mapping[str, int]
) -> bool:
    """Count what was refused without a shard beside it, such as after the last one.

    ``batch_id`` follows from the content of the batch: the same id again counts nothing.

    Returns:
        False when there was nothing new to count.

    Raises:
        LeaseLostError: Another owner took over, or the run is finished.
    """
    with database.write() as connection:
        update_held(connection, lease, state="running")
        return _count_drops(connection, lease, batch_id=batch_id, dropped=dropped)


def commit_piece(
    database: Database, lease: IngestLease, piece_id: str, *, options: str, items: int
) -> bool:
    """Note that a piece was read to its end, and that its shards and drops are committed.

    Args:
        database: The catalog.
        lease: The right to add to the source.
        piece_id: The object of that id says what became of its items.
        options: Digest of what decided which samples were taken.
        items: How many the object lists.

    Returns:
        False when this was noted before; it was read again, and finished now.

    Raises:
        LeaseLostError: Another owner took over, or the run is finished.
    """
    with database.write() as connection:
        update_held(connection, lease, state="running")
        ids = {"source": lease.source, "piece_id": piece_id}
        facts = {"options": options, "items": items, "run_id": lease.run_id}
        if insert_if_absent(connection, ingest_pieces, **ids, **facts, finished_at=database_now()):
            return True
        again = update(ingest_pieces).filter_by(**ids)
        connection.execute(again.values(**facts, finished_at=database_now()))
        return False


def pieces_of(database: Database, source: str, *, options: str | None = None) -> dict[str, float]:
    """When the pieces were read to their end, under these options or any; the newest first."""
    pieces = select(ingest_pieces.c.piece_id, ingest_pieces.c.finished_at)
    pieces = pieces.where(ingest_pieces.c.source == source)
    if options is not None:
        pieces = pieces.where(ingest_pieces.c.options == options)
    newest = pieces.order_by(ingest_pieces.c.finished_at.desc(), ingest_pieces.c.piece_id)
    with database.read() as connection:
        return {piece_id: finished_at for piece_id, finished_at in connection.execute(newest)}


def shards_from(database: Database, source: str, uri: str) -> set[str]:
    """Ids of the shards that hold what runs found at that URI, also those withdrawn since."""
    shards = select(image_shards.c.shard_id).join(
        ingest_runs, ingest_runs.c.run_id == image_shards.c.run_id
    )
    shards = shards.where(image_shards.c.source == source, ingest_runs.c.uri == storable_text(uri))
    with database.read() as connection:
        return set(connection.scalars(shards))


def finish_ingest(
    database: Database, lease: IngestLease, summary: Mapping[str, Any], *, state: str = "done"
) -> None:
    """End the run and give up its lease.

    ``state`` is ``done``, ``failed`` or ``stopped``; what was committed stays in each case.

    Raises:
        LeaseLostError: Another owner took over, or the run is finished.
    """
    with database.write() as connection:
        values = {"state": state, "summary": storable(summary), "finished_at": database_now()}
        update_held(connection, lease, **values)


def release_ingest_of(database: Database, owner: str) -> int:
    """Take all ingest leases from an owner the caller knows to be dead; returns how many."""
    with database.write() as connection:
        return _lose(connection, ingest_runs.c.owner == owner)


def live_ingest(database: Database, source: str) -> IngestRow | None:
    """The run that holds the source now."""
    with database.read() as connection:
        live = select(ingest_runs).where(ingest_runs.c.source == source, _LIVE)
        row = connection.execute(live).one_or_none()
    return None if row is None else IngestRow(**row._asdict())


def list_ingests(database: Database, source: str | None = None) -> list[IngestRow]:
    """All ingest runs, or those of one source, in the order of their beginning."""
    runs = select(ingest_runs).order_by(ingest_runs.c.started_at, ingest_runs.c.epoch)
    if source is not None:
        runs = runs.where(ingest_runs.c.source == source)
    with database.read() as connection:
        return [IngestRow(**row._asdict()) for row in connection.execute(runs)]


def _shard_values(shard: ShardRef) -> dict[str, Any]:
    return {
        "source": shard.source,
        "shard_id": shard.shard_id,
        "key": shard.key,
        "rows": shard.rows,
        "bytes": shard.bytes,
        "sha256": shard.sha256,
    }


def _check_same(connection: Connection, shard: ShardRef) -> None:
    mine = select(image_shards).where(image_shards.c.shard_id == shard.shard_id)
    known = connection.execute(mine).one()._asdict()
    given = _shard_values(shard)
    if changed := differences({key: known[key] for key in given}, given):
        msg = f"image shard {shard.shard_id} is already committed with another {'; '.join(changed)}"
        raise CatalogConflictError(msg)


def _count_drops(
    connection: Connection, lease: IngestLease, *, batch_id: str, dropped: Mapping[str, int]
) -> bool:
    batch = {"source": lease.source, "batch_id": batch_id, "run_id": lease.run_id}
    rows = [batch | {"reason": reason, "images": n} for reason, n in counts(dropped).items()]
    return sum(insert_if_absent(connection, image_drops, **row) for row in rows) > 0

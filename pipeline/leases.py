"""The work of a label set, shard by shard: leased, and committed exactly once.

A lease is (owner, epoch, expiry by the database's clock). The epoch rises with each lease of a
shard, and a commit happens only while the row still shows its owner and epoch: a writer that was
taken for dead finds its row changed, and its object is an orphan instead of a second label. An
expired lease that nobody took may still be renewed or committed; nothing is lost by that.

    pending ──lease──▶ leased ──commit──▶ done
       ▲                 │ release, charge, release_owner, expiry
       └─────────────────┴── charge, for the last time ──▶ failed ──retry_failed──▶ pending

A shard that is ``done`` becomes pending again where its quarantined images are to be tried again
(``catalog_work.retry_quarantined``). Its labels stay committed meanwhile, also when the new try
fails for the last time; the commit of new ones takes their place.

Each operation takes a transaction and does not cost more when more is planned.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from pipeline.catalog_database import Database
from pipeline.catalog_rows import WorkLease
from pipeline.catalog_sources import SHARD_COLUMNS
from pipeline.catalog_tables import (
    database_now,
    image_shards,
    label_shards,
    quarantine,
    work,
)
from pipeline.catalog_values import counts, storable_text
from pipeline.catalog_withdrawn import withdrawn_among
from pipeline.errors import LeaseLostError, ShardCorruptError
from pipeline.records import LabelManifest, ShardRef

__all__ = [
    "WorkLease",
    "charge",
    "commit_label_shard",
    "lease",
    "release",
    "release_owner",
    "renew",
]

_ERROR_CHARACTERS = 4000
_FREE = {"state": "pending", "owner": None, "lease_until": None}


def lease(
    database: Database,
    label_set: str,
    *,
    owner: str,
    limit: int,
    ttl_s: float,
    sources: Sequence[str] | None = None,
) -> list[WorkLease]:
    """Lease up to ``limit`` shards that nobody holds, of all sources or of some.

    Fresh ones come first, then those charged before, at last those whose lease expired: what may
    have killed its driver must not hold up the rest. ``owner`` is unique to the calling process;
    the leases live ``ttl_s`` without being renewed.
    """
    expired = (work.c.state == "leased") & (work.c.lease_until <= database_now())
    with database.write() as connection:
        rows = _claim(connection, label_set, work.c.state == "pending", limit, sources)
        if len(rows) < limit:
            rows += _claim(connection, label_set, expired, limit - len(rows), sources)
        claimed = _work_of(label_set, work.c.shard_id.in_([row.shard_id for row in rows]))
        leased = {"state": "leased", "owner": owner, "lease_until": database_now() + ttl_s}
        if rows:
            connection.execute(claimed.values(epoch=work.c.epoch + 1, **leased))
        labelled = _label_keys(connection, label_set, [row.shard_id for row in rows])
    shards = len(SHARD_COLUMNS)
    return [
        WorkLease(
            label_set,
            ShardRef(*row[:shards]),
            owner,
            row.epoch + 1,
            row.attempts,
            previous=labelled.get(row.shard_id),
        )
        for row in rows
    ]


def _claim(
    connection: Connection, label_set: str, which: Any, limit: int, sources: Sequence[str] | None
) -> list[Any]:
    """Lock free rows; rows that another transaction is leasing at this moment are passed over."""
    free = (
        select(*SHARD_COLUMNS, work.c.epoch, work.c.attempts)
        .join_from(work, image_shards, image_shards.c.shard_id == work.c.shard_id)
        .where(work.c.label_set == label_set, which)
        .order_by(work.c.attempts, work.c.number)
        .limit(limit)
        .with_for_update(of=work, skip_locked=True)
    )
    if sources is not None:
        free = free.where(work.c.source.in_(sources))
    return list(connection.execute(free))


def _label_keys(connection: Connection, label_set: str, shard_ids: Sequence[str]) -> dict[str, str]:
    """The committed label shards among these; asked when the rows are locked and cannot change."""
    mine = (label_shards.c.label_set == label_set, label_shards.c.shard_id.in_(shard_ids))
    rows = connection.execute(select(label_shards.c.shard_id, label_shards.c.key).where(*mine))
    return {shard_id: key for shard_id, key in rows}


def _work_of(label_set: str, *which: Any) -> Any:
    return update(work).where(work.c.label_set == label_set, *which)


def _held(lease: WorkLease) -> Any:
    """Update the row of a lease, if it is still the lease's: the fence of every change."""
    return _work_of(
        lease.label_set,
        work.c.shard_id == lease.shard.shard_id,
        work.c.owner == lease.owner,
        work.c.epoch == lease.epoch,
        work.c.state == "leased",
    )


def _held_by(connection: Connection, label_set: str, owner: str) -> Any:
    """Update all rows an owner holds, locked in one order so that two such updates cannot cross."""
    mine = (work.c.label_set == label_set, work.c.owner == owner, work.c.state == "leased")
    lock = select(work.c.shard_id).where(*mine).order_by(work.c.number).with_for_update()
    connection.execute(lock)
    return update(work).where(*mine)


def renew(database: Database, label_set: str, *, owner: str, ttl_s: float) -> int:
    """Let all leases of an owner live ``ttl_s`` from now; returns how many it still holds."""
    with database.write() as connection:
        held = _held_by(connection, label_set, owner)
        return int(connection.execute(held.values(lease_until=database_now() + ttl_s)).rowcount)


def release(database: Database, lease: WorkLease) -> bool:
    """Give a shard back untried, without charging an attempt; False when it was lost before."""
    with database.write() as connection:
        return connection.execute(_held(lease).values(_FREE)).rowcount == 1


def release_owner(database: Database, label_set: str, dead_owner: str) -> int:
    """Give back all that an owner holds whom the caller knows to be dead; returns how many.

    Should that owner live after all, its commits fail: it wastes work, it harms nothing.
    """
    with database.write() as connection:
        held = _held_by(connection, label_set, dead_owner)
        return int(connection.execute(held.values(_FREE)).rowcount)


def charge(database: Database, lease: WorkLease, error: str, *, max_attempts: int) -> str:
    """Charge an attempt to a shard: back to ``pending``, or ``failed`` after ``max_attempts``.

    Labels that the shard had before stay committed. It counts as failed nevertheless: who asked
    for another try is told that there was none.

    Returns:
        The state the shard is in now.

    Raises:
        LeaseLostError: Somebody else holds the shard, or it was withdrawn; nothing was charged.
    """
    with database.write() as connection:
        attempts = connection.scalar(
            _held(lease).values(attempts=work.c.attempts + 1).returning(work.c.attempts)
        )
        if attempts is None:
            raise LeaseLostError(_lost(connection, lease))
        state = "failed" if attempts >= max_attempts else "pending"
        text = storable_text(error, limit=_ERROR_CHARACTERS)
        charged = {"state": state, "error": text, "errored_at": database_now()}
        connection.execute(_held(lease).values(_FREE | charged))
        return state


def commit_label_shard(database: Database, lease: WorkLease, manifest: LabelManifest) -> None:
    """Commit a written label shard: its labels exist from here on, once.

    Labels that the shard had before are replaced, together with their counts.

    The same commit again is allowed, for callers that did not hear the answer.

    Raises:
        ShardCorruptError: The counts do not add up to the image shard.
        LeaseLostError: Somebody else holds the shard or has labelled it, or it was withdrawn.
    """
    _check_counts(lease, manifest)
    with database.write() as connection:
        done = _FREE | {"state": "done", "error": None, "errored_at": None}
        if connection.execute(_held(lease).values(done)).rowcount == 1:
            _remove_former(connection, lease)
            _insert(connection, lease, manifest)
        elif not _is_committed(connection, lease, manifest):
            raise LeaseLostError(_lost(connection, lease))


def _check_counts(lease: WorkLease, manifest: LabelManifest) -> None:
    ours = (lease.label_set, lease.shard.shard_id)
    if (manifest.label_set, manifest.shard_id) != ours:
        msg = f"the manifest is of {(manifest.label_set, manifest.shard_id)}, the lease of {ours}"
        raise ValueError(msg)
    quarantined = sum(manifest.quarantined.values())
    if not manifest.rows == manifest.labelled + quarantined == lease.shard.rows:
        msg = (
            f"labels {manifest.key} of shard {manifest.shard_id}: {manifest.rows} rows, "
            f"{manifest.labelled} labelled and {quarantined} quarantined, "
            f"but the image shard has {lease.shard.rows}"
        )
        raise ShardCorruptError(msg)


def _remove_former(connection: Connection, lease: WorkLease) -> None:
    for table in (quarantine, label_shards):
        ours = table.c.label_set == lease.label_set, table.c.shard_id == lease.shard.shard_id
        connection.execute(delete(table).where(*ours))


def _insert(connection: Connection, lease: WorkLease, manifest: LabelManifest) -> None:
    shard = lease.shard
    ids = {"label_set": lease.label_set, "shard_id": shard.shard_id, "source": shard.source}
    row = insert(label_shards).values(
        **ids,
        key=manifest.key,
        sha256=manifest.sha256,
        bytes=manifest.bytes,
        rows=manifest.rows,
        labelled=manifest.labelled,
        forward_s=manifest.forward_s,
        wall_s=manifest.wall_s,
        owner=lease.owner,
        epoch=lease.epoch,
        committed_at=database_now(),
    )
    connection.execute(row)
    reasons = counts(manifest.quarantined)
    if reasons:
        rows = [ids | {"reason": reason, "images": n} for reason, n in reasons.items()]
        connection.execute(insert(quarantine), rows)


def _is_committed(connection: Connection, lease: WorkLease, manifest: LabelManifest) -> bool:
    same = select(label_shards.c.shard_id).filter_by(
        label_set=manifest.label_set,
        shard_id=manifest.shard_id,
        key=manifest.key,
        sha256=manifest.sha256,
        owner=lease.owner,
        epoch=lease.epoch,
    )
    return connection.scalar(same) is not None


def _lost(connection: Connection, lease: WorkLease) -> str:
    if withdrawn_among(connection, [lease.shard.shard_id]):
        return f"it was withdrawn from source {lease.shard.source!r} while it was being labelled"
    return (
        f"{lease.owner!r} no longer holds shard {lease.shard.shard_id} of label set "
        f"{lease.label_set!r} (epoch {lease.epoch})"
    )

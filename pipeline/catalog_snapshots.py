"""Snapshots: the exact shards a training run reads, pinned by digest."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, select

from pipeline.catalog_database import Database, insert_if_absent
from pipeline.catalog_labels import label_shards_in
from pipeline.catalog_rows import SnapshotMember, SnapshotRow
from pipeline.catalog_sources import image_shards_in
from pipeline.catalog_tables import database_now, label_sets, snapshot_members, snapshots, sources
from pipeline.catalog_withdrawn import require_not_withdrawn
from pipeline.errors import CatalogMissingError

_MEMBER_COLUMNS = [snapshot_members.c[name] for name in SnapshotMember.__slots__]


def pin_snapshot(
    database: Database, *, labelled: Sequence[str], pseudo: Sequence[str]
) -> SnapshotRow:
    """Pin what these labelled sources and label sets hold now.

    The id is a digest of the members: pinning the same content again gives the same snapshot.
    Meanwhile the sources and label sets are locked against ``garbage``, which might else remove
    what a commit replaces between the reading and the pinning, and against withdrawals.

    Raises:
        CatalogMissingError: One of them is not known, or has no shard yet.
        WithdrawnError: One of the sources was withdrawn.
    """
    if not labelled and not pseudo:
        msg = "a snapshot needs at least one labelled source or label set"
        raise ValueError(msg)
    with database.write() as connection:
        for table, names in ((sources, labelled), (label_sets, pseudo)):
            lock = select(table.c.name).where(table.c.name.in_(names)).order_by(table.c.name)
            connection.execute(lock.with_for_update(read=True))
        require_not_withdrawn(connection, labelled)
        found = [*_labelled(connection, labelled), *_pseudo(connection, pseudo)]
        members = sorted(found, key=_line)
        snapshot_id = snapshot_digest(members)
        new = {"snapshot_id": snapshot_id, "created_at": database_now()}
        if insert_if_absent(connection, snapshots, **new):
            rows = [
                {"snapshot_id": snapshot_id, "position": position, **_columns(member)}
                for position, member in enumerate(members)
            ]
            connection.execute(snapshot_members.insert(), rows)
        created_at = connection.scalars(_created_at(snapshot_id)).one()
    return SnapshotRow(snapshot_id, created_at, tuple(members))


def snapshot_digest(members: Iterable[SnapshotMember]) -> str:
    """The id of a snapshot of these, in their order."""
    return hashlib.sha256("".join(map(_line, members)).encode()).hexdigest()[:32]


def _columns(member: SnapshotMember) -> dict[str, Any]:
    """What ``asdict`` would give, without its copies: there may be 62,000."""
    return {name: getattr(member, name) for name in SnapshotMember.__slots__}


def _created_at(snapshot_id: str) -> Select[Any]:
    return select(snapshots.c.created_at).where(snapshots.c.snapshot_id == snapshot_id)


def _line(member: SnapshotMember) -> str:
    """What of a member makes the snapshot what it is; its place in the store does not."""
    label = f"{member.label_set} {member.label_sha256}" if member.label_set else ""
    return f"{member.role} {member.source} {member.shard_id} {member.image_sha256} {label}\n"


def _labelled(connection: Connection, names: Sequence[str]) -> list[SnapshotMember]:
    members = []
    for name in dict.fromkeys(names):
        shards = image_shards_in(connection, name)
        _require_some(shards, f"labelled source {name!r}")
        members += [
            SnapshotMember(
                "labelled", name, None, shard.shard_id, shard.rows, shard.key, shard.sha256
            )
            for shard in shards
        ]
    return members


def _pseudo(connection: Connection, names: Sequence[str]) -> list[SnapshotMember]:
    members = []
    for name in dict.fromkeys(names):
        labels = label_shards_in(connection, name)
        _require_some(labels, f"label set {name!r}")
        members += [
            SnapshotMember(
                role="pseudo",
                source=label.shard.source,
                label_set=name,
                shard_id=label.shard.shard_id,
                rows=label.rows,
                image_key=label.shard.key,
                image_sha256=label.shard.sha256,
                label_key=label.key,
                label_sha256=label.sha256,
            )
            for label in labels
        ]
    return members


def _require_some(shards: Sequence[object], what: str) -> None:
    if not shards:
        msg = f"{what} has no committed shard: none was made yet, or all were withdrawn"
        raise CatalogMissingError(msg)


def snapshot(database: Database, snapshot_id: str) -> SnapshotRow:
    """One snapshot with its members.

    Raises:
        CatalogMissingError: No snapshot has that id.
    """
    mine = snapshot_members.c.snapshot_id == snapshot_id
    members = select(*_MEMBER_COLUMNS).where(mine).order_by(snapshot_members.c.position)
    with database.read() as connection:
        created_at = connection.scalars(_created_at(snapshot_id)).one_or_none()
        if created_at is None:
            msg = f"no snapshot has the id {snapshot_id!r}"
            raise CatalogMissingError(msg)
        found = tuple(SnapshotMember(*row) for row in connection.execute(members))
    return SnapshotRow(snapshot_id, created_at, found)

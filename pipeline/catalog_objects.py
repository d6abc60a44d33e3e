"""Which objects of the store the catalog counts on, beside its shards."""

from sqlalchemy import exists, select

from pipeline.catalog_database import Database
from pipeline.catalog_rows import SnapshotMember
from pipeline.catalog_tables import image_drops, image_shards, label_shards, snapshot_members

MEMBER_COLUMNS = [snapshot_members.c[name] for name in SnapshotMember.__slots__]


def drop_batches(database: Database, source: str) -> dict[str, dict[str, int]]:
    """What was refused of a source, per batch and reason; a batch is one object."""
    drops = select(image_drops.c.batch_id, image_drops.c.reason, image_drops.c.images)
    drops = drops.where(image_drops.c.source == source)
    batches: dict[str, dict[str, int]] = {}
    with database.read() as connection:
        ordered = drops.order_by(image_drops.c.batch_id, image_drops.c.reason)
        for batch, reason, images in connection.execute(ordered):
            batches.setdefault(batch, {})[reason] = images
    return batches


def replaced_members(database: Database, label_set: str) -> list[SnapshotMember]:
    """Label shards that newer ones have replaced, and that a training run has pinned.

    Without those of images that were withdrawn since: nobody counts on them.
    """
    is_committed = exists().where(
        label_shards.c.label_set == snapshot_members.c.label_set,
        label_shards.c.shard_id == snapshot_members.c.shard_id,
        label_shards.c.key == snapshot_members.c.label_key,
    )
    is_withdrawn = exists().where(
        image_shards.c.shard_id == snapshot_members.c.shard_id,
        image_shards.c.withdrawn_at.is_not(None),
    )
    replaced = select(*MEMBER_COLUMNS).where(
        snapshot_members.c.label_set == label_set, ~is_committed, ~is_withdrawn
    )
    with database.read() as connection:
        members = {SnapshotMember(*row) for row in connection.execute(replaced)}
    return sorted(members, key=lambda member: (member.shard_id, member.label_key or ""))

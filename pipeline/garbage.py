"""Which objects of the store nobody will ever count on, decided beside those who are at work.

The store was listed first; here the catalog is asked, in a transaction in which the removal happens
too. What is asked in which order matters on a database where each question sees a newer state:

- An attempt at labels is named after the epoch of its lease. It may still be committed while the
  work row is leased under that epoch, expired or not; afterwards never. So the leases are read
  before the commits: what is committed in between was leased when it was looked at.
- A training run pins label shards under a lock on their label set that excludes this one: what was
  replaced is not pinned by somebody who read it just before.
- Image shards and drops are named after their content, and a later ingest takes over what is there.
  So the source is locked as at the beginning of an ingest, and left alone while one holds it.

Names that this catalog does not know are never touched: a new catalog beside a full store must not
empty it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from pipeline.catalog_database import Database
from pipeline.catalog_ingest import lock_newest, lose_running
from pipeline.catalog_tables import (
    image_drops,
    image_shards,
    label_sets,
    label_shards,
    snapshot_members,
    sources,
    work,
)

Remove = Callable[[Sequence[str]], None]

UNKNOWN = "unknown to this catalog: run rebuild, or another catalog owns them"
RECORDED = (
    "recorded as committed, but not in this catalog: run rebuild, or another catalog owns them"
)
FOREIGN = "not written by the factory"


@dataclass(slots=True)
class Verdict:
    """What is garbage, and why the rest is not.

    Attributes:
        kept: Reason per key; what is committed or pinned is not among them.
    """

    garbage: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelObject:
    """An attempt at the labels of a shard, as its key says."""

    key: str
    shard_id: str
    epoch: int


def sweep_label_set(
    database: Database, label_set: str, objects: Sequence[LabelObject], remove: Remove
) -> Verdict:
    """Remove attempts at labels that can never be committed any more.

    Args:
        database: The catalog.
        label_set: Whose they are.
        objects: Some hundred at most: the label set is locked while they are removed.
        remove: Called with their keys, once; does nothing where nothing is to happen.
    """
    verdict = Verdict()
    with database.write() as connection:
        lock = select(label_sets.c.name).where(label_sets.c.name == label_set)
        if connection.scalar(lock.with_for_update(key_share=True)) is None:
            return Verdict(kept={each.key: UNKNOWN for each in objects})
        leases = _leases(connection, label_set, [each.shard_id for each in objects])
        live = _live_labels(connection, label_set, [each.key for each in objects])
        for each in objects:
            if each.key in live:
                continue
            if reason := _may_be_committed(leases, each):
                verdict.kept[each.key] = reason
            else:
                verdict.garbage.append(each.key)
        remove(verdict.garbage)
    return verdict


def _leases(
    connection: Connection, label_set: str, shard_ids: Sequence[str]
) -> dict[str, tuple[str, int]]:
    rows = select(work.c.shard_id, work.c.state, work.c.epoch)
    rows = rows.where(work.c.label_set == label_set, work.c.shard_id.in_(shard_ids))
    return {shard_id: (state, epoch) for shard_id, state, epoch in connection.execute(rows)}


def _live_labels(connection: Connection, label_set: str, keys: Sequence[str]) -> set[str]:
    committed = select(label_shards.c.key)
    committed = committed.where(label_shards.c.label_set == label_set, label_shards.c.key.in_(keys))
    pinned = select(snapshot_members.c.label_key).where(snapshot_members.c.label_key.in_(keys))
    return {*connection.scalars(committed), *map(str, connection.scalars(pinned))}


def _may_be_committed(leases: Mapping[str, tuple[str, int]], attempt: LabelObject) -> str | None:
    """Why an attempt without a commit must stay; None where it is fenced for good."""
    if attempt.shard_id not in leases:
        return UNKNOWN
    state, epoch = leases[attempt.shard_id]
    if attempt.epoch > epoch:
        return "newer than this catalog knows: run rebuild, or another catalog owns them"
    if state == "leased" and attempt.epoch == epoch:
        return "being labelled"
    return None


def sweep_source(
    database: Database,
    source: str,
    batches: Mapping[str, str],
    remove: Remove,
    *,
    dry_run: bool = False,
) -> Verdict:
    """Remove image shards and drops that were never committed.

    An ingest whose lease has expired loses it, as if another one began; one that still holds it
    keeps everything.

    Args:
        database: The catalog.
        source: Whose they are.
        batches: Of each key, the id of the shard or the batch of drops; some hundred at most.
        remove: Called with their keys, once; does nothing where nothing is to happen.
        dry_run: Leave an expired ingest its lease.
    """
    with database.write() as connection:
        known = connection.scalar(select(sources.c.name).where(sources.c.name == source))
        if known is None:
            return Verdict(kept=dict.fromkeys(batches, UNKNOWN))
        newest = lock_newest(connection, source)
        if newest is not None and newest.is_live:
            reason = f"source {source} is being ingested by {newest.owner}"
            return Verdict(kept=dict.fromkeys(batches, reason))
        if not dry_run:
            lose_running(connection, source)
        live = _live_batches(connection, source, list(batches.values()))
        garbage = [key for key, batch in batches.items() if batch not in live]
        remove(garbage)
    return Verdict(garbage)


def _live_batches(connection: Connection, source: str, batches: Sequence[str]) -> set[str]:
    committed = select(image_shards.c.shard_id).where(image_shards.c.shard_id.in_(batches))
    drops = select(image_drops.c.batch_id)
    drops = drops.where(image_drops.c.source == source, image_drops.c.batch_id.in_(batches))
    pinned = select(snapshot_members.c.shard_id).where(snapshot_members.c.shard_id.in_(batches))
    found = (committed, drops, pinned)
    return {str(batch) for query in found for batch in connection.scalars(query)}

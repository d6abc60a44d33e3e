"""Which objects of the store nobody will ever count on, decided beside those who are at work.

The store was listed first; here the catalog is asked, in a transaction in which the removal happens
too. What is asked in which order matters on a database where each question sees a newer state:

- An attempt at labels is named after the epoch of its lease. It may still be committed while the
  work row is leased under that epoch, expired or not; afterwards never. So the leases are read
  before the commits: what is committed in between was leased when it was looked at.
- A training run pins label shards under a lock on their label set that excludes this one: what was
  replaced is not pinned by somebody who read it just before.
- What was withdrawn is garbage, with its labels, also where a snapshot names it: only runs that are
  training now keep theirs. No later snapshot can have it, and no run that has it is resumed.
- Image shards and drops are named after their content, and a later ingest takes over what is there.
  So the source is locked as at the beginning of an ingest, and left alone while one holds it.

Names that this catalog does not know are never touched: a new catalog beside a full store must not
empty it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from pipeline.catalog_database import Database
from pipeline.catalog_ingest import lock_newest, lose_running
from pipeline.catalog_tables import (
    image_drops,
    image_shards,
    ingest_pieces,
    label_sets,
    label_shards,
    runs,
    snapshot_members,
    sources,
    withdrawals,
    work,
)
from pipeline.catalog_withdrawn import withdrawn_among

Remove = Callable[[Sequence[str]], None]

UNKNOWN = "unknown to this catalog: run rebuild, or another catalog owns them"
RECORDED = (
    "recorded as committed, but not in this catalog: run rebuild, or another catalog owns them"
)
FOREIGN = "not written by the factory"
TRAINING = "withdrawn, but a training run that is going on reads it"


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
    database: Database,
    label_set: str,
    objects: Sequence[LabelObject],
    remove: Remove,
    *,
    training: Collection[str] = (),
) -> Verdict:
    """Remove attempts at labels that can never be committed any more, and of withdrawn images.

    Args:
        database: The catalog.
        label_set: Whose they are.
        objects: Some hundred at most: the label set is locked while they are removed.
        remove: Called with their keys, once; does nothing where nothing is to happen.
        training: Ids of runs that keep what they have pinned, also if it was withdrawn.
    """
    verdict = Verdict()
    with database.write() as connection:
        lock = select(label_sets.c.name).where(label_sets.c.name == label_set)
        if connection.scalar(lock.with_for_update(key_share=True)) is None:
            return Verdict(kept={each.key: UNKNOWN for each in objects})
        shard_ids, keys = [each.shard_id for each in objects], [each.key for each in objects]
        leases = _leases(connection, label_set, shard_ids)
        live = _live_labels(connection, label_set, keys)
        gone = withdrawn_among(connection, shard_ids)
        held = _held(connection, snapshot_members.c.label_key, keys, training)
        for each in objects:
            if each.shard_id in gone:
                _judge_withdrawn(verdict, each.key, each.key in held)
            elif each.key in live:
                continue
            elif reason := _may_be_committed(leases, each):
                verdict.kept[each.key] = reason
            else:
                verdict.garbage.append(each.key)
        remove(verdict.garbage)
    return verdict


def _judge_withdrawn(verdict: Verdict, key: str, is_held: bool) -> None:
    if is_held:
        verdict.kept[key] = TRAINING
    else:
        verdict.garbage.append(key)


def _held(
    connection: Connection,
    column: ColumnElement[Any],
    values: Sequence[str],
    run_ids: Iterable[str],
) -> set[str]:
    """Which of these the snapshots of some runs name."""
    mine = runs.c.snapshot_id == snapshot_members.c.snapshot_id
    held = select(column).join_from(runs, snapshot_members, mine).distinct()
    held = held.where(runs.c.run_id.in_(list(run_ids)), column.in_(values))
    return set(connection.scalars(held))


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
    return _sweep_idle(database, source, batches, remove, _live_batches, dry_run=dry_run)


def sweep_unfinished(
    database: Database,
    source: str,
    shards: Mapping[str, str],
    remove: Remove,
    *,
    dry_run: bool = False,
) -> Verdict:
    """Remove names of samples whose withdrawal was killed before its commit; as `sweep_source`."""
    return _sweep_idle(database, source, shards, remove, _finished, dry_run=dry_run)


def _sweep_idle(
    database: Database,
    source: str,
    batches: Mapping[str, str],
    remove: Remove,
    live_of: Callable[[Connection, str, Sequence[str]], set[str]],
    *,
    dry_run: bool,
) -> Verdict:
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
        live = live_of(connection, source, list(batches.values()))
        garbage = [key for key, batch in batches.items() if batch not in live]
        remove(garbage)
    return Verdict(garbage)


def _finished(connection: Connection, source: str, shard_ids: Sequence[str]) -> set[str]:
    """Shards whose withdrawal was committed."""
    mine = withdrawals.c.source == source, withdrawals.c.shard_id.in_(shard_ids)
    return set(map(str, connection.scalars(select(withdrawals.c.shard_id).where(*mine))))


def sweep_withdrawn(
    database: Database,
    source: str,
    shards: Mapping[str, str],
    remove: Remove,
    *,
    training: Collection[str] = (),
) -> Verdict:
    """Remove image shards that were withdrawn, and what belongs to them.

    Args:
        database: The catalog.
        source: Whose they are.
        shards: Of each key, the id of the shard; what was not withdrawn is kept in silence.
        remove: Called with their keys, once; does nothing where nothing is to happen.
        training: Ids of runs that keep what they have pinned.
    """
    verdict = Verdict()
    with database.write() as connection:
        lock_newest(connection, source)
        shard_ids = list(shards.values())
        gone = withdrawn_among(connection, shard_ids)
        held = _held(connection, snapshot_members.c.shard_id, shard_ids, training)
        for key, shard_id in shards.items():
            if shard_id in gone:
                _judge_withdrawn(verdict, key, shard_id in held)
        remove(verdict.garbage)
    return verdict


def _live_batches(connection: Connection, source: str, batches: Sequence[str]) -> set[str]:
    committed = select(image_shards.c.shard_id).where(image_shards.c.shard_id.in_(batches))
    drops = select(image_drops.c.batch_id)
    drops = drops.where(image_drops.c.source == source, image_drops.c.batch_id.in_(batches))
    pinned = select(snapshot_members.c.shard_id).where(snapshot_members.c.shard_id.in_(batches))
    pieces = select(ingest_pieces.c.piece_id)
    pieces = pieces.where(ingest_pieces.c.source == source, ingest_pieces.c.piece_id.in_(batches))
    found = (committed, drops, pinned, pieces)
    return {str(batch) for query in found for batch in connection.scalars(query)}

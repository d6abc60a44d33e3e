"""What counts no more: asked by everything that lists shards, begins work or removes objects.

`catalog_withdrawals` is what withdraws.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from pipeline.catalog_database import Database
from pipeline.catalog_rows import Amount
from pipeline.catalog_tables import (
    image_shards,
    label_sets,
    label_shards,
    snapshot_members,
    sources,
    withdrawals,
)
from pipeline.errors import WithdrawnError

AT_ONCE = 500  # ids in one statement


@dataclass(frozen=True, slots=True)
class WithdrawalRow:
    """One withdrawal: of a whole source, or of samples of one shard.

    Attributes:
        shard_id: The shard that counts no more; None for a whole source.
        replaced_by: The shard without the samples; None where nothing was left.
        key: The object that names the samples.
        samples: How many.
    """

    source: str
    shard_id: str | None
    replaced_by: str | None
    key: str | None
    samples: int
    reason: str
    withdrawn_at: float


_COLUMNS = [withdrawals.c[name] for name in WithdrawalRow.__slots__]


def list_withdrawals(database: Database, source: str | None = None) -> list[WithdrawalRow]:
    """All withdrawals, or those of one source, in their order."""
    found = select(*_COLUMNS).order_by(withdrawals.c.number)
    if source is not None:
        found = found.where(withdrawals.c.source == source)
    with database.read() as connection:
        return [WithdrawalRow(*row) for row in connection.execute(found)]


def withdrawn_objects(database: Database, source: str) -> list[str]:
    """Keys of the objects that name withdrawn samples of a source."""
    keys = select(withdrawals.c.key).where(withdrawals.c.source == source)
    with database.read() as connection:
        return list(connection.scalars(keys.where(withdrawals.c.key.is_not(None))))


def withdrawn_beside(database: Database, source: str) -> float:
    """When something was last withdrawn from another source; before all time if nothing was."""
    newest = select(func.max(withdrawals.c.withdrawn_at)).where(withdrawals.c.source != source)
    with database.read() as connection:
        when = connection.scalar(newest)
    return float("-inf") if when is None else float(when)


def withdrawn_shards(database: Database, source: str) -> list[str]:
    """Ids of the shards of a source that count no more."""
    with database.read() as connection:
        return list(connection.scalars(_withdrawn(image_shards.c.source == source)))


def withdrawn_members(database: Database, snapshot_id: str) -> list[tuple[str, str, float]]:
    """Shards of a snapshot that count no more: source, shard id, when they were withdrawn."""
    same = image_shards.c.shard_id == snapshot_members.c.shard_id
    gone = select(image_shards.c.source, image_shards.c.shard_id, image_shards.c.withdrawn_at)
    gone = gone.join_from(image_shards, snapshot_members, same).distinct()
    gone = gone.where(
        snapshot_members.c.snapshot_id == snapshot_id, image_shards.c.withdrawn_at.is_not(None)
    )
    with database.read() as connection:
        rows = connection.execute(gone.order_by(image_shards.c.source, image_shards.c.shard_id))
        return [(source, shard_id, at) for source, shard_id, at in rows]


def labels_at_stake(
    database: Database, source: str, shard_ids: Sequence[str] | None = None
) -> dict[str, Amount]:
    """What withdrawing these shards, or all of a source, would cost each label set."""
    found: dict[str, Amount] = {}
    with database.read() as connection:
        names = list(connection.scalars(select(label_sets.c.name).order_by(label_sets.c.name)))
        for which in _chosen(source, shard_ids):
            lost = select(label_shards.c.label_set, func.count(), func.sum(label_shards.c.labelled))
            lost = lost.where(label_shards.c.label_set.in_(names), which)
            for name, count, images in connection.execute(lost.group_by(label_shards.c.label_set)):
                found[name] = found.get(name, Amount()) + Amount(count, int(images))
    return found


def _chosen(source: str, shard_ids: Sequence[str] | None) -> Iterator[ColumnElement[bool]]:
    if shard_ids is None:
        yield label_shards.c.source == source
        return
    for start in range(0, len(shard_ids), AT_ONCE):
        yield label_shards.c.shard_id.in_(shard_ids[start : start + AT_ONCE])


def check_not_withdrawn(database: Database, names: Iterable[str]) -> None:
    """Refuse sources that were withdrawn as a whole, by name, with date and reason."""
    with database.read() as connection:
        require_not_withdrawn(connection, names)


def require_not_withdrawn(connection: Connection, names: Iterable[str]) -> None:
    """Refuse sources that were withdrawn as a whole.

    Raises:
        WithdrawnError: Says which, when and why.
    """
    gone = select(sources.c.name, sources.c.withdrawn_at, withdrawals.c.reason)
    whole = (withdrawals.c.source == sources.c.name) & withdrawals.c.shard_id.is_(None)
    gone = gone.outerjoin_from(sources, withdrawals, whole)
    gone = gone.where(sources.c.name.in_(list(names)), sources.c.withdrawn_at.is_not(None))
    rows = connection.execute(gone.order_by(sources.c.name)).all()
    if rows:
        said = "; ".join(_said(name, at, reason) for name, at, reason in rows)
        raise WithdrawnError(said)


def _said(source: str, withdrawn_at: float, reason: str | None) -> str:
    return f"source {source!r} was withdrawn on {_day(withdrawn_at)}: {reason or 'unknown'}"


def which_withdrawn(database: Database, shard_ids: Sequence[str]) -> set[str]:
    """Which of any number of shards count no more."""
    found: set[str] = set()
    with database.read() as connection:
        for start in range(0, len(shard_ids), AT_ONCE):
            found |= withdrawn_among(connection, shard_ids[start : start + AT_ONCE])
    return found


def withdrawn_among(connection: Connection, shard_ids: Sequence[str]) -> set[str]:
    """Which of these shards count no more."""
    return set(connection.scalars(_withdrawn(image_shards.c.shard_id.in_(shard_ids))))


def _withdrawn(which: ColumnElement[bool]) -> Any:
    shards = select(image_shards.c.shard_id).where(which, image_shards.c.withdrawn_at.is_not(None))
    return shards.order_by(image_shards.c.number)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")

"""Label sets: one teacher and one recipe, and the label shards committed under it."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, select, true

from pipeline.catalog_database import Database, insert_if_absent
from pipeline.catalog_rows import LabelSetRow, LabelShardRow
from pipeline.catalog_sources import SHARD_COLUMNS, require_names
from pipeline.catalog_tables import (
    database_now,
    image_shards,
    label_sets,
    label_shards,
    quarantine,
)
from pipeline.catalog_values import differences, storable, storable_text
from pipeline.errors import CatalogConflictError
from pipeline.identity import check_name
from pipeline.records import ShardRef

_LABEL_COLUMNS = tuple(
    label_shards.c[name]
    for name in (
        "key",
        "sha256",
        "bytes",
        "rows",
        "labelled",
        "forward_s",
        "wall_s",
        "committed_at",
    )
)


def open_label_set(
    database: Database,
    name: str,
    *,
    teacher: str,
    teacher_sha256: str,
    recipe: Mapping[str, Any],
    recipe_hash: str,
    code_version: str,
) -> LabelSetRow:
    """Make the label set, or find it again to go on with it.

    Raises:
        CatalogConflictError: It was made with another recipe; says which keys differ.
    """
    check_name(name)
    values = {
        "teacher": storable_text(teacher),
        "teacher_sha256": teacher_sha256,
        "recipe": storable(recipe),
        "recipe_hash": recipe_hash,
        "code_version": code_version,
        "created_at": database_now(),
    }
    with database.write() as connection:
        if not insert_if_absent(connection, label_sets, name=name, **values):
            _check_same(connection, name, values)
    return label_set(database, name)


def _check_same(connection: Connection, name: str, values: Mapping[str, Any]) -> None:
    known = connection.execute(select(label_sets).where(label_sets.c.name == name)).one()
    if known.recipe_hash == values["recipe_hash"]:
        return
    changed = differences(known.recipe, values["recipe"])
    changed = changed or [f"recipe hash: {known.recipe_hash} → {values['recipe_hash']}"]
    msg = (
        f"label set {name!r} was made with another recipe: {'; '.join(changed)}; "
        "use the same settings, or another name"
    )
    raise CatalogConflictError(msg)


def label_set(database: Database, name: str) -> LabelSetRow:
    """One label set.

    Raises:
        CatalogMissingError: No label set has that name.
    """
    with database.read() as connection:
        require_names(connection, label_sets, [name], what="label set")
        return _rows(connection, label_sets.c.name == name)[0]


def list_label_sets(database: Database) -> list[LabelSetRow]:
    """All label sets by name."""
    with database.read() as connection:
        return _rows(connection, true())


def _rows(connection: Connection, which: ColumnElement[bool]) -> list[LabelSetRow]:
    """Label sets with their sums, all in three statements."""
    rows = connection.execute(select(label_sets).where(which).order_by(label_sets.c.name)).all()
    names = [row.name for row in rows]
    sums, reasons = _sums(connection, names), _reasons(connection, names)
    return [
        LabelSetRow(
            **row._asdict(), **sums.get(row.name, {}), quarantined=reasons.get(row.name, {})
        )
        for row in rows
    ]


def _sums(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    added = (func.sum(label_shards.c[name]) for name in ("rows", "bytes", "labelled"))
    sums = select(label_shards.c.label_set, func.count(), *added)
    sums = sums.where(label_shards.c.label_set.in_(names)).group_by(label_shards.c.label_set)
    return {
        name: {"shards": shards, "images": int(rows), "bytes": int(size), "labelled": int(labelled)}
        for name, shards, rows, size, labelled in connection.execute(sums)
    }


def _reasons(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, int]]:
    of_set, of_reason = quarantine.c.label_set, quarantine.c.reason
    counts = select(of_set, of_reason, func.sum(quarantine.c.images)).where(of_set.in_(names))
    found: dict[str, dict[str, int]] = {}
    rows = connection.execute(counts.group_by(of_set, of_reason).order_by(of_reason))
    for name, reason, images in rows:
        found.setdefault(name, {})[reason] = int(images)
    return found


def labelled_of(connection: Connection, name: str, sources: Sequence[str] | None) -> int:
    """Images labelled, in all sources of a label set or in some."""
    labelled = select(func.coalesce(func.sum(label_shards.c.labelled), 0))
    labelled = labelled.where(*_which(label_shards, name, sources))
    return int(connection.execute(labelled).scalar_one())


def quarantined_of(
    connection: Connection, name: str, sources: Sequence[str] | None
) -> dict[str, int]:
    """Images quarantined per reason, in all sources of a label set or in some."""
    reasons = select(quarantine.c.reason, func.sum(quarantine.c.images))
    reasons = reasons.where(*_which(quarantine, name, sources)).group_by(quarantine.c.reason)
    rows = connection.execute(reasons.order_by(quarantine.c.reason))
    return {reason: int(images) for reason, images in rows}


def _which(
    table: Table, label_set: str, sources: Sequence[str] | None
) -> list[ColumnElement[bool]]:
    of_set = [table.c.label_set == label_set]
    return of_set if sources is None else [*of_set, table.c.source.in_(sources)]


def label_shards_of(
    database: Database,
    label_set: str,
    sources: Sequence[str] | None = None,
    *,
    limit: int | None = None,
) -> list[LabelShardRow]:
    """The committed label shards, in the order of their image shards.

    Raises:
        CatalogMissingError: No label set has that name.
    """
    with database.read() as connection:
        return label_shards_in(connection, label_set, sources, limit=limit)


def label_shards_in(
    connection: Connection,
    label_set: str,
    sources: Sequence[str] | None = None,
    *,
    limit: int | None = None,
) -> list[LabelShardRow]:
    """The same inside a transaction."""
    same_shard = image_shards.c.shard_id == label_shards.c.shard_id
    shards = select(*SHARD_COLUMNS, *_LABEL_COLUMNS).join_from(
        label_shards, image_shards, same_shard
    )
    shards = shards.where(*_which(label_shards, label_set, sources))
    shards = shards.order_by(image_shards.c.number).limit(limit)
    reasons = select(quarantine.c.shard_id, quarantine.c.reason, quarantine.c.images)
    reasons = reasons.where(*_which(quarantine, label_set, sources))
    if limit is not None:
        first = shards.with_only_columns(label_shards.c.shard_id).subquery()
        reasons = reasons.where(quarantine.c.shard_id.in_(select(first.c.shard_id)))
    require_names(connection, label_sets, [label_set], what="label set")
    rows = connection.execute(shards).all()
    per_shard: dict[str, dict[str, int]] = {}
    for shard_id, reason, images in connection.execute(reasons.order_by(quarantine.c.reason)):
        per_shard.setdefault(shard_id, {})[reason] = images
    return [_label_shard(label_set, tuple(row), per_shard) for row in rows]


def _label_shard(
    label_set: str, row: tuple[Any, ...], per_shard: Mapping[str, Mapping[str, int]]
) -> LabelShardRow:
    shard = ShardRef(*row[: len(SHARD_COLUMNS)])
    key, sha256, size, rows, labelled, forward_s, wall_s, committed_at = row[len(SHARD_COLUMNS) :]
    return LabelShardRow(
        label_set=label_set,
        shard=shard,
        key=key,
        sha256=sha256,
        bytes=size,
        rows=rows,
        labelled=labelled,
        quarantined=per_shard.get(shard.shard_id, {}),
        forward_s=forward_s,
        wall_s=wall_s,
        committed_at=committed_at,
    )

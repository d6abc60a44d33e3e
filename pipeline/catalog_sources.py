"""Sources and their image shards."""

import hashlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from sqlalchemy import Connection, Table, func, select

from pipeline.catalog_database import Database, insert_if_absent
from pipeline.catalog_rows import SourceRow
from pipeline.catalog_tables import database_now, image_drops, image_shards, sources
from pipeline.catalog_values import differences, storable, storable_text
from pipeline.errors import CatalogConflictError, CatalogMissingError
from pipeline.identity import check_name
from pipeline.records import Role, ShardRef

SHARD_COLUMNS = (
    image_shards.c.source,
    image_shards.c.shard_id,
    image_shards.c.key,
    image_shards.c.rows,
    image_shards.c.bytes,
    image_shards.c.sha256,
)
_NAMES_SHOWN = 20
_PERMISSIONS = ("licence", "rehost", "commercial", "attribution")  # of the terms, what decides


def register_source(
    database: Database,
    name: str,
    *,
    role: str,
    uri: str,
    layout: str,
    licence: str | None = None,
    attribution: str | None = None,
    preset: str | None = None,
    terms: Mapping[str, Any] | None = None,
) -> SourceRow:
    """Make the source known; a known one stays as it is, apart from facts it lacked until now.

    Its URI and layout may differ from the first: a source can grow from several places. Terms
    (fields of ``presets.Terms``) give the licence where none is given. Those on record stay, apart
    from words beside the permissions: somebody may have set them (`set_terms`).

    Raises:
        CatalogConflictError: It has another role, licence, attribution or preset.
    """
    check_name(name)
    given: dict[str, Any] = {"role": Role(role).value, "preset": preset}
    given |= {"licence": licence, "attribution": attribution}
    given = {key: value for key, value in given.items() if value is not None}
    place = {"uri": storable_text(uri), "layout": layout}
    with database.write() as connection:
        now = database_now()
        insert_if_absent(connection, sources, name=name, created_at=now, **place, **given)
        _complete(connection, name, given, storable(terms) if terms else None)
    return source(database, name)


def _complete(
    connection: Connection, name: str, given: Mapping[str, Any], terms: Mapping[str, Any] | None
) -> None:
    mine = sources.c.name == name
    known = connection.execute(select(sources).where(mine).with_for_update()).one()._asdict()
    held = {key: known[key] for key in given if known[key] is not None}
    if changed := differences(held, {key: given[key] for key in held}):
        msg = f"source {name!r} is already in the catalog with another {'; '.join(changed)}"
        raise CatalogConflictError(msg)
    values = dict(given)
    if terms and not terms_differ(known["terms"], terms):
        values["terms"] = terms
    if terms and (known["licence"] or given.get("licence")) is None:
        values["licence"] = terms["licence"]
    connection.execute(sources.update().where(mine).values(values))


def terms_differ(known: Mapping[str, Any] | None, terms: Mapping[str, Any]) -> list[str]:
    """Which permissions of recorded terms are other than these, in words."""
    if not known:
        return []
    return differences(_permissions(known), _permissions(terms))


def _permissions(terms: Mapping[str, Any]) -> dict[str, Any]:
    return {key: terms.get(key) for key in _PERMISSIONS}


def set_terms(database: Database, name: str, terms: Mapping[str, Any]) -> SourceRow:
    """Replace the terms of a source, and its licence by theirs, whatever they were.

    Raises:
        CatalogMissingError: No source has that name.
    """
    values = {"terms": storable(terms), "licence": storable_text(str(terms["licence"]))}
    with database.write() as connection:
        require_names(connection, sources, [name], what="source")
        connection.execute(sources.update().where(sources.c.name == name).values(values))
    return source(database, name)


def source(database: Database, name: str) -> SourceRow:
    """One source.

    Raises:
        CatalogMissingError: No source has that name.
    """
    with database.read() as connection:
        require_names(connection, sources, [name], what="source")
        return _rows(connection, [name])[0]


def list_sources(database: Database) -> list[SourceRow]:
    """All sources by name."""
    with database.read() as connection:
        return _rows(connection, None)


def _rows(connection: Connection, names: Sequence[str] | None) -> list[SourceRow]:
    sums = select(
        image_shards.c.source,
        func.count().label("shards"),
        func.sum(image_shards.c.rows).label("images"),
        func.sum(image_shards.c.bytes).label("bytes"),
    ).where(image_shards.c.withdrawn_at.is_(None))
    sums = sums.group_by(image_shards.c.source)
    drops = select(
        image_drops.c.source, image_drops.c.reason, func.sum(image_drops.c.images).label("images")
    ).group_by(image_drops.c.source, image_drops.c.reason)
    found = select(sources).order_by(sources.c.name)
    if names is not None:
        sums = sums.where(image_shards.c.source.in_(names))
        drops = drops.where(image_drops.c.source.in_(names))
        found = found.where(sources.c.name.in_(names))
    held = {row.source: row for row in connection.execute(sums)}
    dropped: dict[str, dict[str, int]] = {}
    for row in connection.execute(drops.order_by(image_drops.c.reason)):
        dropped.setdefault(row.source, {})[row.reason] = int(row.images)
    return [
        SourceRow(**row._asdict(), **_sums(held.get(row.name)), dropped=dropped.get(row.name, {}))
        for row in connection.execute(found)
    ]


def _sums(row: Any) -> dict[str, Any]:
    # PostgreSQL adds integers up to a decimal.
    if row is None:
        return {}
    return {"shards": row.shards, "images": int(row.images), "bytes": int(row.bytes)}


def image_shards_of(database: Database, source: str, *, limit: int | None = None) -> list[ShardRef]:
    """The shards of a source in the order of their commits, without those that were withdrawn."""
    with database.read() as connection:
        return image_shards_in(connection, source, limit=limit)


def image_shards_in(
    connection: Connection, source: str, *, limit: int | None = None
) -> list[ShardRef]:
    """The same inside a transaction."""
    require_names(connection, sources, [source], what="source")
    shards = select(*SHARD_COLUMNS).where(
        image_shards.c.source == source, image_shards.c.withdrawn_at.is_(None)
    )
    shards = shards.order_by(image_shards.c.number).limit(limit)
    return [ShardRef(*row) for row in connection.execute(shards)]


def image_shard(database: Database, shard_id: str) -> ShardRef:
    """One shard by its id, whatever its source, also one that was withdrawn.

    Raises:
        CatalogMissingError: No shard with that id is committed.
    """
    with database.read() as connection:
        shard = select(*SHARD_COLUMNS).where(image_shards.c.shard_id == shard_id)
        row = connection.execute(shard).one_or_none()
    if row is None:
        msg = f"no image shard {shard_id!r} is committed"
        raise CatalogMissingError(msg)
    return ShardRef(*row)


def source_digest(database: Database, name: str) -> str:
    """SHA-256 that changes with any shard of the source, whatever the order of commits."""
    return shards_digest(
        (shard.shard_id, shard.sha256) for shard in image_shards_of(database, name)
    )


def shards_digest(shards: Any) -> str:
    """SHA-256 of (shard id, sha256) pairs, independent of their order."""
    lines = sorted(f"{shard_id} {sha256}\n" for shard_id, sha256 in shards)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def require_names(connection: Connection, table: Table, names: Sequence[str], *, what: str) -> None:
    """Check that rows with these names exist.

    Raises:
        CatalogMissingError: Names the missing one, what is known and what was meant.
    """
    found = set(connection.scalars(select(table.c.name).where(table.c.name.in_(names))))
    missing = [name for name in names if name not in found]
    if missing:
        known = list(connection.scalars(select(table.c.name).order_by(table.c.name)))
        raise CatalogMissingError(_missing(missing[0], known, what=what))


def _missing(name: str, known: Sequence[str], *, what: str) -> str:
    meant = get_close_matches(name, known, n=1)
    guess = f"; did you mean {meant[0]!r}?" if meant else ""
    more = f" and {len(known) - _NAMES_SHOWN} more" if len(known) > _NAMES_SHOWN else ""
    listed = ", ".join(known[:_NAMES_SHOWN]) or "none yet"
    return f"no {what} is named {name!r}{guess} (known: {listed}{more})"

"""Drivers: processes at work on something, as they say of themselves every few seconds.

Nothing hangs on a row. Leases decide who may commit; a row says who is there, what it does and, in
the end, what it took. A driver that comes back after it was taken for dead says so by itself: its
next beat makes the row `running` again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, select, update

from pipeline.catalog_database import Database
from pipeline.catalog_rows import DriverRow
from pipeline.catalog_tables import database_now, drivers
from pipeline.catalog_values import storable, storable_text
from pipeline.errors import CatalogMissingError

BEATS_OF_PATIENCE = 3  # after as many without a sign, a driver is said to be silent


def begin_driver(
    database: Database,
    verb: str,
    target: str,
    *,
    owner: str,
    heartbeat_s: float,
    facts: Mapping[str, Any],
) -> DriverRow:
    """Record that a process begins to work on something."""
    now = database_now()
    row = drivers.insert().values(
        owner=owner,
        verb=verb,
        target=storable_text(target),
        state="running",
        heartbeat_s=heartbeat_s,
        started_at=now,
        seen_at=now,
        facts=storable(facts),
    )
    with database.write() as connection:
        return _row(connection.execute(row.returning(*drivers.c)).one())


def beat_driver(database: Database, number: int, *, facts: Mapping[str, Any]) -> None:
    """Record that it lives, and what it says.

    Raises:
        CatalogMissingError: There is no such row: the catalog was made anew.
    """
    _say(database, number, state="running", facts=storable(facts), ended_at=None)


def end_driver(database: Database, number: int, *, state: str, facts: Mapping[str, Any]) -> None:
    """Record how it ended: ``done``, ``failed`` or ``stopped``.

    Raises:
        CatalogMissingError: There is no such row: the catalog was made anew.
    """
    _say(database, number, state=state, facts=storable(facts), ended_at=database_now())


def bury_driver(database: Database, number: int) -> None:
    """Record that a driver whom the caller knows to be dead failed when it was last seen.

    Nothing happens to one that has ended.
    """
    running = update(drivers).where(drivers.c.number == number, drivers.c.state == "running")
    with database.write() as connection:
        connection.execute(running.values(state="failed", ended_at=drivers.c.seen_at))


def drivers_of(database: Database, verbs: Sequence[str], target: str) -> list[DriverRow]:
    """All that ever worked on a target under one of these verbs, oldest first."""
    ours = drivers.c.verb.in_(verbs) & (drivers.c.target == storable_text(target))
    return _rows(database, select(drivers).where(ours))


def recent_drivers(database: Database, *, within_s: float) -> list[DriverRow]:
    """Those that gave a sign of life at most ``within_s`` ago, oldest first."""
    since = database_now() - within_s
    return _rows(database, select(drivers).where(drivers.c.seen_at >= since))


def _say(database: Database, number: int, **values: Any) -> None:
    with database.write() as connection:
        ours = update(drivers).where(drivers.c.number == number)
        if connection.execute(ours.values(seen_at=database_now(), **values)).rowcount == 0:
            msg = f"no driver has the number {number}"
            raise CatalogMissingError(msg)


def _rows(database: Database, which: Select[Any]) -> list[DriverRow]:
    with database.read() as connection:
        return [_row(row) for row in connection.execute(which.order_by(drivers.c.number))]


def _row(row: Any) -> DriverRow:
    return DriverRow(**row._asdict())

"""How things stand: what `factory status` asks besides progress, in questions that stay quick.

Of 62,000 shards in each of several label sets none of these reads more than it counts: an index has
all of it.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select

from pipeline.catalog_database import Database
from pipeline.catalog_rows import IngestRow, Lately, WorkError
from pipeline.catalog_tables import (
    database_now,
    image_drops,
    image_shards,
    ingest_runs,
    label_sets,
    label_shards,
    quarantine,
    work,
)


def now(database: Database) -> float:
    """The clock of the database, seconds since 1970."""
    with database.read() as connection:
        return float(connection.execute(select(database_now())).scalar_one())


def unfinished_label_sets(database: Database) -> list[str]:
    """Names of the label sets in which some shard is neither labelled nor given up."""
    open_work = select(work.c.number).where(
        work.c.label_set == label_sets.c.name, work.c.state.in_(("pending", "leased"))
    )
    names = select(label_sets.c.name).where(open_work.exists()).order_by(label_sets.c.name)
    with database.read() as connection:
        return list(connection.scalars(names))


def teachers_of_label_sets(database: Database) -> dict[str, str]:
    """The teacher of every label set, by name of the set."""
    every = select(label_sets.c.name, label_sets.c.teacher).order_by(label_sets.c.name)
    with database.read() as connection:
        return {name: teacher for name, teacher in connection.execute(every)}


def label_sets_over(database: Database, names: Sequence[str]) -> list[str]:
    """Names of the label sets that have work in one of these sources."""
    mine = select(work.c.number).where(
        work.c.label_set == label_sets.c.name, work.c.source.in_(names)
    )
    found = select(label_sets.c.name).where(mine.exists()).order_by(label_sets.c.name)
    with database.read() as connection:
        return list(connection.scalars(found))


def quarantined_by_source(database: Database, label_set: str) -> dict[str, dict[str, int]]:
    """Images of a label set without a usable label, per source and reason."""
    table = quarantine
    counted = select(table.c.source, table.c.reason, func.sum(table.c.images))
    counted = counted.where(table.c.label_set == label_set)
    found: dict[str, dict[str, int]] = {}
    with database.read() as connection:
        rows = connection.execute(counted.group_by(table.c.source, table.c.reason))
        for source, reason, images in rows:
            found.setdefault(source, {})[reason] = int(images)
    return found


def labelled_lately(database: Database, label_set: str, *, within_s: float) -> list[Lately]:
    """What was committed to a label set within the last seconds, source by source."""
    table, at = label_shards, label_shards.c.committed_at
    lately = select(
        table.c.source, func.count(), func.sum(table.c.rows), func.min(at), func.max(at)
    )
    lately = lately.where(table.c.label_set == label_set, at > database_now() - within_s)
    with database.read() as connection:
        rows = connection.execute(lately.group_by(table.c.source).order_by(table.c.source))
        return [Lately(name, n, int(images), first, last) for name, n, images, first, last in rows]


def ingested_by(database: Database, run: IngestRow) -> tuple[int, int]:
    """Images that a run has committed so far, and images that it has refused."""
    # By source too, which has an index; what else is in it was committed before the run began.
    mine = image_shards.c.source == run.source, image_shards.c.run_id == run.run_id
    dropped = image_drops.c.source == run.source, image_drops.c.run_id == run.run_id
    with database.read() as connection:
        images = connection.scalar(select(func.sum(image_shards.c.rows)).where(*mine))
        drops = connection.scalar(select(func.sum(image_drops.c.images)).where(*dropped))
    return int(images or 0), int(drops or 0)


def ingested_lately(database: Database, source: str, *, within_s: float) -> Lately | None:
    """What was committed to a source within the last seconds; None where nothing was."""
    at = image_shards.c.committed_at
    lately = select(func.count(), func.sum(image_shards.c.rows), func.min(at), func.max(at))
    lately = lately.where(image_shards.c.source == source, at > database_now() - within_s)
    with database.read() as connection:
        commits, images, first, last = connection.execute(lately).one()
    return Lately(source, commits, int(images), first, last) if commits else None


def newest_ingests(database: Database) -> list[IngestRow]:
    """The newest run of each source, by name."""
    newest = select(ingest_runs.c.source, func.max(ingest_runs.c.epoch).label("epoch"))
    last = newest.group_by(ingest_runs.c.source).subquery()
    both = (ingest_runs.c.source == last.c.source) & (ingest_runs.c.epoch == last.c.epoch)
    rows = select(ingest_runs).join(last, both).order_by(ingest_runs.c.source)
    with database.read() as connection:
        return [IngestRow(**row._asdict()) for row in connection.execute(rows)]


def newest_errors(
    database: Database, *, limit: int, label_sets: Sequence[str] | None = None
) -> list[WorkError]:
    """Of shards that were charged and are not labelled, the newest first."""
    which: list[ColumnElement[bool]] = [work.c.errored_at.is_not(None)]
    if label_sets is not None:
        which.append(work.c.label_set.in_(label_sets))
    columns = [work.c[name] for name in WorkError.__slots__]
    newest = select(*columns).where(*which).order_by(work.c.errored_at.desc()).limit(limit)
    with database.read() as connection:
        return [WorkError(*row) for row in connection.execute(newest)]

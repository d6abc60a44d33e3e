"""When shards were committed and by whom: the history of ingesting and labelling, for charts.

A commit says when it was and, of a label shard, how long its actor was at it. What was ingested
was in the making since the commit before it in the same run.
"""

from dataclasses import dataclass

from sqlalchemy import select

from pipeline.catalog_database import Database
from pipeline.catalog_tables import image_shards, ingest_runs, label_shards


@dataclass(frozen=True, slots=True)
class Commit:
    """One shard that was finished.

    Attributes:
        began: When work on it began, seconds since 1970.
        at: When it was committed.
        forward_s: Seconds of it in the network.
    """

    began: float
    at: float
    images: int
    owner: str
    forward_s: float = 0.0


def label_commits(database: Database, label_set: str) -> list[Commit]:
    """Of a label set, in their order; of a shard labelled again, the last."""
    columns = (label_shards.c.committed_at, label_shards.c.wall_s, label_shards.c.rows)
    found = select(*columns, label_shards.c.owner, label_shards.c.forward_s)
    found = found.where(label_shards.c.label_set == label_set)
    with database.read() as connection:
        rows = connection.execute(found.order_by(label_shards.c.committed_at)).all()
    return [
        Commit(at - max(wall_s, 0.0), at, images, owner, forward_s)
        for at, wall_s, images, owner, forward_s in rows
    ]


def image_commits(database: Database, source: str) -> list[Commit]:
    """Of a source, in their order, also of shards that were withdrawn since.

    Shards that a withdrawal has made of others are not among them: nothing was ingested.
    """
    columns = (image_shards.c.committed_at, image_shards.c.rows, image_shards.c.run_id)
    run = (ingest_runs.c.owner, ingest_runs.c.started_at, ingest_runs.c.config)
    found = select(*columns, *run).join_from(
        image_shards, ingest_runs, ingest_runs.c.run_id == image_shards.c.run_id
    )
    found = found.where(image_shards.c.source == source)
    with database.read() as connection:
        rows = connection.execute(found.order_by(image_shards.c.committed_at)).all()
    before: dict[str, float] = {}
    commits = []
    for at, images, run_id, owner, started_at, config in rows:
        if "withdraw" not in config:
            began = min(before.get(run_id, started_at), at)
            commits.append(Commit(began, at, images, owner))
            before[run_id] = at
    return commits

"""Pieces that were read to their end, back into the catalog.

An item of such a piece is never read again while it stays as it is. So a piece comes back only
where all shards of its source did: otherwise the next ingest has to find what is missing.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import select

from pipeline import catalog_tables as tables
from pipeline.ledger import Row, pieces_key, read_lines
from pipeline.pieces import piece_key
from pipeline.rebuilding import Rebuilding


def restore_pieces(
    job: Rebuilding, source: str, shards: Iterable[Row], *, runs: Sequence[str]
) -> None:
    """Put the pieces of a source back.

    Args:
        job: The rebuild under way.
        source: Whose they are; its shards are back.
        shards: What the ledger has of those.
        runs: Ingest runs of the source that are back.
    """
    key, lines = pieces_key(source), list[Row]()
    with job.noting(key):
        lines = read_lines(job.store, key)
    if lines and _is_one_missing(job, shards):
        job.skip(key, "not all shards are back: the next ingest reads everything again")
        return
    there = {item.shard for item in job.of("pieces", source)}
    for line in lines:
        with job.noting(key):
            piece_id = str(line.get("piece_id"))
            if piece_id not in there or line.get("run_id") not in runs:
                job.skip(piece_key(source, piece_id), "it is gone: its items are read again")
            else:
                job.insert(tables.ingest_pieces, {**line, "source": source}, key=key)


def _is_one_missing(job: Rebuilding, shards: Iterable[Row]) -> bool:
    back = set(job.connection.scalars(select(tables.image_shards.c.shard_id)))
    wanted = {row.get("shard_id") for row in shards if row.get("withdrawn_at") is None}
    return not wanted <= back

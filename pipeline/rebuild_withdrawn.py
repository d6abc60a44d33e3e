"""Withdrawals, back into the catalog: nothing that was withdrawn may come back with it.

The objects of a withdrawal are whole before the catalog hears of it, so what the store has of one
is what somebody asked for. A withdrawal whose driver was killed before its commit is completed.
"""

from collections.abc import Collection, Mapping
from typing import Any

from pipeline import catalog_tables as tables
from pipeline.audit import Problem
from pipeline.errors import ShardCorruptError
from pipeline.ledger import Row, read_object
from pipeline.rebuilding import Rebuilding
from pipeline.withdrawn import read_withdrawn, withdrawal_row, withdrawn_source_key

NO_REASON = "unknown"


def withdrawn_source(job: Rebuilding, name: str) -> Row | None:
    """The row of the withdrawal of a whole source; None where there was none."""
    key = withdrawn_source_key(name)
    content: Mapping[str, Any] | None = None
    with job.noting(key):
        content = read_object(job.store, key)
    if content is None:
        return None
    said = content.get("withdrawal") or {}
    return {
        "source": name,
        "samples": int(said.get("samples") or 0),
        "reason": str(said.get("reason") or NO_REASON),
        "withdrawn_at": float(said.get("withdrawn_at") or job.now),
    }


def withdrawn_shards(job: Rebuilding, name: str, lines: Collection[Row]) -> dict[str, Row]:
    """The rows of the withdrawals of samples, by the id of the shard that counts no more.

    One that the ledger does not know was not committed, or its driver was killed before it could
    write that down: it counts, if the shard that replaces the old one is there.
    """
    recorded = {str(line.get("shard_id")) for line in lines if line.get("withdrawn_at")}
    there = {item.shard for item in job.of("image_shards", name)}
    there |= {str(line.get("shard_id")) for line in lines}
    rows: dict[str, Row] = {}
    for item in job.of("withdrawn", name):
        with job.noting(item.key):
            row = withdrawal_row(name, item.key, read_withdrawn(job.store, item.key)[0])
            if row["shard_id"] != item.shard:
                raise ShardCorruptError(f"{item.key} is of shard {row['shard_id']}")
            replaced_by = row["replaced_by"]
            if item.shard in recorded or replaced_by is None or replaced_by in there:
                rows[item.shard] = row
            else:
                problem = "the shard without the samples that it names: withdraw them again"
                job.problems.append(Problem("withdrawal", item.key, problem, "missing"))
    for line in lines:
        shard_id = str(line.get("shard_id"))
        if line.get("withdrawn_at") and shard_id not in rows:
            rows[shard_id] = {"withdrawn_at": float(line["withdrawn_at"])}
    return rows


def restore_withdrawals(job: Rebuilding, name: str, rows: Collection[Row]) -> None:
    """Put withdrawals back in their order; of some the ledger knows no more than the date."""
    whole = [row for row in rows if "reason" in row]
    for row in sorted(whole, key=lambda row: float(row["withdrawn_at"])):
        key = row.get("key") or withdrawn_source_key(name)
        with job.noting(key):
            job.insert(tables.withdrawals, row, key=key)

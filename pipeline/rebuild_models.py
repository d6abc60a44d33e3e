"""Training runs with their snapshots, models and evaluations, back into the catalog."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from pipeline import catalog_tables as tables
from pipeline.audit import differences
from pipeline.catalog_rows import SnapshotMember
from pipeline.catalog_snapshots import snapshot_digest
from pipeline.errors import ShardCorruptError
from pipeline.ledger import Row, model_key, read_lines, read_object, run_key, snapshot_key
from pipeline.rebuilding import Rebuilding

WeightsDigest = Callable[[str], str]


def rebuild_runs(job: Rebuilding) -> None:
    """Put training runs and what they pinned back, in the order in which they began."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name in job.names("runs"):
        key = run_key(name)
        with job.noting(key):
            content = read_object(job.store, key)
            if content is None:
                job.say_unknown(f"run {name}", "all: an older version wrote nothing of it down")
            else:
                found.append((key, content))
    for key, content in sorted(found, key=lambda pair: _number(pair[1].get("run"))):
        with job.noting(key):
            _restore_run(job, key, content)


def _number(row: Any) -> int:
    number = row.get("number") if isinstance(row, dict) else None
    return number if isinstance(number, int) else 0


def _row_of(content: dict[str, Any], what: str, key: str) -> Row:
    row = content.get(what)
    if not isinstance(row, dict):
        raise ShardCorruptError(f"{key}: there is no {what} in it")
    return row


def _restore_run(job: Rebuilding, key: str, content: dict[str, Any]) -> None:
    run = _row_of(content, "run", key)
    if run.get("snapshot_id") is not None:
        before = len(job.problems)
        with job.noting(snapshot_key(str(run.get("run_id")))):
            _restore_snapshot(job, run, content.get("snapshots") or [{}])
        if len(job.problems) > before:
            run = run | {"snapshot_id": None}
    job.insert(tables.runs, run, key=key)


def _restore_snapshot(job: Rebuilding, run: Row, snapshots: list[Row]) -> None:
    """Put a snapshot back, unless another run brought it; its id is the digest of its members."""
    snapshot_id, key = run["snapshot_id"], snapshot_key(run["run_id"])
    known = select(tables.snapshots).where(tables.snapshots.c.snapshot_id == snapshot_id)
    if job.connection.execute(known).first() is not None:
        return
    lines = read_lines(job.store, key)
    names = SnapshotMember.__slots__
    columns: list[list[Any]] = [[line.get(name) for name in names] for line in lines]
    members = [SnapshotMember(*column) for column in columns]
    if (found := snapshot_digest(members)) != snapshot_id:
        raise ShardCorruptError(f"its {len(lines)} lines are of another snapshot, {found}")
    row = {"snapshot_id": snapshot_id, "created_at": snapshots[0].get("created_at", job.now)}
    job.insert(tables.snapshots, row, key=key)
    for position, line in enumerate(lines):
        place = {"snapshot_id": snapshot_id, "position": position}
        job.insert(tables.snapshot_members, line | place, key=key)


def rebuild_models(job: Rebuilding, weights_digest: WeightsDigest) -> None:
    """Put models back whose weights are what they were.

    Args:
        job: The rebuild.
        weights_digest: The sha256 of the weights under a key of the store, as when they were
            registered.
    """
    for name in job.names("models"):
        key = model_key(name)
        with job.noting(key):
            content = read_object(job.store, key)
            if content is None:
                job.say_unknown(f"model {name}", "all: an older version wrote nothing of it down")
            else:
                _restore_model(job, _row_of(content, "model", key) | {"name": name}, weights_digest)


def _restore_model(job: Rebuilding, row: Row, weights_digest: WeightsDigest) -> None:
    key = model_key(row["name"])
    if row.get("key") is not None:
        found = {"sha256": weights_digest(row["key"])}
        wrong = list(differences(row["key"], {"sha256": row.get("sha256")}, found))
        if wrong:
            job.problems += wrong
            return
    runs = tables.runs
    known = job.connection.scalar(select(runs.c.run_id).where(runs.c.run_id == row.get("run_id")))
    if known is None and row.get("run_id") is not None:
        job.say_unknown(f"model {row['name']}", f"its training run {row['run_id']} is not back")
    job.insert(tables.models, row | {"run_id": known}, key=key)


def rebuild_evaluations(job: Rebuilding) -> None:
    """Put results back, in their order."""
    found: list[tuple[str, Row]] = []
    for items in job.objects.get("evaluations", {}).values():
        for item in items:
            with job.noting(item.key):
                content = read_object(job.store, item.key) or {}
                found.append((item.key, _row_of(content, "evaluation", item.key)))
    for key, row in sorted(found, key=lambda pair: (_number(pair[1]), pair[0])):
        with job.noting(key):
            job.insert(tables.evaluations, row, key=key)

"""What the catalog knows and no other object says, kept in the store as small JSON objects.

Shards say themselves what they are; who ingested them, in which order, which run made a model of
them and how it scored would be lost with the database. So rows are written down as they are, beside
what they are about, and `catalog rebuild` puts them back:

    sources/<source>/source.json                    the source, its ingest runs
    sources/<source>/shards.jsonl, drops.jsonl      its shards in order, what was refused
    sources/<source>/pieces.jsonl                   what was read to its end
    labels/<label-set>/label_set.json, shards.jsonl the set, its committed label shards
    models/<name>/factory.json                      transformers looks at files it knows by name
    runs/<run>/run.json, snapshot.jsonl             the run, and the exact shards it learns from
    evaluations/<id>.json

The catalog is always right: this is written after its commit, and lags behind when a driver is
killed. Lines about shards that this catalog does not know stay, because another one made them.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from secrets import token_hex
from typing import Any

from sqlalchemy import ColumnElement, Table, select

from pipeline import catalog_tables as tables
from pipeline.catalog_database import Database
from pipeline.catalog_rows import SnapshotRow
from pipeline.catalog_withdrawn import which_withdrawn
from pipeline.errors import ShardCorruptError
from pipeline.identity import check_name
from pipeline.storage import Store, model_prefix, run_prefix

FORMAT = 1
EVALUATIONS = "evaluations"
Row = dict[str, Any]


def source_key(source: str) -> str:
    """The source and its ingest runs."""
    return f"sources/{check_name(source)}/source.json"


def image_shards_key(source: str) -> str:
    """The shards of a source in the order of their commits."""
    return f"sources/{check_name(source)}/shards.jsonl"


def drops_key(source: str) -> str:
    """What was refused of a source, per batch and reason."""
    return f"sources/{check_name(source)}/drops.jsonl"


def pieces_key(source: str) -> str:
    """The pieces of a source that were read to their end."""
    return f"sources/{check_name(source)}/pieces.jsonl"


def label_set_key(label_set: str) -> str:
    """The label set: teacher and recipe."""
    return f"labels/{check_name(label_set)}/label_set.json"


def label_shards_key(label_set: str) -> str:
    """The committed label shards of a set."""
    return f"labels/{check_name(label_set)}/shards.jsonl"


def model_key(name: str) -> str:
    """A model's row, in the folder where its weights are if they are in the store."""
    return f"{model_prefix(name)}/factory.json"


def run_key(run_id: str) -> str:
    """A training run: configuration, state, metrics."""
    return f"{run_prefix(run_id)}/run.json"


def snapshot_key(run_id: str) -> str:
    """The shards that a training run has pinned."""
    return f"{run_prefix(run_id)}/snapshot.jsonl"


def record_source(store: Store, database: Database, name: str) -> None:
    """Write down a source, its ingest runs and its shards."""
    runs, shards, drops = tables.ingest_runs, tables.image_shards, tables.image_drops
    (row,) = _rows(database, tables.sources, tables.sources.c.name == name)
    rows = _rows(database, runs, runs.c.source == name, runs.c.epoch)
    former = _former(lambda: (read_object(store, source_key(name)) or {}).get("ingest_runs", []))
    rows = _others(former, rows, "run_id") + rows
    _put_object(store, source_key(name), source=row, ingest_runs=rows)
    rows = _rows(database, shards, shards.c.source == name, shards.c.number)
    _put_merged(store, image_shards_key(name), rows)
    rows = _rows(database, drops, drops.c.source == name, drops.c.batch_id, drops.c.reason)
    _put_merged(store, drops_key(name), rows, by="batch_id")
    pieces = tables.ingest_pieces
    rows = _rows(database, pieces, pieces.c.source == name, pieces.c.piece_id)
    _put_merged(store, pieces_key(name), rows, by="piece_id")


def record_label_set(store: Store, database: Database, name: str) -> None:
    """Write down a label set and its committed label shards."""
    (row,) = _rows(database, tables.label_sets, tables.label_sets.c.name == name)
    _put_object(store, label_set_key(name), label_set=row)
    shards = tables.label_shards
    rows = _rows(database, shards, shards.c.label_set == name, shards.c.shard_id)
    former = _former(lambda: read_lines(store, label_shards_key(name)))
    lost = [str(row.get("shard_id")) for row in _others(former, rows, "shard_id")]
    _put_merged(store, label_shards_key(name), rows, without=which_withdrawn(database, lost))


def record_model(store: Store, database: Database, name: str) -> None:
    """Write down a model."""
    (row,) = _rows(database, tables.models, tables.models.c.name == name)
    _put_object(store, model_key(name), model=row)


def record_run(store: Store, database: Database, run_id: str) -> None:
    """Write down how a training run stands."""
    (row,) = _rows(database, tables.runs, tables.runs.c.run_id == run_id)
    which = tables.snapshots.c.snapshot_id == row["snapshot_id"]
    snapshots = _rows(database, tables.snapshots, which)
    _put_object(store, run_key(run_id), run=row, snapshots=snapshots)


def record_snapshot(store: Store, snapshot: SnapshotRow, run_id: str) -> None:
    """Write down the shards that a training run has pinned; they never change."""
    rows = (
        {"snapshot_id": snapshot.snapshot_id, "position": position}
        | {name: getattr(member, name) for name in member.__slots__}
        for position, member in enumerate(snapshot.members)
    )
    store.put(snapshot_key(run_id), _lines(rows))


def record_evaluation(store: Store, database: Database, number: int) -> None:
    """Write down one result, by its number in the catalog."""
    (row,) = _rows(database, tables.evaluations, tables.evaluations.c.number == number)
    _put_object(store, f"{EVALUATIONS}/{number:06d}-{token_hex(4)}.json", evaluation=row)


def read_object(store: Store, key: str) -> dict[str, Any] | None:
    """One object as it was written; None where there is none.

    Raises:
        ShardCorruptError: It cannot be read; says why.
    """
    try:
        content = json.loads(store.get(key))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ShardCorruptError(f"{key}: no JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ShardCorruptError(f"{key}: not written by this version of the factory")
    return content


def read_lines(store: Store, key: str) -> list[Row]:
    """The rows of a JSON-lines object; none where there is none.

    Raises:
        ShardCorruptError: It cannot be read; says why.
    """
    try:
        rows = [json.loads(line) for line in store.get(key).splitlines()]
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise ShardCorruptError(f"{key}: no JSON lines: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise ShardCorruptError(f"{key}: a line is no JSON object")
    return rows


def _rows(database: Database, table: Table, which: ColumnElement[bool], *order: Any) -> list[Row]:
    with database.read() as connection:
        found = connection.execute(select(table).where(which).order_by(*order))
        return [dict(row._mapping) for row in found]


def _put_object(store: Store, key: str, **content: Any) -> None:
    text = json.dumps({"format": FORMAT, **content}, indent=1, sort_keys=True)
    store.put(key, text.encode())


def _put_merged(
    store: Store,
    key: str,
    rows: list[Row],
    *,
    by: str = "shard_id",
    without: Collection[str] = (),
) -> None:
    """Put all rows, after those of other shards or batches that are there, but for some."""
    former = _former(lambda: read_lines(store, key))
    former = [row for row in former if row.get(by) not in without]
    if former or rows:
        store.put(key, _lines([*_others(former, rows, by), *rows]))


def _former(read: Callable[[], list[Row]]) -> list[Row]:
    try:
        return read()
    except ShardCorruptError:
        return []  # it could not be used, and is written again from the catalog


def _others(former: list[Row], rows: list[Row], by: str) -> list[Row]:
    mine = {row[by] for row in rows}
    return [row for row in former if row.get(by) not in mine]


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(f"{line}\n" for line in _dumped(rows)).encode()


def _dumped(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (json.dumps(row, sort_keys=True) for row in rows)

"""Who is to be named for the images of some shards, as a CSV file.

Columns without blobs are read and written a shard at a time, so that a file of sixty million lines
takes the memory of a thousand. An image is in it if it has an author of its own, or if its source
demands that authors are named; one of those without an author is written without, and counted.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv
from sqlalchemy import or_, select

from pipeline.catalog import Catalog
from pipeline.catalog_sources import SHARD_COLUMNS
from pipeline.catalog_tables import image_shards, label_shards, snapshot_members
from pipeline.errors import ShardCorruptError
from pipeline.filesystems import public_address
from pipeline.origins import Kind, Origins
from pipeline.records import ShardRef
from pipeline.storage import Store

_READ = ["sample_id", "path", "licence", "attribution", "uri"]
_LINES = pa.schema([pa.field(name, pa.string()) for name in ("source", *_READ)])


@dataclass(slots=True)
class Named:
    """What was written.

    Attributes:
        lines: Images in the file.
        nameless: Per source, images whose authors had to be named and are not known.
        unread: Keys of shards that are gone or broken, with the reason.
    """

    lines: int = 0
    nameless: dict[str, int] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def write_attribution(
    store: Store,
    shards: Iterable[ShardRef],
    *,
    path: Path,
    demanding: Collection[str],
    public: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Named:
    """Write ``source, sample_id, path, licence, attribution, uri``, in the order of the shards.

    Args:
        store: Where the shards are.
        shards: Whose images.
        path: The CSV file; whatever was there is replaced.
        demanding: Sources that demand a name for each image.
        public: Leave out places on this machine, which name people and folders.
        advance: Called with the rows of each shard.
    """
    named = Named()
    with csv.CSVWriter(path, _LINES) as writer:
        for shard in shards:
            try:
                table = _read(store, shard.key)
            except (pa.ArrowException, ShardCorruptError, FileNotFoundError) as error:
                named.unread[shard.key] = str(error)
            else:
                lines = _lines(table, shard.source, demands=shard.source in demanding)
                lines = _without_places(lines) if public else lines
                writer.write_table(lines)
                _count(named, lines, shard.source)
            advance(shard.rows)
    return named


def shards_behind(catalog: Catalog, origins: Origins, thing: tuple[Kind, str]) -> list[ShardRef]:
    """All image shards that something was made from, by source and in the order of their commits.

    Also withdrawn ones: what was made of them was made of them.
    """
    kind, name = thing
    if kind == "source":
        return catalog.image_shards(name)
    pinned = select(snapshot_members.c.shard_id).where(
        snapshot_members.c.snapshot_id.in_(origins.snapshots(thing))
    )
    mine = [image_shards.c.shard_id.in_(pinned)]
    if kind == "label-set":
        labelled = select(label_shards.c.shard_id).where(label_shards.c.label_set == name)
        mine.append(image_shards.c.shard_id.in_(labelled))
    shards = select(*SHARD_COLUMNS).where(or_(*mine))
    with catalog.read() as connection:
        ordered = shards.order_by(image_shards.c.source, image_shards.c.number)
        return [ShardRef(*row) for row in connection.execute(ordered)]


def _read(store: Store, key: str) -> pa.Table:
    with store.open(key) as file, pq.ParquetFile(file) as parquet:
        return parquet.read(columns=_READ)


def _lines(table: pa.Table, source: str, *, demands: bool) -> pa.Table:
    rows = table if demands else table.filter(pc.is_valid(table["attribution"]))
    sources = pa.array([source] * rows.num_rows, pa.string())
    columns = [sources, *(rows[name].cast(pa.string()) for name in _READ)]
    return pa.Table.from_arrays(columns, schema=_LINES)


def _without_places(lines: pa.Table) -> pa.Table:
    known = [uri and public_address(uri) for uri in lines["uri"].to_pylist()]
    place = lines.schema.get_field_index("uri")
    return lines.set_column(place, _LINES.field("uri"), pa.array(known, pa.string()))


def _count(named: Named, lines: pa.Table, source: str) -> None:
    named.lines += lines.num_rows
    if nameless := lines["attribution"].null_count:
        named.nameless[source] = named.nameless.get(source, 0) + nameless

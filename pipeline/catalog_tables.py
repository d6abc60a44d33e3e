"""The tables of the catalog, and its clock.

Rows are per shard, never per image (62,000, not 62 million): what is known of one image stays in
the columns of its shard. Names people choose are the keys, so that a query by hand is readable.
Counts per reason are rows rather than JSON, so that the database adds them up.

A change here needs a migration in ``migrations/versions``; a test compares the two.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# SQLite numbers rows by itself only where the type is spelled INTEGER.
_SERIAL = BigInteger().with_variant(Integer, "sqlite")


class database_now(FunctionElement[float]):
    """The database's clock, seconds since 1970: leases must not depend on anyone else's."""

    type = Double()
    inherit_cache = True


@compiles(database_now, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_now, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    # clock_timestamp moves on inside a transaction; now() would stay at its beginning.
    return "extract(epoch from clock_timestamp())::double precision"


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


sources = Table(
    "sources",
    metadata,
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("uri", Text, nullable=False),
    Column("layout", Text, nullable=False),
    Column("licence", Text),
    Column("attribution", Text),
    Column("preset", Text),  # by which it was read, if by one
    Column("terms", JSON),  # fields of `presets.Terms`
    Column("created_at", Double, nullable=False),
    Column("withdrawn_at", Double),
    _one_of("role", "unlabelled", "labelled", "benchmark"),
)

# The newest run of a source is its lease: (owner, epoch), while it is `running`.
ingest_runs = Table(
    "ingest_runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("source", Text, ForeignKey("sources.name"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("owner", Text, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("uri", Text, nullable=False),
    Column("config", JSON, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("summary", JSON, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    UniqueConstraint("source", "epoch"),
    _one_of("state", "running", "done", "failed", "stopped", "lost"),
)

# A piece of a data set (archives, a run of loose files) that was read to its end: what the object
# of its id lists, and finds again unchanged, is not read again.
ingest_pieces = Table(
    "ingest_pieces",
    metadata,
    Column("source", Text, ForeignKey("sources.name"), primary_key=True),
    Column("piece_id", Text, primary_key=True),
    Column("options", Text, nullable=False),  # digest of what decided which images were taken
    Column("items", Integer, nullable=False),
    Column("run_id", Text, ForeignKey("ingest_runs.run_id"), nullable=False),
    Column("finished_at", Double, nullable=False),
)

image_shards = Table(
    "image_shards",
    metadata,
    Column("number", _SERIAL, primary_key=True, autoincrement=True),  # the order of commits
    Column("shard_id", Text, nullable=False, unique=True),
    Column("source", Text, ForeignKey("sources.name"), nullable=False),
    Column("run_id", Text, ForeignKey("ingest_runs.run_id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("committed_at", Double, nullable=False),
    Column("withdrawn_at", Double),  # it counts no more, and its objects are garbage
    Index(None, "source", "number"),
)
_IS_WITHDRAWN = image_shards.c.withdrawn_at.is_not(None)
Index(None, image_shards.c.withdrawn_at, sqlite_where=_IS_WITHDRAWN, postgresql_where=_IS_WITHDRAWN)

# What was taken out of a source after it had been committed, and why: a whole source, or samples of
# one shard, which another shard without them replaces.
withdrawals = Table(
    "withdrawals",
    metadata,
    Column("number", _SERIAL, primary_key=True, autoincrement=True),
    Column("source", Text, ForeignKey("sources.name"), nullable=False),
    Column("shard_id", Text),
    Column("replaced_by", Text),
    Column("key", Text),  # the object that names the samples
    Column("samples", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("withdrawn_at", Double, nullable=False),
    Index(None, "source"),
)

# A batch is what was refused beside one shard, or after the last one.
image_drops = Table(
    "image_drops",
    metadata,
    Column("source", Text, ForeignKey("sources.name"), primary_key=True),
    Column("batch_id", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("images", Integer, nullable=False),
    Column("run_id", Text, ForeignKey("ingest_runs.run_id"), nullable=False),
)

label_sets = Table(
    "label_sets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("teacher", Text, nullable=False),
    Column("teacher_sha256", Text, nullable=False),
    Column("recipe", JSON, nullable=False),
    Column("recipe_hash", Text, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Index(None, "teacher_sha256"),
)

# The source and the number of images are those of the image shard, which never change: progress is
# asked for often, and adds up one table instead of joining three.
work = Table(
    "work",
    metadata,
    Column("label_set", Text, ForeignKey("label_sets.name"), primary_key=True),
    Column("shard_id", Text, ForeignKey("image_shards.shard_id"), primary_key=True),
    Column("source", Text, nullable=False),
    Column("number", BigInteger, nullable=False),  # of the image shard: the order of work
    Column("images", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("owner", Text),
    Column("lease_until", Double),
    Column("error", Text),
    Column("errored_at", Double),
    _one_of("state", "pending", "leased", "done", "failed"),
    # Finds the next shard without reading the others: leasing stays linear over 62,000.
    Index(None, "label_set", "state", "attempts", "number"),
    # Has all that is counted: progress is asked for again and again.
    Index(None, "label_set", "source", "state", "images"),
)
_HAS_ERROR = work.c.errored_at.is_not(None)
Index(None, work.c.errored_at, sqlite_where=_HAS_ERROR, postgresql_where=_HAS_ERROR)

label_shards = Table(
    "label_shards",
    metadata,
    Column("label_set", Text, ForeignKey("label_sets.name"), primary_key=True),
    Column("shard_id", Text, ForeignKey("image_shards.shard_id"), primary_key=True),
    Column("source", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("labelled", Integer, nullable=False),
    Column("forward_s", Double, nullable=False),
    Column("wall_s", Double, nullable=False),
    Column("owner", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("committed_at", Double, nullable=False),
    # Has all that is added up: without it each sum of a set would read 62,000 rows one by one.
    Index(None, "label_set", "source", "labelled", "rows", "bytes"),
    # Has all that a rate needs: how many images of which source lately.
    Index(None, "label_set", "committed_at", "source", "rows"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("label_set", Text, ForeignKey("label_sets.name"), primary_key=True),
    Column("shard_id", Text, ForeignKey("image_shards.shard_id"), primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("images", Integer, nullable=False),
    Index(None, "label_set", "source", "reason", "images"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("snapshot_id", Text, primary_key=True),
    Column("created_at", Double, nullable=False),
)

# Copies, not references: a snapshot says what was read even after a shard has been made again.
snapshot_members = Table(
    "snapshot_members",
    metadata,
    Column("snapshot_id", Text, ForeignKey("snapshots.snapshot_id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("role", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("label_set", Text),
    Column("shard_id", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("image_key", Text, nullable=False),
    Column("image_sha256", Text, nullable=False),
    Column("label_key", Text),
    Column("label_sha256", Text),
    _one_of("role", "labelled", "pseudo"),
    Index(None, "snapshot_id", "label_set", "source"),
    Index(None, "shard_id"),
)

runs = Table(
    "runs",
    metadata,
    Column("number", _SERIAL, primary_key=True, autoincrement=True),
    Column("run_id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("config", JSON, nullable=False),
    Column("snapshot_id", Text, ForeignKey("snapshots.snapshot_id")),
    Column("code_version", Text, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    _one_of("state", "running", "done", "failed", "stopped"),
    Index(None, "name", "number"),
)

models = Table(
    "models",
    metadata,
    Column("name", Text, primary_key=True),
    Column("key", Text),
    Column("uri", Text),
    Column("sha256", Text, nullable=False),
    Column("family", Text, nullable=False),
    Column("geometry", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("licence", Text),
    Column("run_id", Text, ForeignKey("runs.run_id")),
    Column("created_at", Double, nullable=False),
    CheckConstraint("(key IS NULL) <> (uri IS NULL)", name="place"),
    Index(None, "sha256"),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("number", _SERIAL, primary_key=True, autoincrement=True),
    Column("model", Text, nullable=False),
    Column("model_sha256", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("source_digest", Text, nullable=False),
    Column("images", Integer, nullable=False),
    Column("valid_pixels", BigInteger, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("config", JSON, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Index(None, "model_sha256"),
)

# Processes at work, and what they say of themselves. No lease hangs on a row: a driver that cannot
# write here works on, and one that is taken for dead loses nothing by it.
drivers = Table(
    "drivers",
    metadata,
    Column("number", _SERIAL, primary_key=True, autoincrement=True),
    Column("owner", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("heartbeat_s", Double, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("facts", JSON, nullable=False),
    _one_of("state", "running", "done", "failed", "stopped"),
    Index(None, "verb", "target", "number"),
)

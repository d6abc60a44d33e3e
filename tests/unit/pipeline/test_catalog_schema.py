"""The migrations give the schema that the code describes, once, and only to catalogs they know."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from pipeline import catalog_schema
from pipeline.catalog import Catalog
from pipeline.catalog_schema import VERSION_TABLE
from pipeline.catalog_tables import metadata
from pipeline.errors import CatalogVersionError
from tests.catalog_factories import begin_ingest

ROOT = Path(__file__).resolve().parents[3]


def test_migrations_give_the_tables_of_the_code(database_url):
    with Catalog.open(database_url) as catalog, catalog.read() as connection:
        options = {
            "version_table": VERSION_TABLE,
            "compare_type": True,
            "compare_server_default": True,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_migrations_give_the_same_constraints_too(tmp_path):
    """Alembic does not compare check constraints; SQLite keeps each table as it was written."""
    with Catalog.open(f"sqlite:///{tmp_path / 'migrated.sqlite'}") as catalog:
        migrated = _definitions(catalog._reader)
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    described = _definitions(engine)
    engine.dispose()
    assert migrated == described
    assert any("CHECK" in part for part in described["table sources"])


def _definitions(engine):
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT type || ' ' || name, sql FROM sqlite_master"))
        return {name: _parts(sql) for name, sql in rows if sql and VERSION_TABLE not in name}


def _parts(sql):
    """Columns and constraints are written in any order; a column that was added comes last."""
    text = " ".join(sql.split()).removesuffix(")").strip()
    parts = [part.strip() for part in re.split(r",(?![^()]*\))", text.replace("(", "(,", 1))]
    return sorted(part.removeprefix("CONSTRAINT ") for part in parts)


def test_opening_again_changes_nothing(catalog_url, monkeypatch):
    with Catalog.open(catalog_url) as catalog:
        catalog.register_source("street", role="unlabelled", uri="/data", layout="images")

    def refuse(*arguments):
        raise AssertionError("an up-to-date catalog was migrated")

    monkeypatch.setattr(catalog_schema.command, "upgrade", refuse)
    with Catalog.open(catalog_url) as catalog:
        assert [source.name for source in catalog.sources()] == ["street"]


def test_a_catalog_of_newer_code_is_refused_by_name(catalog_url):
    with Catalog.open(catalog_url) as catalog, catalog.write() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(CatalogVersionError, match=r"schema '9999'.*newer code"):
        Catalog.open(catalog_url)


def test_a_migration_that_fails_leaves_nothing_behind(database_url, monkeypatch):
    """Half a schema would be taken for a whole one, or block the next attempt."""
    upgrade = catalog_schema.command.upgrade

    def fail_at_the_end(config, revision):
        upgrade(config, revision)
        raise RuntimeError("killed")

    monkeypatch.setattr(catalog_schema.command, "upgrade", fail_at_the_end)
    with pytest.raises(RuntimeError):
        Catalog.open(database_url)
    engine = create_engine(database_url)
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    monkeypatch.undo()
    with Catalog.open(database_url) as catalog:
        assert catalog.sources() == []


def test_a_catalog_of_the_first_schema_goes_on_with_all_that_is_in_it(database_url):
    engine = create_engine(database_url)
    with engine.begin() as connection:
        catalog_schema.command.upgrade(catalog_schema._config(connection), "0001")
        for statement in FIRST_SCHEMA:
            connection.execute(text(statement))
    engine.dispose()
    with Catalog.open(database_url) as catalog:
        (source,) = catalog.sources()
        assert (source.shards, source.images, source.licence) == (1, 7, "MIT")
        assert (source.withdrawn_at, source.terms, source.preset) == (None, None, None)
        (shard,) = catalog.image_shards("street")
        assert catalog.pieces("street") == {} and catalog.withdrawals("street") == []
        lease = begin_ingest(catalog, "street")
        assert not catalog.commit_image_shard(lease, shard, dropped={})
        assert catalog.commit_piece(lease, "p1", options="o", items=1)
        facts = {"key": "k", "samples": 7, "reason": "asked", "ttl_s": 60.0}
        catalog.withdraw_shard(lease, shard.shard_id, replacement=None, **facts)
        assert catalog.image_shards("street") == []


def test_a_catalog_of_the_second_schema_goes_on_with_work_that_failed(database_url):
    engine = create_engine(database_url)
    with engine.begin() as connection:
        catalog_schema.command.upgrade(catalog_schema._config(connection), "0002")
        for statement in SECOND_SCHEMA:
            connection.execute(text(statement))
    engine.dispose()
    with Catalog.open(database_url) as catalog:
        assert catalog.failed_work("by-t") == [("s1", "torn")]
        assert catalog.newest_errors(limit=5) == []  # when it was, nobody knows
        assert catalog.recent_drivers(within_s=60) == []
        assert catalog.retry_failed("by-t") == 1
        (lease,) = catalog.lease("by-t", owner="me", limit=9, ttl_s=60)
        catalog.charge(lease, "torn again", max_attempts=1)
        (error,) = catalog.newest_errors(limit=5)
        assert (error.error, error.state, error.attempts) == ("torn again", "failed", 1)
        assert abs(error.errored_at - catalog.now()) < 60


FIRST_SCHEMA = (
    "INSERT INTO sources (name, role, uri, layout, licence, created_at)"
    " VALUES ('street', 'unlabelled', '/data', 'images', 'MIT', 1.0)",
    "INSERT INTO ingest_runs (run_id, source, epoch, owner, lease_until, state, uri, config,"
    " code_version, summary, started_at, finished_at)"
    " VALUES ('i1', 'street', 1, 'me', 2.0, 'done', '/data', '{}', '1', '{}', 1.0, 2.0)",
    "INSERT INTO image_shards (shard_id, source, run_id, key, rows, bytes, sha256, committed_at)"
    " VALUES ('s1', 'street', 'i1', 'sources/street/s1.parquet', 7, 70, 'a', 1.5)",
)
SECOND_SCHEMA = (
    *FIRST_SCHEMA,
    "INSERT INTO label_sets (name, teacher, teacher_sha256, recipe, recipe_hash, code_version,"
    " created_at) VALUES ('by-t', 't', 'a', '{}', 'b', '1', 1.0)",
    "INSERT INTO work (label_set, shard_id, source, number, images, state, attempts, epoch, error)"
    " VALUES ('by-t', 's1', 'street', 1, 7, 'failed', 3, 3, 'torn')",
)


def test_the_migrations_are_part_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "migrations/*.mako" in project["tool"]["setuptools"]["package-data"]["pipeline"]
    for package in ("migrations", "migrations/versions"):
        assert (ROOT / "pipeline" / package / "__init__.py").is_file()


def test_importing_the_catalog_opens_nothing(tmp_path):
    code = "import pipeline.catalog, pipeline.lineage, os; assert not os.listdir('.')"
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, env={"PYTHONPATH": str(ROOT)}
    )

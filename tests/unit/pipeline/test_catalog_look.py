"""A look at catalogs of both kinds changes nothing, and sees what is wrong."""

import sqlite3

import pytest
from sqlalchemy import create_engine, inspect, text

from pipeline.catalog import Catalog
from pipeline.catalog_look import look_at_catalog, sqlite_file
from pipeline.catalog_schema import VERSION_TABLE
from pipeline.errors import StorageError


def tables(url: str) -> list[str]:
    engine = create_engine(url)
    try:
        return inspect(engine).get_table_names()
    finally:
        engine.dispose()


def run(url: str, statement: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_an_empty_database_stays_empty(database_url):
    if (file := sqlite_file(database_url)) is not None:
        file.touch()
    look = look_at_catalog(database_url)
    assert (look.schema.found, look.schema.is_known, look.cannot_write) == (None, True, "")
    assert tables(database_url) == []


def test_a_catalog_that_fits(database_url):
    Catalog.open(database_url).close()
    look = look_at_catalog(database_url)
    assert look.schema.found == look.schema.newest
    assert (look.cannot_write, look.is_busy) == ("", False)
    assert abs(look.clock_ahead_s) < 5 and 0 <= look.answer_s < 5
    assert look.server.split()[0] in ("SQLite", "PostgreSQL")


def test_newer_code_wrote_it(database_url):
    Catalog.open(database_url).close()
    run(database_url, f"UPDATE {VERSION_TABLE} SET version_num = 'future'")
    look = look_at_catalog(database_url)
    assert (look.schema.found, look.schema.is_known) == ("future", False)


def test_a_file_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(StorageError, match="did not answer"):
        look_at_catalog(f"sqlite:///{tmp_path}/none.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_nothing_lies_beside_a_file_after_a_look(tmp_path):
    url = f"sqlite:///{tmp_path}/catalog.sqlite"
    Catalog.open(url).close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    look_at_catalog(url)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.catalog_look.BUSY_S", 0.05)
    url = f"sqlite:///{tmp_path}/catalog.sqlite"
    Catalog.open(url).close()
    writer = sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    look = look_at_catalog(url)
    writer.close()
    assert look.is_busy and not look.cannot_write


def test_users_who_may_not_write(postgres_catalog_url):
    run(postgres_catalog_url, "DROP ROLE IF EXISTS reader")
    run(postgres_catalog_url, "CREATE ROLE reader LOGIN")
    run(postgres_catalog_url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    as_reader = postgres_catalog_url.replace("factory@", "reader@", 1)
    assert as_reader != postgres_catalog_url
    try:
        assert "may not write" in look_at_catalog(as_reader).cannot_write
        run(postgres_catalog_url, "ALTER ROLE reader SET default_transaction_read_only = on")
        assert "read_only" in look_at_catalog(as_reader).cannot_write
    finally:
        run(postgres_catalog_url, "DROP OWNED BY reader")
        run(postgres_catalog_url, "DROP ROLE reader")

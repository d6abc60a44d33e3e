import re
from pathlib import Path

from sqlalchemy import create_engine, insert, text

from pipeline.catalog_reference import markdown_page
from pipeline.catalog_tables import metadata
from pipeline.catalog_words import COLUMNS, TABLES

PAGE = Path(__file__).parents[3] / "docs" / "catalog.md"


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == markdown_page(), "make docs"


def test_every_table_and_column_has_words_and_no_others_have():
    columns = {name: [each.name for each in table.c] for name, table in metadata.tables.items()}
    assert {name: list(words) for name, words in COLUMNS.items()} == columns
    assert list(TABLES) == list(metadata.tables)


def test_every_row_says_something():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.*) \|$", markdown_page(), re.MULTILINE)
    assert len(rows) == sum(len(table.c) for table in metadata.tables.values())
    silent = [name for name, _, words in rows if not words]
    assert silent == []


def test_what_the_database_checks_is_on_the_page():
    page = markdown_page()
    for states in ("`running`, `done`, `failed`, `stopped`, `lost`", "`pending`, `leased`, `done`"):
        assert states in page
    assert "→ `image_shards.shard_id`" in page
    assert "| `number` | integer, key |" in page


def test_the_query_on_the_page_runs():
    (query,) = re.findall(r"```sql\n(.*?)```", markdown_page(), re.DOTALL)
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    row = {"label_set": "by-dav2", "source": "places", "attempts": 0, "epoch": 0, "state": "done"}
    rows = [row | {"shard_id": f"s{n}", "number": n, "images": 10 * n} for n in (1, 2)]
    with engine.begin() as connection:
        connection.execute(insert(metadata.tables["work"]), rows)
        assert connection.execute(text(query)).all() == [("places", "done", 2, 30)]
    engine.dispose()

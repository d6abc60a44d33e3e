"""The page of the documentation about the catalog: `make docs` writes docs/catalog.md.

Tables, columns and types are read from `pipeline.catalog_tables`; words from
`pipeline.catalog_words`.
"""

from collections.abc import Iterator

from sqlalchemy import CheckConstraint, Column, Table

from pipeline.catalog_tables import metadata
from pipeline.catalog_words import COLUMNS, TABLES

_HEAD = """\
# Catalog

The database that says what of all that lies in a store counts: SQLite in the store's folder
(`catalog.sqlite`), or PostgreSQL. It has a row per shard, never per image: 62,000 for 62 million
images. Made by `make docs` from `pipeline/catalog_tables.py`.

- Ask it with `factory catalog sources|shards|label-sets|models|runs|evaluations|lineage`
  ([cli.md](cli.md#catalog-sources)); `--json` gives what programs need. Reading it by SQL is fine,
  at any time. Writing is not: what a row says is also in footers and in files of the store.
- Times are seconds since 1970 by the database's own clock.
- A newer version of the code migrates the tables when it opens them; an older one refuses.
- Only drivers talk to it. Workers are handed keys and give back what they wrote.

```sql
-- How much of a label set is done, by source.
SELECT source, state, COUNT(*) AS shards, SUM(images) AS images
FROM work WHERE label_set = 'by-dav2' GROUP BY source, state;
```
"""


def markdown_page() -> str:
    """One section per table, in the order of the line from source to result."""
    lines = [_HEAD.rstrip()]
    for name, words in TABLES.items():
        lines += ["", *_section(metadata.tables[name], words)]
    return "\n".join(lines) + "\n"


def _section(table: Table, words: str) -> Iterator[str]:
    yield from (f"## {table.name}", "", words, "", "| column | type | |", "|---|---|---|")
    for column in table.columns:
        yield f"| `{column.name}` | {_kind(column)} | {_words(table, column)} |"


def _kind(column: Column[object]) -> str:
    """For example ``text, key`` or ``number, may be empty``."""
    kind = {"DOUBLE": "number", "BIGINT": "integer"}.get(str(column.type), str(column.type).lower())
    kind = "JSON" if kind == "json" else kind
    return kind + (", key" if column.primary_key else ", may be empty" if column.nullable else "")


def _words(table: Table, column: Column[object]) -> str:
    """What it holds, the values it may have, and where it leads."""
    said = COLUMNS[table.name][column.name]
    facts = [said] if said else []
    if column.name.endswith("_at") and not said:
        facts.append("When.")
    choices = [each for each in table.constraints if _is_choice(each, column)]
    if choices and "`, `" not in said and " or `" not in said:
        facts.insert(0, f"One of {_choices(choices[0])}.")
    facts += [f"→ `{key.target_fullname}`" for key in column.foreign_keys]
    return " ".join(facts)


def _is_choice(constraint: object, column: Column[object]) -> bool:
    return isinstance(constraint, CheckConstraint) and str(constraint.sqltext).startswith(
        f"{column.name} IN"
    )


def _choices(constraint: object) -> str:
    assert isinstance(constraint, CheckConstraint)
    _, _, listed = str(constraint.sqltext).partition("IN ")
    return ", ".join(f"`{each.strip()}`" for each in listed.strip("()").replace("'", "").split(","))


if __name__ == "__main__":
    print(markdown_page(), end="")

"""Licence and author of single images, joined from the CSV files that data sets keep beside them.

Google Landmarks lists 4.1 million images, Open Images 9 million: too many for a dictionary in each
process that reads. They go into a temporary SQLite database without a name, which spills to disk,
is gone with the process, and finds a row in some 10 µs. A process builds it once, at a million rows
in 4 s (2 s of it for reading CSV).
"""

import csv
import io
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipeline.attribution import attribution_line
from pipeline.errors import SourceError
from pipeline.filesystems import public_uri
from pipeline.presets import AttributionTable, match_end, presets
from pipeline.raw_files import FoundFile, is_folder, list_folder, open_uri

_MAX_FIELD = 1 << 20  # characters


@dataclass(frozen=True, slots=True)
class Credit:
    """What a table says of one image."""

    licence: str | None = None
    attribution: str | None = None


def find_tables(uri: str, layout: str) -> tuple[FoundFile, ...]:
    """The files that name the authors: in the folder of a data set, or beside the archive.

    Raises:
        SourceError: The preset cannot do without, and there is none.
        FileNotFoundError: There is nothing at that address.
    """
    preset = presets().get(layout)
    table = preset.attribution if preset else None
    if preset is None or table is None:
        return ()
    folder = uri.rstrip("/") if is_folder(uri) else uri.rpartition("/")[0] or "."
    found = tuple(
        file
        for file in list_folder(folder)
        if file.kind == "file" and match_end(table.files, file.path)
    )
    if table.required and not found:
        raise SourceError(
            f"{preset.name} names the author of each image in a file of its own, and there is none "
            f"in {public_uri(folder)}: put {table.example} there "
            f"(see {preset.terms.homepage})"
        )
    return found


class Credits:
    """Licence and attribution by an image's key; for any number of threads."""

    def __init__(self, table: AttributionTable, files: Sequence[FoundFile]) -> None:
        """Read the files.

        Raises:
            SourceError: A file has other columns, or is no table at all.
        """
        self._lock = threading.Lock()
        # Without a name it is a temporary file that only this connection knows.
        self._rows = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("PRAGMA cache_size = -32768")
        self._rows.execute("CREATE TABLE credits (key, licence, author, title, url)")
        for file in files:
            self._fill(table, file)
        self._rows.execute("CREATE INDEX by_key ON credits (key)")

    def __len__(self) -> int:
        """How many rows there are."""
        with self._lock:
            return int(self._rows.execute("SELECT count(*) FROM credits").fetchone()[0])

    def find(self, key: str) -> Credit | None:
        """What the tables say of an image; of several rows with its key the first one counts."""
        question = "SELECT * FROM credits WHERE key = ? ORDER BY rowid LIMIT 1"
        with self._lock:
            row = self._rows.execute(question, (key,)).fetchone()
        if row is None:
            return None
        _, licence, author, title, url = row
        line = attribution_line(author=author, title=title, url=url)
        return Credit((licence or "").strip() or None, line)

    def _fill(self, table: AttributionTable, file: FoundFile) -> None:
        rows = _rows(table, file)
        self._rows.execute("BEGIN")
        self._rows.executemany("INSERT INTO credits VALUES (?, ?, ?, ?, ?)", rows)
        self._rows.execute("COMMIT")


def credit_of(path: str, *, layout: str, tables: tuple[FoundFile, ...]) -> Credit:
    """What the tables of a known data set say of the image at a path; empty where they say nothing.

    A process reads the tables when it is asked first.
    """
    preset = presets().get(layout) if tables else None
    if preset is None or preset.attribution is None:
        return Credit()
    found = match_end(preset.image, path)
    if found is None:
        return Credit()
    key = found[preset.attribution.image_key]
    return _credits(preset.attribution, tables).find(key) or Credit()


_reading = threading.Lock()


def _credits(table: AttributionTable, files: tuple[FoundFile, ...]) -> Credits:
    with _reading:  # one thread reads, the others wait for it
        return _kept_credits(table, files)


@lru_cache(maxsize=1)
def _kept_credits(table: AttributionTable, files: tuple[FoundFile, ...]) -> Credits:
    return Credits(table, files)


def _rows(table: AttributionTable, file: FoundFile) -> Iterator[list[str | None]]:
    """Key, licence, author, title and address of each row, as they stand there."""
    shown = public_uri(file.uri)
    csv.field_size_limit(_MAX_FIELD)
    with open_uri(file.uri) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
        try:
            reader = csv.reader(text)
            header = next(reader, [])
            places = _places(table, header, shown)
            for row in reader:
                if len(row) == len(header):
                    yield [None if place is None else row[place] for place in places]
        except csv.Error as error:
            raise SourceError(f"{shown} is no table of authors: {error}") from error


def _places(table: AttributionTable, header: list[str], shown: str) -> list[int | None]:
    """Where in a row each thing is."""
    names = [table.key, table.licence, table.author, table.title, table.url]
    missing = [name for name in names if name and name not in header]
    if missing:
        has = ", ".join(header[:12]) or "no header"
        raise SourceError(f"{shown} has no column {', '.join(missing)}; it has {has}")
    return [header.index(name) if name else None for name in names]

"""Doctor: whether the catalog answers, can be written, and fits this code; nothing is changed."""

from pathlib import Path

from jobs.config import Common
from jobs.doctor_checks import OK, PROBLEM, WARNING, Check
from jobs.doctor_disk import file_system_of, is_network, nearest_existing
from jobs.readable import readable_duration
from jobs.workspace import CATALOG_FILE
from pipeline.catalog_look import CatalogLook, look_at_catalog, sqlite_file
from pipeline.catalog_values import without_credentials
from pipeline.errors import StorageError
from pipeline.filesystems import is_local, local_file

CLOCK_S = 60.0  # S3 refuses requests whose clock is a quarter of an hour off
DAMAGED = ("file is not a database", "disk image is malformed")  # as SQLite says it
SLOW_ANSWER_S = 0.1  # a commit asks several times


def catalog_checks(config: Common) -> list[Check]:
    """The catalog that commands would use with this configuration."""
    url = catalog_url(config)
    if url is None:
        advice = "--catalog postgresql+psycopg://USER@HOST/NAME, or FACTORY_CATALOG"
        return [Check("catalog", PROBLEM, "a remote store needs one that is named", advice)]
    try:
        file = sqlite_file(url)
        if file is not None:
            kind = file_system_of(nearest_existing(file).resolve())
            if is_network(kind) or not file.exists():
                return [judge_file(file, kind=kind)]
        look = look_at_catalog(url)
    except (ValueError, OSError, StorageError) as error:
        return [judge_error(error)]
    return judge_look(look, is_own_clock=file is not None)


def catalog_url(config: Common) -> str | None:
    """The URL that is used where none is given, too; None where one has to be given."""
    if config.catalog or not is_local(config.store):
        return config.catalog
    return f"sqlite:///{local_file(config.store) / CATALOG_FILE}"


def judge_file(file: Path, *, kind: str) -> Check:
    """Of an SQLite file that cannot be looked at, or must not be used."""
    if is_network(kind):
        advice = "keep the catalog on a local disk, or in PostgreSQL: --catalog"
        return Check("catalog", PROBLEM, f"SQLite on {kind}, where its locks do not work", advice)
    return Check("catalog", OK, f"{file} is not there yet: the first command that writes makes it")


def judge_error(error: Exception) -> Check:
    """What to do about a catalog that does not answer."""
    text = without_credentials(str(error))
    if "pip install" in text:
        return Check("catalog", PROBLEM, text, text.partition(": ")[2])
    if any(words in text for words in DAMAGED):
        advice = "move its files (catalog.sqlite*) away, and run `factory catalog rebuild`"
        return Check("catalog", PROBLEM, text, advice)
    return Check("catalog", PROBLEM, text, "check --catalog, the server, its user and password")


def judge_look(look: CatalogLook, *, is_own_clock: bool) -> list[Check]:
    """What was seen of a catalog that answers; an SQLite file has no clock of its own."""
    checks = [_judge_access(look), _judge_schema(look)]
    return checks if is_own_clock else [*checks, judge_clock(look.clock_ahead_s)]


def judge_clock(ahead_s: float) -> Check:
    """The difference between the database's clock and this machine's."""
    if abs(ahead_s) < CLOCK_S:
        return Check("catalog clock", OK, f"{ahead_s:+.2f} s from this machine's")
    word = "before" if ahead_s > 0 else "behind"
    found = f"{readable_duration(abs(ahead_s))} {word} this machine's"
    return Check("catalog clock", WARNING, found, "set both clocks by NTP: S3 refuses wrong ones")


def _judge_access(look: CatalogLook) -> Check:
    found = f"{look.name}, {look.server}, answers in {look.answer_s * 1000:.1f} ms"
    if look.cannot_write:
        advice = "use the database that is written to, with a user who owns the tables"
        return Check("catalog", PROBLEM, f"{found}, but: {look.cannot_write}", advice)
    if look.is_busy:
        advice = "several writers for long: use PostgreSQL, or see who holds the file"
        return Check("catalog", WARNING, f"{found}; another process writes all the time", advice)
    if look.answer_s > SLOW_ANSWER_S:
        return Check("catalog", WARNING, found, "run commands nearer to it: each commit asks often")
    return Check("catalog", OK, found)


def _judge_schema(look: CatalogLook) -> Check:
    name, schema = "catalog schema", look.schema
    if not schema.is_known:
        found = f"{schema.found}, which this code does not know (its own is {schema.newest})"
        return Check(name, PROBLEM, found, "newer code wrote it: update this installation")
    if schema.found is None:
        return Check(name, OK, "none yet: the first command makes it")
    if schema.found != schema.newest:
        found = f"{schema.found}, and this code's is {schema.newest}: the next command migrates it"
        return Check(name, WARNING, found, "back it up first; older code cannot use it afterwards")
    return Check(name, OK, str(schema.found))

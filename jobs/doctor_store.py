"""Doctor: whether the store does what the factory needs, tried with an object that is removed.

What is tried: write, list, read, remove, and that a second exclusive write of a name is refused,
also where several write at once: commits of workers rest on that.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from jobs.config import Common
from jobs.doctor_checks import OK, PROBLEM, WARNING, Check
from jobs.doctor_disk import file_system_of, is_network, nearest_existing
from jobs.doctor_software import install_extras
from jobs.readable import readable_bytes, readable_duration
from pipeline.errors import StorageError, StoreFullError
from pipeline.storage import Store

FOLDER = "factory-doctor"  # of scratch objects, which hold nothing
LEFT_BEHIND_S = 3600.0  # after that nobody is at work on one any more
WRITERS = 4
FULL_BYTES = 1 << 30  # less than a shard of 1,000 photographs or a checkpoint
NEARLY_FULL_BYTES = 20 << 30
# Of S3: that part of an address has no meaning there, and errors would show it as a bucket.
_BUCKET_WITH_KEYS = re.compile(r"s3a?://[^/]*@")


@dataclass(frozen=True, slots=True)
class Trial:
    """How the store took a scratch object.

    Attributes:
        faults: What it did otherwise than it must, in words.
        seconds: That all of it took.
    """

    faults: Sequence[str]
    seconds: float


def store_checks(config: Common) -> list[Check]:
    """Where the store is, what is free there, and what it does."""
    try:
        store = Store(config.store)
    except ValueError as error:
        return [Check("store", PROBLEM, str(error), "check --store: a folder, or any fsspec URL")]
    if _BUCKET_WITH_KEYS.match(config.store):
        found = "credentials stand before the name of the bucket, where nothing reads or hides them"
        advice = "take them out of --store; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return [Check("store", PROBLEM, found, advice)]
    if store.is_local:
        return _local(Path(store.uri))
    return [Check("store", OK, f"{store.uri}{_credentials(config.store)}"), _remote_trial(store)]


def judge_folder(folder: Path, *, exists: bool, kind: str) -> Check:
    """Of a local store, which begins to exist with the first command that writes."""
    on = f" ({kind})" if kind else ""
    if not exists:
        advice = "check --store; if nothing was ingested yet, the first command will make it"
        return Check("store", WARNING, f"{folder} is not there yet{on}", advice)
    if is_network(kind):
        on += ", which other machines may see: a catalog in SQLite must not lie there"
    return Check("store", OK, f"{folder}{on}")


def judge_space(free_bytes: int, free_files: int | None) -> Check:
    """What is free on the disk of a local store; None where it does not count files."""
    found = f"{readable_bytes(free_bytes)} free"
    if free_files is not None and free_files < 1000:
        advice = "no more files can be made there: remove some, or run `factory catalog gc`"
        return Check("store space", PROBLEM, f"{found}, {free_files} files", advice)
    if free_bytes >= NEARLY_FULL_BYTES:
        return Check("store space", OK, found)
    verdict = PROBLEM if free_bytes < FULL_BYTES else WARNING
    return Check("store space", verdict, found, "free some: `factory catalog gc` removes leftovers")


def judge_trial(trial: Trial) -> Check:
    """Whether the store can be relied on."""
    if not trial.faults:
        done = "written, listed, read, not overwritten, removed"
        return Check("store objects", OK, f"{done} in {readable_duration(trial.seconds)}")
    advice = (
        "use another store, or a newer version of this one: two workers could overwrite each "
        "other's work"
    )
    return Check("store objects", PROBLEM, "; ".join(trial.faults), advice)


def judge_error(error: Exception) -> Check:
    """What to do about a store that refuses."""
    text = str(error)
    return Check("store objects", PROBLEM, text, _advice(error, text))


def try_objects(store: Store) -> Trial:
    """Write, list, read, write again and remove a scratch object; faults of the store raise."""
    began = time.monotonic()
    _remove_old(store)
    key = f"{FOLDER}/{int(time.time())}-{uuid.uuid4().hex}"
    faults = []
    with _removed(store, key):
        store.put(key, b"first")
        if key not in store.list(FOLDER):
            faults.append("an object that was written is not listed")
        if _is_put(store, key, b"second"):
            faults.append("an object that is there can be overwritten by an exclusive write")
        elif store.get(key) != b"first":
            faults.append("an object is not read as it was written")
        store.delete(key)
        if store.exists(key):
            faults.append("an object that was removed is still there")
        winners = _race(store, key)
        if winners != 1:
            faults.append(f"of {WRITERS} exclusive writes at once {winners} went well, not one")
    return Trial(faults, time.monotonic() - began)


def _race(store: Store, key: str) -> int:
    """How many of several exclusive writers of different bytes believe that they were first."""
    with ThreadPoolExecutor(WRITERS) as writers:
        contents = [f"writer {number}".encode() for number in range(WRITERS)]
        return sum(writers.map(lambda content: _is_put(store, key, content), contents))


def _is_put(store: Store, key: str, content: bytes) -> bool:
    try:
        store.put(key, content, exclusive=True)
    except FileExistsError:
        return False
    return True


@contextmanager
def _removed(store: Store, key: str) -> Iterator[None]:
    """Remove an object in the end, also where what happened meanwhile failed."""
    try:
        yield
    except BaseException:
        with suppress(Exception):  # what went wrong first is what has to be said
            store.delete(key)
        raise
    store.delete(key)


def _remove_old(store: Store) -> None:
    """Remove what a doctor that was killed left behind; its name says when it began."""
    for key in list(store.list(FOLDER)):
        began, _, _ = key.removeprefix(f"{FOLDER}/").partition("-")
        if began.isdecimal() and time.time() - int(began) > LEFT_BEHIND_S:
            store.delete(key)


def _local(folder: Path) -> list[Check]:
    existing = nearest_existing(folder)
    if not existing.is_dir():
        return [Check("store", PROBLEM, f"{existing} is a file", "check --store: it is a folder")]
    kind = file_system_of(existing.resolve())
    usage = shutil.disk_usage(existing)
    return [
        judge_folder(folder, exists=folder.is_dir(), kind=kind),
        judge_space(usage.free, _free_files(existing)),
        _local_trial(existing),
    ]


def _free_files(folder: Path) -> int | None:
    facts = os.statvfs(folder)
    return facts.f_favail if facts.f_files else None


def _local_trial(folder: Path) -> Check:
    was_there = (folder / FOLDER).exists()
    try:
        return judge_trial(try_objects(Store(str(folder))))
    except (OSError, StorageError) as error:
        return judge_error(error)
    finally:
        if not was_there:
            with suppress(OSError):  # it was never made, or another doctor is at work in it
                (folder / FOLDER).rmdir()


def _remote_trial(store: Store) -> Check:
    try:
        return judge_trial(try_objects(store))
    except (OSError, StorageError) as error:
        return judge_error(error)


def _advice(error: Exception, text: str) -> str:
    if isinstance(error, StoreFullError):
        return "free space, or raise the quota"
    if "not installed" in text:
        return install_extras(["s3"]) if "s3" in text else "install the package that is named"
    if "credentials" in text.lower():
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or a role"
    if isinstance(error, PermissionError) or "://" not in text:
        return "allow this user to write, list, read and remove there, or choose another folder"
    if isinstance(error, FileNotFoundError) or "NoSuchBucket" in text:
        return "make the bucket, or correct --store"
    return "check --store, AWS_ENDPOINT_URL, credentials, and the network between"


def _credentials(address: str) -> str:
    """By which method credentials for S3 are found; never what they are."""
    if not address.startswith(("s3://", "s3a://")):
        return ""
    try:
        session = import_module("botocore.session").get_session()
    except ImportError:  # the trial will say so
        return ""
    found = session.get_credentials()
    return f", credentials by {found.method}" if found else ", no credentials"

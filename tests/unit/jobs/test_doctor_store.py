"""The doctor's trial of stores that work, lie, refuse and break off; and of catalogs."""

import sqlite3
import time
from pathlib import Path

import pytest

from jobs import doctor_store
from jobs.doctor_catalog import catalog_checks
from jobs.doctor_checks import OK, PROBLEM, WARNING
from jobs.doctor_config import DoctorConfig
from jobs.doctor_store import FOLDER, judge_trial, store_checks, try_objects
from pipeline.catalog import Catalog
from pipeline.errors import StorageError, StoreFullError
from pipeline.storage import Store


def verdicts(checks):
    return {check.name: check.verdict for check in checks}


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_store_that_does_what_it_must_is_left_as_it_was(tmp_path):
    (tmp_path / "sources").mkdir()
    before = everything(tmp_path)
    checks = store_checks(DoctorConfig(store=str(tmp_path)))
    assert verdicts(checks)["store objects"] == verdicts(checks)["store"] == OK
    assert everything(tmp_path) == before


def test_a_store_that_is_not_there_yet_is_not_made(tmp_path):
    checks = store_checks(DoctorConfig(store=str(tmp_path / "new" / "store")))
    assert verdicts(checks)["store"] == WARNING and verdicts(checks)["store objects"] == OK
    assert everything(tmp_path) == []


def test_a_store_that_is_a_file_or_of_an_unknown_kind(tmp_path):
    (tmp_path / "file").touch()
    (check,) = store_checks(DoctorConfig(store=str(tmp_path / "file")))
    assert (check.verdict, check.found) == (PROBLEM, f"{tmp_path}/file is a file")
    (check,) = store_checks(DoctorConfig(store="nosuch://u:never-shown@x/y"))
    assert check.verdict == PROBLEM and "never-shown" not in check.as_dict()["found"]


def test_keys_in_the_address_of_a_bucket_are_named_and_not_shown():
    (check,) = store_checks(DoctorConfig(store="s3://somebody:never-shown@bucket/x"))
    assert check.verdict == PROBLEM and "AWS_SECRET_ACCESS_KEY" in check.advice
    assert "never-shown" not in str(check.as_dict())


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (PermissionError("no permission for a in /s"), "allow this user"),
        (StoreFullError("a in /s: No space left"), "free space"),
        (StorageError("a in s3://b: NoCredentialsError: Unable to locate credentials"), "AWS_"),
        (FileNotFoundError("no a in s3://b/x"), "make the bucket"),
        (StorageError("a in s3://b: EndpointConnectionError: …"), "AWS_ENDPOINT_URL"),
        (StorageError("s3://b needs a package that is not installed: s3fs"), "[s3]"),
    ],
)
def test_a_store_that_refuses(tmp_path, monkeypatch, error, advice):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(Store, "put", refuse)
    check = store_checks(DoctorConfig(store=str(tmp_path)))[-1]
    assert check.verdict == PROBLEM
    assert check.found == str(error) and advice in check.advice
    assert everything(tmp_path) == []


def test_a_store_without_exclusive_writes(tmp_path, monkeypatch):
    put = Store.put
    monkeypatch.setattr(Store, "put", lambda self, key, data, exclusive=False: put(self, key, data))
    trial = try_objects(Store(str(tmp_path)))
    assert "can be overwritten" in trial.faults[0]
    assert f"of {doctor_store.WRITERS} exclusive writes at once 4 went well" in trial.faults[1]
    assert judge_trial(trial).verdict == PROBLEM


def test_a_store_that_only_asks_before_it_writes(tmp_path, monkeypatch):
    """One writer after the other is refused; several at once all believe to be first."""
    put = Store.put

    def ask_first(self, key, data, exclusive=False):
        if exclusive and self.exists(key):
            raise FileExistsError(key)
        time.sleep(0.2)
        put(self, key, data)

    monkeypatch.setattr(Store, "put", ask_first)
    (fault,) = try_objects(Store(str(tmp_path))).faults
    assert "exclusive writes at once" in fault


def test_a_store_that_forgets(tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "list", lambda self, prefix="": iter(()))
    monkeypatch.setattr(Store, "get", lambda self, key: b"else")
    monkeypatch.setattr(Store, "exists", lambda self, key: True)
    assert len(try_objects(Store(str(tmp_path))).faults) == 3


def test_what_was_begun_is_removed_when_somebody_stops_it(tmp_path, monkeypatch):
    def stop(self, key):
        raise SystemExit(1)

    monkeypatch.setattr(Store, "get", stop)
    with pytest.raises(SystemExit):
        try_objects(Store(str(tmp_path)))
    assert list(Store(str(tmp_path)).list()) == []


def test_what_a_doctor_that_was_killed_left_behind_goes_after_an_hour(tmp_path):
    store = Store(str(tmp_path))
    old, new = f"{FOLDER}/{int(time.time()) - 7200}-a", f"{FOLDER}/{int(time.time())}-b"
    for key in (old, new, f"{FOLDER}/notes"):
        store.put(key, b"x")
    assert try_objects(store).faults == []
    assert sorted(store.list()) == sorted([new, f"{FOLDER}/notes"])


def test_catalogs_in_files(tmp_path):
    config = DoctorConfig(store=str(tmp_path))
    assert verdicts(catalog_checks(config)) == {"catalog": OK}
    assert everything(tmp_path) == []  # none was made
    Catalog.open(f"sqlite:///{tmp_path}/catalog.sqlite").close()
    assert verdicts(catalog_checks(config)) == {"catalog": OK, "catalog schema": OK}
    (tmp_path / "catalog.sqlite").write_bytes(b"nothing of the kind" * 100)
    (check,) = catalog_checks(config)
    assert check.verdict == PROBLEM and "not a database" in check.found
    assert "catalog rebuild" in check.advice


def test_a_database_that_is_no_catalog_yet_stays_one(tmp_path):
    file = tmp_path / "catalog.sqlite"
    sqlite3.connect(file).close()
    checks = catalog_checks(DoctorConfig(store=str(tmp_path)))
    assert checks[1].found.startswith("none yet")
    assert file.stat().st_size == 0


def test_catalogs_that_cannot_be():
    (check,) = catalog_checks(DoctorConfig(store="s3://b/x"))
    assert check.verdict == PROBLEM and "postgresql" in check.advice
    (check,) = catalog_checks(DoctorConfig(catalog="mysql://u:never-shown@h/x"))
    assert check.verdict == PROBLEM and "never-shown" not in check.found
    (check,) = catalog_checks(DoctorConfig(catalog="sqlite://"))
    assert check.verdict == PROBLEM


def test_a_server_that_does_not_listen():
    pytest.importorskip("psycopg")
    url = "postgresql://somebody:never-shown@127.0.0.1:1/factory"
    (check,) = catalog_checks(DoctorConfig(catalog=url))
    assert check.verdict == PROBLEM and "did not answer" in check.found
    assert "never-shown" not in str(check.as_dict())

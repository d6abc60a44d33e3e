"""Commands are on record while they work, whatever the catalog does."""

import threading
import time
from dataclasses import replace

import pytest

from jobs import driver_record
from jobs.config import IngestConfig, LabelConfig
from jobs.console import Reporter
from jobs.driver_command import command_again
from jobs.driver_record import DriverRecord, at_work
from jobs.errors import Interrupted
from jobs.owner import current_owner
from jobs.training_config import TrainStudentConfig
from pipeline.catalog import Catalog
from pipeline.errors import StorageError

CONFIG = LabelConfig(sources=("street",), teacher="dav2")


@pytest.fixture
def catalog(sqlite_template, tmp_path):
    (tmp_path / "catalog.sqlite").write_bytes(sqlite_template.read_bytes())
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.sqlite'}") as catalog:
        yield catalog


def working(catalog, *, heartbeat_s=60.0):
    return at_work(
        catalog, "label", "by-dav2", config=CONFIG, reporter=Reporter.silent(),
        heartbeat_s=heartbeat_s,
    )  # fmt: skip


def row_of(catalog):
    (row,) = catalog.drivers_of(["label"], "by-dav2")
    return row


def wait_for(condition, *, timeout_s=20.0):
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def test_on_record_from_the_beginning_and_done_at_the_end(catalog):
    with working(catalog):
        row = row_of(catalog)
        assert (row.state, row.owner, row.heartbeat_s) == ("running", current_owner(), 60.0)
        assert row.facts == {"command": "factory label street --teacher dav2"}
    assert row_of(catalog).state == "done"


def test_what_is_told_shown_and_warned_of_is_on_record_while_it_lasts(catalog):
    with working(catalog, heartbeat_s=0.02) as reporter:
        actors = {"ready": 1}
        reporter.tell(lambda: {"actors": dict(actors)})
        reporter.warn("one is slow")
        with reporter.progress("label", total=10) as bar:
            bar.start_at(2)
            bar.advance(3)
            with reporter.progress("load", total=None, unit="files") as inner:
                inner.advance()
                load = {"title": "load", "done": 1, "total": None, "unit": "files"}
                wait_for(lambda: row_of(catalog).facts.get("doing") == load)
            doing = {"title": "label", "done": 5, "total": 10, "unit": "images"}
            wait_for(lambda: row_of(catalog).facts["doing"] == doing)
        actors["ready"] = 2
        wait_for(lambda: row_of(catalog).facts["actors"] == {"ready": 2})
    facts = row_of(catalog).facts
    assert facts["doing"] == doing  # what it did last
    assert [each["text"] for each in facts["warnings"]] == ["one is slow"]
    assert abs(facts["warnings"][0]["at"] - catalog.now()) < 60


@pytest.mark.parametrize(
    ("error", "state", "said"),
    [
        (ValueError("bad"), "failed", "ValueError: bad"),
        (KeyboardInterrupt(), "stopped", None),
        (Interrupted("stopped", {}), "stopped", None),
        (SystemExit(1), "failed", "SystemExit: 1"),
    ],
)
def test_how_it_ended(catalog, error, state, said):
    with pytest.raises(type(error)), working(catalog):
        raise error
    assert (row_of(catalog).state, row_of(catalog).facts.get("error")) == (state, said)


class _Away:
    """A catalog of which some calls get no answer."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.is_away = True

    def __getattr__(self, name):
        def ask(*arguments, **options):
            if self.is_away:
                raise StorageError("the catalog did not answer")
            return getattr(self._catalog, name)(*arguments, **options)

        return ask


def test_a_catalog_that_is_away_harms_nothing_and_hears_of_it_later(catalog):
    away = _Away(catalog)
    with working(away, heartbeat_s=0.02):
        assert catalog.drivers_of(["label"], "by-dav2") == []
        away.is_away = False
        wait_for(lambda: catalog.drivers_of(["label"], "by-dav2"))
        away.is_away = True
    assert row_of(catalog).state == "running"  # the end could not be told; silence tells it


def test_a_catalog_that_never_answers_keeps_no_command_and_hides_no_error(catalog, monkeypatch):
    monkeypatch.setattr(driver_record, "LAST_WORD_S", 0.05)
    asked, answer = threading.Event(), threading.Event()

    def never(*arguments, **options):
        asked.set()
        answer.wait(60)

    monkeypatch.setattr(Catalog, "beat_driver", never)
    began = time.monotonic()
    with pytest.raises(ValueError, match="bad"), working(catalog, heartbeat_s=0.01):
        assert asked.wait(20)
        raise ValueError("bad")
    assert time.monotonic() - began < 20
    answer.set()
    wait_for(lambda: row_of(catalog).state == "failed")  # where it answers in the end


def test_a_beginning_that_was_heard_and_not_answered_leaves_no_silent_driver(catalog, monkeypatch):
    begin = Catalog.begin_driver

    def unanswered(*arguments, **options):
        begin(*arguments, **options)
        raise StorageError("the server closed the connection")

    record = DriverRecord(catalog, "label", "by-dav2")
    with monkeypatch.context() as context:
        context.setattr(Catalog, "begin_driver", unanswered)
        record.beat()
    record.beat()
    rows = catalog.drivers_of(["label"], "by-dav2")
    assert [row.state for row in rows] == ["failed", "running"]


def test_a_password_is_not_half_shown_where_a_text_is_cut(catalog):
    record = DriverRecord(catalog, "label", "by-dav2")
    record.warned(f"{'x' * 460} postgresql://me:{'secret' * 9}@there/x")
    (warning,) = record.facts()["warnings"]
    assert "secret" not in warning["text"]


def test_a_catalog_that_was_made_anew_gets_a_new_row(catalog):
    record = DriverRecord(catalog, "label", "by-dav2")
    record.beat()
    with catalog.write() as connection:
        connection.exec_driver_sql("DELETE FROM drivers")
    record.beat()
    assert catalog.drivers_of(["label"], "by-dav2") == []
    record.beat()
    assert row_of(catalog).state == "running"


def test_only_the_last_warnings_are_kept_and_none_of_any_length(catalog):
    record = DriverRecord(catalog, "label", "by-dav2", clock=lambda: 7.0)
    for number in range(9):
        record.warned(f"{number}{'x' * 1000}")
    texts = [each["text"] for each in record.facts()["warnings"]]
    assert [text[0] for text in texts] == ["4", "5", "6", "7", "8"]
    assert {len(text) for text in texts} == {500}


def test_warnings_are_dated_by_the_clock_of_the_database(catalog):
    record = DriverRecord(catalog, "label", "by-dav2", clock=lambda: 7.0)  # a clock that is wrong
    record.beat()
    record.warned("now")
    assert abs(record.facts()["warnings"][0]["at"] - catalog.now()) < 60


def test_who_died_without_a_word_is_buried_by_the_next(catalog):
    begin = {"heartbeat_s": 10.0, "facts": {}}
    host, namespace, *_ = current_owner().rsplit(":", 4)
    dead = catalog.begin_driver(
        "label", "by-dav2", owner=f"{host}:{namespace}:999999999:1:n", **begin
    )
    elsewhere = catalog.begin_driver("label", "by-dav2", owner="other:ns:1:1:n", **begin)
    gone = catalog.begin_driver("label", "by-dav2", owner="far:ns:1:1:n", **begin)
    other = catalog.begin_driver("label", "by-moge", owner=dead.owner, **begin)
    with catalog.write() as connection:
        sql = "UPDATE drivers SET seen_at = seen_at - 700 WHERE number = ?"
        connection.exec_driver_sql(sql, (gone.number,))
    with working(catalog):
        states = {row.number: row.state for row in catalog.drivers_of(["label"], "by-dav2")}
    assert (states[dead.number], states[elsewhere.number]) == ("failed", "running")
    assert states[gone.number] == "failed"
    assert [row.state for row in catalog.drivers_of(["label"], "by-moge")] == ["running"]
    assert other.target == "by-moge"


def test_the_command_that_goes_on_has_what_is_not_as_by_default():
    label = LabelConfig(
        store="s3://me:pw@x", catalog="postgresql://me:pw@x/y", ray="auto", teacher="da v2",
        sources=("street", "wood"), retry=("failed",), consistency=True, lease_s=30.0, batch_size=4,
    )  # fmt: skip
    assert command_again("label", label) == (
        "factory label street wood --teacher 'da v2' --consistency --batch-size 4 --retry failed "
        "--lease-s 30"
    )
    student = TrainStudentConfig(name="s", encoder="e", pseudo=("a", "b"), labelled=("c",))
    assert command_again("train-student", student) == (
        "factory train-student --labelled c --name s --resume --encoder e --pseudo a b"
    )
    by_itself = replace(student, resume_if_any=True)
    assert "--resume-if-any" in command_again("train-student", by_itself).split()
    assert "--resume" not in command_again("train-student", by_itself).split()
    ingest = IngestConfig(uri="s3://me:secret@bucket/x", source="street")
    assert "secret" not in command_again("ingest", ingest)

"""What is gone or damaged in a store is passed over by a page, and said there."""

import pytest

from jobs.config import Common
from jobs.report_label_set import label_set_page
from jobs.report_page import render
from jobs.report_reading import NAMED, Reading
from jobs.report_source import source_page
from jobs.workspace import open_workspace
from pipeline.errors import ShardCorruptError, StorageError
from pipeline.storage import Store
from tests.report_stores import fill_store


@pytest.fixture
def folder(tmp_path):
    fill_store(tmp_path)
    return tmp_path


def page(folder, make, name):
    with open_workspace(Common(store=str(folder))) as workspace:
        return render(make(workspace, name, samples=12, colophon=""))


def gone(file):
    file.unlink()


def cut(file):
    file.write_bytes(file.read_bytes()[:100])


def other(file):
    file.write_bytes(b"\xff" * 5000)


@pytest.mark.parametrize("harm", [gone, cut, other])
@pytest.mark.parametrize("what", ["labels/**/*.parquet", "sources/photos/*.parquet"])
def test_pages_show_what_there_is_and_name_what_is_not(folder, what, harm):
    first, *rest = sorted(folder.glob(what))
    whole = page(folder, label_set_page, "labels")
    assert "Not readable" not in whole
    harm(first)
    html = page(folder, label_set_page, "labels")
    assert "1 object is gone or damaged" in html and first.name in html
    assert "<img" in html and html.count("<img") < whole.count("<img")
    for file in rest:
        harm(file)
    assert "objects are gone or damaged" in page(folder, label_set_page, "labels")
    if "photos" in what:
        for file in folder.glob("sources/photos/dropped/*"):
            harm(file)
        html = page(folder, source_page, "photos")
        assert "objects are gone or damaged" in html and "<img" not in html


def test_rows_end_where_an_object_cannot_be_read_and_the_first_cause_stays():
    def read(store, key, *, count):
        yield from range(count)
        raise ShardCorruptError(f"{key} ends after {count}")

    reading = Reading(Store("memory://"))
    assert reading.section() is None
    assert list(reading.rows(read, "a", count=2)) == [0, 1]
    assert list(reading.rows(read, "a", count=0)) == []
    assert reading.section().notes == ("a ends after 2",)
    for number in range(NAMED + 2):
        list(reading.rows(read, f"b{number}", count=1))
    assert len(reading.section().notes) == NAMED + 1
    assert reading.section().notes[-1] == "and 3 more"


def test_a_store_that_does_not_answer_is_no_object_that_is_gone():
    def read(store, key):
        raise StorageError("away")

    with pytest.raises(StorageError):
        list(Reading(Store("memory://")).rows(read, "a"))

"""Licences on a page: everything underneath, what it comes to, and whom to name."""

import pytest

from jobs.licence_words import consequences, publishing
from jobs.report_licences import licences_section, origins_behind
from pipeline.catalog import Catalog
from pipeline.licences import terms_from
from pipeline.origins import Origin
from tests.catalog_factories import fill_source, label_all, open_label_set, register_model, sha256


def source(name: str, commercial: str = "yes", rehost: str = "yes", **facts: object) -> Origin:
    return Origin("source", name, "X", commercial, rehost, **facts)


@pytest.fixture
def catalog(tmp_path):
    """Labels of `photos` by a student of labels of `street`, whose teacher came from elsewhere."""
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.sqlite") as opened:
        for name in ("photos", "street", "rooms"):
            fill_source(opened, name, 1, role="labelled" if name == "rooms" else "unlabelled")
        nc = {"licence": "CC-BY-NC-4.0", "citation": "Doe 2020", "attribution": True}
        opened.set_terms("street", terms_from(nc, title="Streets of Doe"))
        opened.set_terms("photos", terms_from({"licence": "MIT"}, title="photos"))
        register_model(
            opened, "teacher", key=None, uri="apple/DepthPro-hf", sha256=sha256("teacher")
        )
        open_label_set(opened, "first")
        label_all(opened, "first", ["street"])
        pinned = opened.pin_snapshot(labelled=["rooms"], pseudo=["first"])
        run = opened.begin_run(
            "student", name="student", config={}, code_version="1", snapshot_id=pinned.snapshot_id
        )
        register_model(opened, "student", sha256=sha256("student"), run_id=run)
        open_label_set(opened, "second", teacher="student")
        label_all(opened, "second", ["photos"])
        yield opened


def test_everything_underneath_is_found_however_far(catalog) -> None:
    names = [(origin.kind, origin.name) for origin in origins_behind(catalog, "label-set:second")]
    behind = [("source", "photos"), ("source", "rooms"), ("source", "street"), ("model", "teacher")]
    assert names == behind
    run = catalog.runs()[0].run_id
    assert [origin.name for origin in origins_behind(catalog, f"run:{run}")] == [
        "rooms", "street", "teacher",
    ]  # fmt: skip
    assert [origin.name for origin in origins_behind(catalog, "label-set:first")] == [
        "street", "teacher",
    ]  # fmt: skip


def test_a_section_says_what_follows_and_whom_to_name(catalog) -> None:
    section = licences_section(catalog, "label-set:second")
    assert section is not None
    assert section.table is not None
    assert {row[1]: row[3] for row in section.table.rows} == {
        "photos": "yes", "rooms": "nobody has said", "street": "no", "teacher": "nobody has said",
    }  # fmt: skip
    notes = " ".join(section.notes)
    assert "Commercial use is forbidden by the licence of street." in notes
    assert "Nobody has said whether commercial use is permitted by rooms, teacher." in notes
    assert "Images may be published again on conditions: street." in notes
    assert "factory catalog attribution second lists them" in notes
    assert "No licence was given for 1 of 3 sources." in notes
    named = section.tables[0]
    assert named.title == "To be named and cited"
    assert named.rows == (("Streets of Doe", "–", "Doe 2020"),)


def test_a_run_has_no_name_for_the_list_of_authors(catalog) -> None:
    section = licences_section(catalog, f"run:{catalog.runs()[0].run_id}", of="")
    assert section is not None
    assert "Authors of single images have to be named." in section.notes


def test_nothing_underneath_is_no_section(catalog) -> None:
    open_label_set(catalog, "empty", teacher="student")
    assert licences_section(catalog, "label-set:empty") is not None  # its teacher is underneath
    catalog.register_source("alone", role="unlabelled", uri="/x", layout="images")
    section = licences_section(catalog, "source:alone")
    assert section is not None
    assert section.table is not None
    assert [row[1] for row in section.table.rows] == ["alone"]


def test_all_free_is_said_in_one_sentence() -> None:
    origins = [source("a"), source("b")]
    assert list(consequences(origins, of="x")) == ["All of them permit commercial use."]
    assert list(publishing(origins)) == ["All images may be published again."]


def test_a_stated_licence_that_permits_more_is_remarked_on() -> None:
    said = list(consequences([source("a", "no")], of="x", stated="MIT"))
    assert said[-1] == "MIT, as stated for the weights, permits more than these do."
    assert len(list(consequences([source("a", "no")], of="x", stated="CC-BY-NC-4.0"))) == 1
    assert list(publishing([Origin("model", "m", None, "no", "no")])) == []

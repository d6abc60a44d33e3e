"""Drivers say of themselves that they live, on both kinds of database."""

import pytest
from sqlalchemy import update

from pipeline.catalog import Catalog
from pipeline.catalog_tables import database_now, drivers
from pipeline.errors import CatalogMissingError

BEGIN = {"owner": "host:ns:7:1:n", "heartbeat_s": 10.0, "facts": {"actors": 2}}


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as catalog:
        yield catalog


def age(catalog: Catalog, number: int, seconds: float) -> None:
    """Let time pass since a driver was last seen."""
    with catalog.write() as connection:
        ours = update(drivers).where(drivers.c.number == number)
        connection.execute(ours.values(seen_at=database_now() - seconds))


def test_a_life_from_beginning_to_end(catalog):
    begun = catalog.begin_driver("label", "by-t", **BEGIN)
    assert (begun.state, begun.facts, begun.ended_at) == ("running", {"actors": 2}, None)
    assert abs(begun.started_at - catalog.now()) < 60
    catalog.beat_driver(begun.number, facts={"actors": 3})
    (seen,) = catalog.drivers_of(["label"], "by-t")
    assert (seen.facts, seen.state) == ({"actors": 3}, "running")
    assert seen.seen_at >= begun.seen_at and seen.started_at == begun.started_at
    catalog.end_driver(begun.number, state="stopped", facts={"actors": 0})
    (ended,) = catalog.drivers_of(["label"], "by-t")
    assert (ended.state, ended.facts) == ("stopped", {"actors": 0})
    assert ended.ended_at == pytest.approx(ended.seen_at, abs=1)


def test_who_was_taken_for_dead_comes_back_with_its_next_beat(catalog):
    row = catalog.begin_driver("label", "by-t", **BEGIN)
    age(catalog, row.number, 900)
    catalog.bury_driver(row.number)
    (dead,) = catalog.drivers_of(["label"], "by-t")
    assert (dead.state, dead.ended_at) == ("failed", dead.seen_at)
    catalog.beat_driver(row.number, facts={})
    (alive,) = catalog.drivers_of(["label"], "by-t")
    assert (alive.state, alive.ended_at) == ("running", None)


def test_an_end_is_not_changed_by_a_burial(catalog):
    row = catalog.begin_driver("label", "by-t", **BEGIN)
    catalog.end_driver(row.number, state="done", facts={})
    catalog.bury_driver(row.number)
    assert [each.state for each in catalog.drivers_of(["label"], "by-t")] == ["done"]


def test_questions_tell_verbs_targets_and_times_apart(catalog):
    old, label, train = (
        catalog.begin_driver(verb, target, **BEGIN)
        for verb, target in (("label", "a"), ("label", "b"), ("train-student", "b"))
    )
    age(catalog, old.number, 500)
    assert [row.number for row in catalog.recent_drivers(within_s=100)] == [
        label.number, train.number,
    ]  # fmt: skip
    assert len(catalog.recent_drivers(within_s=1000)) == 3
    assert [row.number for row in catalog.drivers_of(["label"], "b")] == [label.number]
    assert len(catalog.drivers_of(["label", "train-student"], "b")) == 2


def test_facts_are_stored_without_credentials_and_what_no_database_takes(catalog):
    facts = {"uri": "s3://me:secret@bucket/x", "text": "a\0b", "rate": float("nan")}
    row = catalog.begin_driver("export", "t\0", **BEGIN | {"facts": facts})
    assert row.target == "t\\x00"
    assert row.facts == {"uri": "s3://me:***@bucket/x", "text": "a\\x00b", "rate": None}


def test_a_catalog_that_was_made_anew_does_not_know_the_row(catalog):
    with pytest.raises(CatalogMissingError, match="number 7"):
        catalog.beat_driver(7, facts={})

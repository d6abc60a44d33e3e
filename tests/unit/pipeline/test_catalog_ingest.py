"""Pieces that were read to their end: noted once, fenced, and void after a withdrawal."""

import pytest

from pipeline.catalog import Catalog
from pipeline.catalog_tables import withdrawals
from pipeline.errors import LeaseLostError
from tests.catalog_factories import begin_ingest, fill_source


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as opened:
        yield opened


def test_pieces_are_listed_by_the_options_under_which_they_were_read(catalog):
    for source in ("street", "field"):
        fill_source(catalog, source, 1)
    lease = begin_ingest(catalog, "street")
    assert catalog.commit_piece(lease, "p2", options="a", items=3)
    assert catalog.commit_piece(lease, "p1", options="a", items=4)
    assert catalog.commit_piece(lease, "p3", options="b", items=5)
    assert catalog.pieces("street", options="a") == ["p1", "p2"]
    assert catalog.pieces("street", options="b") == ["p3"]
    assert catalog.pieces("street") == ["p1", "p2", "p3"]
    assert catalog.pieces("field") == [] == catalog.pieces("street", options="c")


def test_a_piece_is_noted_once(catalog):
    fill_source(catalog, "street", 1)
    lease = begin_ingest(catalog, "street")
    assert catalog.commit_piece(lease, "p1", options="a", items=3)
    assert not catalog.commit_piece(lease, "p1", options="a", items=3)
    assert catalog.pieces("street") == ["p1"]


def test_who_has_lost_the_lease_notes_nothing(catalog):
    fill_source(catalog, "street", 1)
    lease = begin_ingest(catalog, "street")
    begin_ingest(catalog, "street", owner="another", dead_owner=lease.owner)
    with pytest.raises(LeaseLostError):
        catalog.commit_piece(lease, "p1", options="a", items=3)
    assert catalog.pieces("street") == []


def test_the_newest_withdrawal_of_a_source(catalog):
    for source in ("street", "field"):
        fill_source(catalog, source, 1)
    assert catalog.last_withdrawal("street") == 0
    row = {"samples": 1, "reason": "asked for", "withdrawn_at": 1.0}
    with catalog.write() as connection:
        connection.execute(withdrawals.insert(), [{"source": "street", **row}] * 2)
    assert catalog.last_withdrawal("street") > 1 > catalog.last_withdrawal("field") == 0

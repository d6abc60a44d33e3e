"""Pieces that were read to their end: noted once, and fenced."""

import pytest

from pipeline.catalog import Catalog
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
    assert list(catalog.pieces("street", options="a")) == ["p1", "p2"], "the newest first"
    assert list(catalog.pieces("street", options="b")) == ["p3"]
    assert list(catalog.pieces("street")) == ["p3", "p1", "p2"]
    assert catalog.pieces("field") == {} == catalog.pieces("street", options="c")


def test_a_piece_is_noted_once(catalog):
    fill_source(catalog, "street", 1)
    lease = begin_ingest(catalog, "street")
    assert catalog.commit_piece(lease, "p1", options="a", items=3)
    (first,) = catalog.pieces("street").values()
    assert not catalog.commit_piece(lease, "p1", options="a", items=3)
    ((piece_id, again),) = catalog.pieces("street").items()
    assert piece_id == "p1" and again > first, "it was read again"


def test_who_has_lost_the_lease_notes_nothing(catalog):
    fill_source(catalog, "street", 1)
    lease = begin_ingest(catalog, "street")
    begin_ingest(catalog, "street", owner="another", dead_owner=lease.owner)
    with pytest.raises(LeaseLostError):
        catalog.commit_piece(lease, "p1", options="a", items=3)
    assert catalog.pieces("street") == {}

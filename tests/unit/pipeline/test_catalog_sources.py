"""What is on record about a source: its preset and its terms."""

import pytest
from sqlalchemy import select

from pipeline.catalog import Catalog
from pipeline.catalog_sources import terms_differ
from pipeline.catalog_tables import sources
from pipeline.errors import CatalogConflictError, CatalogMissingError

TERMS = {
    "title": "Streets",
    "homepage": "https://example.org/streets",
    "citation": "A. Nyone, Streets, 2020",
    "licence": "CC-BY-4.0",
    "rehost": "yes",
    "commercial": "yes",
    "attribution": True,
    "note": "",
}


@pytest.fixture
def catalog():
    with Catalog.open("sqlite://") as catalog:
        yield catalog


def register(catalog, name="street", **changes):
    options = {"role": "unlabelled", "uri": f"/data/{name}", "layout": "images"}
    return catalog.register_source(name, **options | changes)


def test_terms_and_preset_are_kept_and_give_the_licence(catalog):
    row = register(catalog, preset="streets", terms=TERMS)
    assert (row.preset, row.terms, row.licence) == ("streets", TERMS, "CC-BY-4.0")
    assert catalog.sources() == [row]


def test_a_licence_that_is_given_wins_over_that_of_the_terms(catalog):
    assert register(catalog, licence="bought", terms=TERMS).licence == "bought"
    assert register(catalog, licence="bought", terms=TERMS).licence == "bought"


def test_a_source_without_terms_has_no_json_null(catalog):
    register(catalog)
    with catalog.read() as connection:
        assert connection.execute(select(sources.c.name).where(sources.c.terms.is_(None))).all()


def test_terms_complete_a_source_that_had_none(catalog):
    register(catalog)
    row = register(catalog, terms=TERMS)
    assert (row.terms, row.licence) == (TERMS, "CC-BY-4.0")


def test_a_source_does_not_change_its_preset_and_may_grow_without_one(catalog):
    register(catalog, preset="streets", terms=TERMS)
    with pytest.raises(CatalogConflictError, match="preset: 'streets' → 'roads'"):
        register(catalog, preset="roads")
    assert register(catalog).preset == "streets"


def test_words_follow_the_newest_and_permissions_stay(catalog):
    register(catalog, terms=TERMS)
    corrected = TERMS | {"homepage": "https://example.com"}
    assert register(catalog, terms=corrected).terms == corrected
    stricter = TERMS | {"commercial": "no", "licence": "CC-BY-NC-4.0"}
    row = register(catalog, terms=stricter)
    assert (row.terms, row.licence) == (corrected, "CC-BY-4.0")
    assert terms_differ(row.terms, stricter) == [
        "commercial: 'yes' → 'no'",
        "licence: 'CC-BY-4.0' → 'CC-BY-NC-4.0'",
    ]
    assert terms_differ(row.terms, TERMS) == terms_differ(None, TERMS) == []


def test_terms_that_somebody_set_are_not_undone_by_an_ingest(catalog):
    register(catalog, terms=TERMS)
    bought = TERMS | {"licence": "bought", "commercial": "yes", "rehost": "no"}
    assert catalog.set_terms("street", bought).licence == "bought"
    row = register(catalog, terms=TERMS)
    assert (row.terms, row.licence) == (bought, "bought")


def test_terms_of_a_source_that_is_not_there(catalog):
    register(catalog)
    with pytest.raises(CatalogMissingError, match="did you mean 'street'"):
        catalog.set_terms("streets", TERMS)

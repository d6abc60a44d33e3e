"""Terms of a source, shown and set, and kept for a rebuild."""

import json

import pytest

from jobs.catalog_config import CatalogTermsConfig
from jobs.catalog_rebuild import rebuild_catalog
from jobs.catalog_terms import source_terms
from jobs.config import CatalogRebuildConfig
from jobs.errors import ConfigError
from jobs.workspace import open_workspace
from pipeline.errors import CatalogMissingError
from pipeline.ledger import record_source
from pipeline.licences import terms_from
from tests.catalog_factories import fill_source


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    with open_workspace(CatalogTermsConfig(store=str(folder), ref="x")) as workspace:
        fill_source(workspace.catalog, "photos", 0)
        workspace.catalog.register_source(
            "preset", role="unlabelled", uri="/p", layout="known", preset="known",
            terms=terms_from({"licence": "CC-BY-4.0", "homepage": "https://x"}, title="Known"),
        )  # fmt: skip
        for source in ("photos", "preset"):
            record_source(workspace.store, workspace.catalog, source)
    return folder


def ask(store, ref, text=None):
    file = store.parent / "terms.yaml"
    if text is not None:
        file.write_text(text)
    return source_terms(
        CatalogTermsConfig(store=str(store), ref=ref, set=None if text is None else str(file))
    )


def test_terms_of_a_preset(store):
    shown = ask(store, "preset")
    assert (shown["title"], shown["licence"], shown["preset"]) == ("Known", "CC-BY-4.0", "known")
    assert (shown["rehost"], shown["commercial"], shown["homepage"]) == ("yes", "yes", "https://x")


def test_terms_that_nobody_gave(store):
    shown = ask(store, "photos")
    assert (shown["licence"], shown["rehost"], shown["commercial"]) == (None, "unknown", "unknown")


def test_yes_and_no_are_words_and_what_is_not_said_stays(store):
    ask(store, "preset", "commercial: no\nnote: They said so.\n")
    shown = ask(store, "preset", "rehost: yes\nattribution: true\n")
    assert (shown["commercial"], shown["rehost"], shown["attribution_required"]) == (
        "no",
        "yes",
        True,
    )
    assert (shown["licence"], shown["note"]) == ("CC-BY-4.0", "They said so.")


def test_another_licence_brings_its_own_permissions(store):
    shown = ask(store, "preset", "licence: CC-BY-NC-4.0\n")
    assert (shown["licence"], shown["commercial"], shown["rehost"]) == (
        "CC-BY-NC-4.0",
        "no",
        "conditions",
    )
    assert shown["homepage"] == "https://x"


def test_what_was_set_survives_the_loss_of_the_database(store):
    before = [ask(store, "photos", "licence: MIT\ntitle: Mine\n"), ask(store, "preset")]
    for file in store.glob("catalog.sqlite*"):
        file.unlink()
    rebuild_catalog(CatalogRebuildConfig(store=str(store)))
    assert [ask(store, "photos"), ask(store, "preset")] == before
    ledger = json.loads((store / "sources/photos/source.json").read_text())
    assert ledger["source"]["terms"]["title"] == "Mine"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- licence", "expected a mapping"),
        ("", "expected a mapping"),
        ("licence: [", "is not YAML"),
        ("licence: MIT\nlicense: MIT\n", "unknown key 'license'"),
        ("commercial: never\n", "'never' is not one of yes, conditions, no, unknown"),
        ("attribution: maybe\n", "expected true or false"),
    ],
)
def test_files_that_are_none(store, text, said):
    with pytest.raises(ConfigError, match=said):
        ask(store, "photos", text)
    assert ask(store, "photos")["licence"] is None


def test_names_and_files_that_are_not_there(store):
    with pytest.raises(CatalogMissingError, match="did you mean 'photos'"):
        ask(store, "photo")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        source_terms(CatalogTermsConfig(store=str(store), ref="photos", set="/no/file"))

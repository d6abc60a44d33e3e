"""Croissant metadata, judged by the library of MLCommons, and the shards read through it."""

import hashlib
import json
import logging
import shutil
import sys
import warnings

import pytest

from jobs.catalog_config import CatalogCroissantConfig
from jobs.catalog_croissant import export_croissant
from jobs.console import reporter_for
from jobs.errors import ConfigError
from jobs.workspace import open_workspace
from pipeline.croissant import croissant
from pipeline.image_columns import BLOBS, IMAGE_SCHEMA
from pipeline.licences import terms_from
from pipeline.shards import read_image_rows
from tests.report_stores import fill_store

TERMS = {
    "licence": "CC-BY-4.0",
    "homepage": "https://example.org/rooms",
    "citation": "A. Nyone: Rooms, 2020",
    "note": 'Said by "the owners".',
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("croissant") / "store"
    fill_store(folder)
    with open_workspace(config_of(folder, "x")) as workspace:
        workspace.catalog.set_terms("rooms", terms_from(TERMS, title="Rooms"))
        workspace.catalog.register_source("empty", role="unlabelled", uri="/e", layout="images")
    return folder


def config_of(store, out, ref="rooms"):
    return CatalogCroissantConfig(store=str(store), ref=ref, out=str(out))


def records_of(file):
    with warnings.catch_warnings():  # of the libraries that it uses
        warnings.simplefilter("ignore")
        import mlcroissant

        data_set = mlcroissant.Dataset(jsonld=str(file))
        assert not data_set.metadata.ctx.issues.errors
        wanting = {text for text in data_set.metadata.ctx.issues.warnings if "citeAs" not in text}
        assert not wanting, "a citation is all that may be missing: nobody gave one"
        return data_set.metadata, list(data_set.records("images"))


def rows_of(store, source):
    with open_workspace(config_of(store, "x")) as workspace:
        for shard in workspace.catalog.image_shards(source):
            yield from read_image_rows(workspace.store, shard.key)


@pytest.mark.parametrize("source", ["photos", "rooms"])
@pytest.mark.parametrize("folder", [".", "..", "sources/{source}"])
def test_the_library_reads_every_record_of_the_shards(store, caplog, source, folder):
    out = store / folder.format(source=source) / "croissant.json"
    export_croissant(config_of(store, out, source))
    with caplog.at_level(logging.WARNING):
        metadata, records = records_of(out)
    assert "not standard" not in caplog.text
    assert metadata.name == source
    rows = {row.sample_id: row for row in rows_of(store, source)}
    assert len(records) == len(rows)
    for record in records:
        row = rows[record["images/sample_id"].decode()]
        assert record["images/path"].decode() == row.path
        assert record["images/width"] == row.header.width
        assert record["images/image"].size == (row.header.width, row.header.height)


def test_terms_are_in_it(store, tmp_path):
    summary = export_croissant(config_of(store, tmp_path / "c.json"))
    written = json.loads((tmp_path / "c.json").read_text())
    assert (written["license"], written["citeAs"]) == ("CC-BY-4.0", TERMS["citation"])
    assert (written["url"], written["version"]) == (TERMS["homepage"], summary["version"])
    assert written["description"].startswith("Rooms: 3 images (labelled) in 1 Parquet shards.")
    fields = {field["@id"] for field in written["recordSet"][0]["field"]}
    assert "images/truth_geometry" in fields


def test_store_and_metadata_move_together(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "store")
    export_croissant(config_of(copy, copy / "rooms.json"))
    moved = copy.rename(tmp_path / "moved")
    assert len(records_of(moved / "rooms.json")[1]) == 3


def test_what_is_not_a_shard_of_the_source_now_is_no_part_of_it(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "store")
    shard = next((copy / "sources" / "rooms").glob("*.parquet"))
    shutil.copy(shard, shard.with_name("orphan.parquet"))
    export_croissant(config_of(copy, copy / "rooms.json"))
    assert len(records_of(copy / "rooms.json")[1]) == 3


def test_links_and_digests_are_those_of_the_files(store, tmp_path):
    for out in (store / "rooms.json", tmp_path / "rooms.json"):
        export_croissant(config_of(store, out))
        [file, files] = json.loads(out.read_text())["distribution"]
        data = (out.parent / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert file["contentSize"] == f"{len(data)} B"
        assert files["includes"] == [file["contentUrl"]]


def test_it_is_said_where_records_cannot_be_read_from(store, tmp_path, capsys):
    reporter = reporter_for(sys.stderr)
    export_croissant(config_of(store, store / "rooms.json"), reporter=reporter)
    assert capsys.readouterr().err == ""
    export_croissant(config_of(store, tmp_path / "rooms.json"), reporter=reporter)
    assert f"such as {store}" in capsys.readouterr().err


def test_a_remote_store_is_linked_by_url(store):
    with open_workspace(config_of(store, "x")) as workspace:
        row, shards = workspace.catalog.source("photos"), workspace.catalog.image_shards("photos")
    made = croissant(row, shards, url_of=lambda key: f"s3://bucket/{key}", digest="a" * 64)
    files = [each for each in made["distribution"] if each["@type"] == "cr:FileObject"]
    assert [file["contentUrl"] for file in files] == [f"s3://bucket/{s.key}" for s in shards]
    assert [file["sha256"] for file in files] == [shard.sha256 for shard in shards]


def test_every_column_without_a_codec_is_a_field(store):
    with open_workspace(config_of(store, "x")) as workspace:
        row, shards = workspace.catalog.source("rooms"), workspace.catalog.image_shards("rooms")
    made = croissant(row, shards, url_of=str, digest="a" * 64)
    described = {field["@id"].split("/")[1] for field in made["recordSet"][0]["field"]}
    assert described == {*IMAGE_SCHEMA.names} - {*BLOBS, "point_pairs"}


def test_a_source_without_images(store, tmp_path):
    with pytest.raises(ConfigError, match="has no images"):
        export_croissant(config_of(store, tmp_path / "c.json", "empty"))
    assert list(tmp_path.iterdir()) == []

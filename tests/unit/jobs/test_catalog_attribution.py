"""Attribution of real shards, read back with the csv module."""

import csv
from pathlib import Path

import pytest

from jobs.catalog_attribution import export_attribution
from jobs.catalog_config import CatalogAttributionConfig
from jobs.errors import ConfigError
from jobs.workspace import open_workspace
from pipeline.errors import CatalogMissingError
from pipeline.identity import sample_id, sha256_hex
from pipeline.licences import terms_from
from pipeline.records import ImageHeader, ImageRecord
from pipeline.shards import write_image_shard
from tests.catalog_factories import begin_ingest, label_all, open_label_set, sha256

AUTHORS = {
    "flickr": ["A. Nyone", 'B "Bee", Esq.', "日本の人", None],
    "quiet": [None, None],
    "owned": ["The company", "The company"],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """flickr demands names and lacks one; owned has one name for all; quiet needs none."""
    folder = tmp_path_factory.mktemp("store")
    with open_workspace(config_of(folder)) as workspace:
        for source, authors in AUTHORS.items():
            ingest(workspace, source, authors)
        demands = {"licence": "CC-BY-2.0", "attribution": True}
        workspace.catalog.set_terms("flickr", terms_from(demands, title="Flickr"))
        open_label_set(workspace.catalog, "labels")
        label_all(workspace.catalog, "labels", ["quiet", "owned"])
        open_label_set(workspace.catalog, "all-labels", teacher="student")
        label_all(workspace.catalog, "all-labels", ["flickr"])
        pinned = workspace.catalog.pin_snapshot(labelled=[], pseudo=["labels"])
        run = workspace.catalog.begin_run(
            "student", name="student", config={}, code_version="1", snapshot_id=pinned.snapshot_id
        )
        workspace.catalog.register_model(
            "student", sha256=sha256("student"), key="models/student", family="x",
            geometry="disparity_affine_invariant", kind="student", run_id=run,
        )  # fmt: skip
    return folder


def config_of(folder, ref="flickr", out="x.csv"):
    return CatalogAttributionConfig(store=str(folder), ref=ref, out=str(out))


def ingest(workspace, source, authors):
    workspace.catalog.register_source(source, role="unlabelled", uri="/data", layout="images")
    lease = begin_ingest(workspace.catalog, source)
    for first in range(0, len(authors), 2):
        records = [
            record(source, first + number, author)
            for number, author in enumerate(authors[first : first + 2])
        ]
        shard = write_image_shard(workspace.store, records, source=source, code_version="1")
        workspace.catalog.commit_image_shard(lease, shard, dropped={})
    workspace.catalog.finish_ingest(lease, {})


def record(source, number, author):
    data, path = f"{source} {number}".encode(), f"{number},\n'{source}'.jpg"
    return ImageRecord(
        sample_id(source, path), sha256_hex(data), path, f"/data/{source}.tar", 0, len(data), data,
        ImageHeader(64, 64, "JPEG"), licence=None if source == "quiet" else "CC-BY-2.0",
        attribution=author,
    )  # fmt: skip


def export(store, ref, out):
    summary = export_attribution(config_of(store, ref, out))
    with Path(out).open(newline="", encoding="utf-8") as file:
        return summary, list(csv.DictReader(file))


def test_a_line_per_image_in_the_order_of_the_shards(store, tmp_path):
    summary, lines = export(store, "flickr", tmp_path / "out.csv")
    assert list(lines[0]) == ["source", "sample_id", "path", "licence", "attribution", "uri"]
    assert [line["attribution"] for line in lines] == [author or "" for author in AUTHORS["flickr"]]
    assert [line["path"] for line in lines] == [f"{n},\n'flickr'.jpg" for n in range(4)]
    assert lines[2]["sample_id"] == sample_id("flickr", lines[2]["path"])
    assert (summary["images"], summary["lines"]) == (4, 4)
    assert summary["problems"] == [
        {"what": "source flickr", "problem": "1 images without an author"}
    ]


def test_what_nobody_has_to_be_named_for_is_left_out(store, tmp_path):
    summary, lines = export(store, "labels", tmp_path / "out.csv")
    assert [line["source"] for line in lines] == ["owned", "owned"]
    assert (summary["kind"], summary["images"], summary["problems"]) == ("label-set", 4, [])


def test_behind_a_teacher_are_the_images_that_it_learnt_from(store, tmp_path):
    summary, lines = export(store, "all-labels", tmp_path / "out.csv")
    assert summary["sources"] == ["flickr", "owned", "quiet"]
    assert [line["source"] for line in lines] == ["flickr"] * 4 + ["owned"] * 2
    assert export(store, "model:student", tmp_path / "out.csv")[0]["sources"] == ["owned", "quiet"]


def test_a_shard_that_is_gone_is_named_and_the_rest_is_written(store, tmp_path):
    with open_workspace(config_of(store)) as workspace:
        gone = workspace.catalog.image_shards("owned")[0].key
    (store / gone).rename(tmp_path / "aside")
    try:
        summary, lines = export(store, "all-labels", tmp_path / "out.csv")
    finally:
        (tmp_path / "aside").rename(store / gone)
    assert len(lines) == 4
    assert gone in [problem["what"] for problem in summary["problems"]]


def test_an_earlier_file_stays_when_nothing_can_be_said(store, tmp_path):
    (tmp_path / "out.csv").write_text("earlier")
    with pytest.raises(CatalogMissingError, match="did you mean 'flickr'"):
        export_attribution(config_of(store, "flicker", tmp_path / "out.csv"))
    with pytest.raises(ConfigError, match="is a folder"):
        export_attribution(config_of(store, "flickr", tmp_path))
    assert (tmp_path / "out.csv").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]

"""Exports of label sets, each read back by the library it is written for."""

import csv
import hashlib
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from jobs import cli, export_label_set
from jobs.catalog_withdraw import withdraw
from jobs.config import Common, IngestConfig
from jobs.console import SilentReporter
from jobs.errors import ConfigError
from jobs.evaluate_config import DATA_FORMATS, MODEL_FORMATS, ExportConfig
from jobs.export import export
from jobs.ingest import ingest
from jobs.sample_config import CatalogWithdrawConfig
from jobs.workspace import open_workspace
from model.export import FORMATS
from pipeline import export_formats
from pipeline.depth_codec import decode_disparity
from pipeline.errors import CatalogMissingError, ShardCorruptError
from pipeline.labels import read_label_rows
from pipeline.licences import terms_from
from pipeline.shards import read_image_rows
from tests.factories import png
from tests.report_stores import fill_store
from tests.whole_store import ingest_photos, label_pending, open_labels

ROWS, KEPT = 12, 10
LEFT_OUT = {"decode_failed": 2}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """`photos` with label set `labels`, and `rooms` with ground truth, whose owners let publish."""
    folder = tmp_path_factory.mktemp("export") / "store"
    fill_store(folder)
    with open_workspace(Common(store=str(folder))) as workspace:
        for name in ("photos", "rooms"):
            terms = terms_from({"licence": "CC-BY-4.0"}, title=name.title())
            workspace.catalog.set_terms(name, terms)
    return folder


@pytest.fixture(scope="module")
def truth(store):
    """Image bytes and map per sample id, as the data plane reads them."""
    found = {}
    with open_workspace(Common(store=str(store))) as workspace:
        for shard in workspace.catalog.label_shards("labels"):
            images = read_image_rows(workspace.store, shard.shard.key)
            labels = read_label_rows(workspace.store, shard.key)
            for image, label in zip(images, labels, strict=True):
                if label.disparity is not None:
                    found[image.sample_id] = (image.data, decode_disparity(label))
    assert len(found) == KEPT
    return found


def config(store, out, *, target="labels", format="hf", **changes):
    return ExportConfig(target=target, format=format, out=str(out), store=str(store), **changes)


def codes_of(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def assert_same_map(facts, codes_HW, values_HW):
    """Within half a code, in every pixel; where there is no value, there is none."""
    assert codes_HW.dtype == np.uint16
    assert codes_HW.shape == values_HW.shape == (facts["depth_height"], facts["depth_width"])
    known = np.isfinite(values_HW)
    assert ((codes_HW > 0) == known).all()
    decoded = facts["depth_offset"] + facts["depth_scale"] * codes_HW.astype(np.float64)
    error = np.abs(decoded - values_HW.astype(np.float64))[known]
    assert error.max() <= facts["depth_scale"] / 2 * (1 + 1e-9)
    assert facts["depth_minimum"] == values_HW[known].min()
    assert facts["depth_maximum"] == values_HW[known].max()


def assert_same_samples(rows, truth):
    """Rows of facts, image bytes and codes are those of the label set, each once."""
    rows = list(rows)
    assert sorted(facts["sample_id"] for facts, _, _ in rows) == sorted(truth)
    for facts, image, codes_HW in rows:
        data, values_HW = truth[facts["sample_id"]]
        assert image == data
        assert hashlib.sha256(image).hexdigest() == facts["sha256"]
        assert (facts["teacher"], facts["teacher_sha256"]) == ("teacher", "a" * 64)
        assert facts["geometry"] == "disparity_affine_invariant"
        assert facts["uri"] is None  # a path of this machine
        assert_same_map(facts, codes_HW, values_HW)


def files_in(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def test_what_is_said_of_an_export(store, tmp_path):
    summary = export(config(store, tmp_path / "out", format="png16"))
    assert (summary["rows"], summary["kept"], summary["left_out"]) == (ROWS, KEPT, LEFT_OUT)
    assert summary["problems"] == []
    assert summary["label_set"] == "labels"
    said = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert said["label_set"]["teacher_sha256"] == "a" * 64
    assert said["label_set"]["recipe_hash"] == "b" * 64
    with open_workspace(Common(store=str(store))) as workspace:
        shards = workspace.catalog.label_shards("labels")
    assert [(part["shard_id"], part["image_shard_sha256"]) for part in said["parts"]] == [
        (each.shard.shard_id, each.shard.sha256) for each in shards
    ]
    assert [part["label_shard_sha256"] for part in said["parts"]] == [s.sha256 for s in shards]
    for part in said["parts"]:
        assert part["kept"] + sum(part["left_out"].values()) == part["rows"]
    there = files_in(tmp_path / "out")
    for file in [*said["files"], *(file for part in said["parts"] for file in part["files"])]:
        data = there[file["path"]]
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file["sha256"], file["bytes"])


def test_authors_that_are_not_known_are_a_problem(tmp_path):
    fill_store(tmp_path / "store")
    with open_workspace(Common(store=str(tmp_path / "store"))) as workspace:
        terms = {"licence": "CC-BY-4.0", "attribution": True}
        workspace.catalog.set_terms("photos", terms_from(terms, title="Photos"))
    summary = export(config(tmp_path / "store", tmp_path / "out"))
    (problem,) = summary["problems"]
    assert problem == {"what": "source photos", "problem": "12 images without an author"}
    lines = list(csv.DictReader((tmp_path / "out" / "attribution.csv").read_text().splitlines()))
    assert len(lines) == ROWS
    assert {line["uri"] for line in lines} == {""}  # places of this machine
    labels = export(config(tmp_path / "store", tmp_path / "labels", labels_only=True))
    assert labels["problems"] == []  # nobody's image is published


def test_hf_is_read_by_datasets_duckdb_and_polars(store, truth, tmp_path):
    import datasets
    import duckdb
    import polars

    out = tmp_path / "out"
    export(config(store, out))
    data = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(data.features["image"], datasets.Image)
    pictures = {row["sample_id"]: row for row in data}
    raw = data.cast_column("image", datasets.Image(decode=False))
    rows = [
        (row, row["image"]["bytes"], np.asarray(pictures[row["sample_id"]]["depth"])) for row in raw
    ]
    assert_same_samples(rows, truth)
    for row in pictures.values():
        assert row["image"].size == (row["width"], row["height"])

    query = f"select * from read_parquet('{out}/data/*.parquet')"
    names = [name for name, *_ in duckdb.sql(query).description]
    found = [dict(zip(names, row, strict=True)) for row in duckdb.sql(query).fetchall()]
    polar = polars.read_parquet(out / "data" / "*.parquet").to_dicts()
    for rows in (found, polar):
        assert_same_samples(
            [(row, row["image"]["bytes"], codes_of(row["depth"]["bytes"])) for row in rows], truth
        )


def test_croissant_is_read_by_the_library_of_mlcommons(store, truth, tmp_path):
    export(config(store, tmp_path / "out"))
    with warnings.catch_warnings():  # of the libraries that it uses
        warnings.simplefilter("ignore")
        import mlcroissant

        data = mlcroissant.Dataset(jsonld=str(tmp_path / "out" / "croissant.json"))
        assert not data.metadata.ctx.issues.errors
        records = list(data.records("images"))
    assert {record["images/sample_id"].decode() for record in records} == set(truth)
    for record in records:
        values_HW = truth[record["images/sample_id"].decode()][1]
        assert np.asarray(record["images/depth"]).shape == values_HW.shape


def test_webdataset_is_read_by_webdataset(store, truth, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import webdataset

        export(config(store, tmp_path / "out", format="webdataset"))
        tars = sorted(map(str, (tmp_path / "out" / "data").glob("*.tar")))
        samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert all(sample["__key__"] == json.loads(sample["json"])["sample_id"] for sample in samples)
    rows = [(json.loads(s["json"]), s["jpg"], codes_of(s["depth.png"])) for s in samples]
    assert_same_samples(rows, truth)


def test_png16_is_two_files_of_the_same_stem_and_an_index(store, truth, tmp_path):
    import duckdb

    out = tmp_path / "out"
    export(config(store, out, format="png16"))
    query = f"select * from read_csv('{out}/index.csv', all_varchar=false)"
    names = [name for name, *_ in duckdb.sql(query).description]
    found = [dict(zip(names, row, strict=True)) for row in duckdb.sql(query).fetchall()]
    rows = [
        (
            row,
            (out / row["image_file"]).read_bytes(),
            codes_of((out / row["depth_file"]).read_bytes()),
        )
        for row in found
    ]
    assert_same_samples(rows, truth)
    for row in found:
        assert row["image_file"].removesuffix(".jpg").removeprefix("rgb/") == row[
            "depth_file"
        ].removesuffix(".png").removeprefix("depth/")
        with Image.open(out / row["depth_file"]) as depth:
            assert float(depth.text["scale"]) == row["depth_scale"]
    index = duckdb.sql(f"select count(*) from read_parquet('{out}/index/*.parquet')").fetchall()
    assert index == [(KEPT,)]
    assert len(list((out / "rgb").rglob("*.jpg"))) == KEPT  # nothing of what was left out


def test_iceberg_is_read_by_pyiceberg_polars_and_duckdb(store, truth, tmp_path, monkeypatch):
    import polars
    from pyiceberg.catalog.sql import SqlCatalog

    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")  # its own is another package
    out = tmp_path / "a folder"
    summary = export(config(store, out, format="iceberg"))
    assert summary["table"] == "label_sets.labels"
    catalog = SqlCatalog("factory", uri=f"sqlite:///{out}/catalog.db")
    table = catalog.load_table(summary["table"])
    scan = table.scan()
    tables = [
        scan.to_arrow().to_pylist(),
        polars.scan_iceberg(table).collect().to_dicts(),
        scan.to_duckdb("labels").sql("select * from labels").to_arrow_table().to_pylist(),
    ]
    catalog.close()
    for rows in tables:
        assert_same_samples(
            [(row, row["image"]["bytes"], codes_of(row["depth"]["bytes"])) for row in rows], truth
        )
    one = table.scan(row_filter=f"sample_id = '{min(truth)}'").to_arrow()
    assert one.num_rows == 1


def test_a_second_snapshot_takes_the_place_of_the_first(store, tmp_path):
    from pyiceberg.catalog.sql import SqlCatalog

    for _ in range(2):
        summary = export(config(store, tmp_path / "out", format="iceberg"))
    assert summary["shards_reused"] == summary["shards"]
    catalog = SqlCatalog("factory", uri=f"sqlite:///{tmp_path}/out/catalog.db")
    assert catalog.load_table(summary["table"]).scan().to_arrow().num_rows == KEPT
    catalog.close()


@pytest.mark.parametrize("format", DATA_FORMATS)
def test_the_card_says_how_a_map_is_read(store, truth, tmp_path, format, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    export(config(store, out, format=format))
    card = (out / "README.md").read_text()
    program = card.split("```python\n")[1].split("```")[0].replace("FOLDER", str(out))
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(program, found)
    if "catalog" in found:
        found["catalog"].close()
    values_HW = truth[found["row"]["sample_id"]][1]
    assert np.abs(found["values"] - values_HW).max() <= found["row"]["depth_scale"] * 0.501
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["license"], front["task_categories"]) == ("cc-by-4.0", ["depth-estimation"])
    assert ("configs" in front) == (format in ("hf", "webdataset"))
    assert "<script>" not in card


def test_an_export_is_brought_up_to_date(tmp_path):
    """What was labelled since comes in, what was withdrawn goes; the rest is not written again."""
    folder, out = tmp_path / "store", tmp_path / "out"
    with open_workspace(Common(store=str(folder))) as workspace:
        ingest_photos(folder, tmp_path / "raw", range(8))
        open_labels(workspace)
        workspace.catalog.plan_work("labels", ["photos"])
        label_pending(workspace)
        first = export(config(folder, out, format="webdataset"))
        assert (first["shards"], first["kept"]) == (2, 6)
        ingest_photos(folder, tmp_path / "raw", range(8, 12))
        workspace.catalog.plan_work("labels", ["photos"])
        label_pending(workspace)
        second = export(config(folder, out, format="webdataset"))
        assert (second["shards"], second["shards_reused"], second["kept"]) == (3, 2, 9)
        gone = workspace.catalog.label_shards("labels")[0].shard
        (_, victim, *_) = read_image_rows(workspace.store, gone.key)
    where = {"source": "photos", "sample": (victim.sample_id,), "reason": "asked to"}
    withdraw(CatalogWithdrawConfig(store=str(folder), **where))
    third = export(config(folder, out, format="webdataset"))
    assert (third["shards"], third["shards_reused"], third["kept"]) == (2, 2, 6)
    assert victim.sample_id.encode() not in b"".join(files_in(out).values())
    export(config(folder, tmp_path / "anew", format="webdataset"))
    assert files_in(out) == files_in(tmp_path / "anew")


def test_images_elsewhere_that_are_gone_are_left_out_and_named(tmp_path):
    folder, raw = tmp_path / "store", tmp_path / "raw"
    raw.mkdir()
    for number in range(5):
        (raw / f"{number}.png").write_bytes(png(number))
    where = {"store": str(folder), "licence": "CC0-1.0"}
    ingest(IngestConfig(uri=str(raw), source="photos", by_reference=True, **where))
    with open_workspace(Common(store=str(folder))) as workspace:
        open_labels(workspace)
        workspace.catalog.plan_work("labels", ["photos"])
        label_pending(workspace, quarantined=0)
    kept = (raw / "1.png").read_bytes()
    (raw / "1.png").unlink()
    (raw / "2.png").write_bytes(png(77))
    out = tmp_path / "out"
    summary = export(config(folder, out, format="png16"))
    assert (summary["rows"], summary["kept"]) == (5, 3)
    assert summary["left_out"] == {"missing_file": 1, "wrong_bytes": 1}
    assert [each["what"] for each in summary["problems"]] == ["source photos"] * 2
    (raw / "1.png").write_bytes(kept)
    (raw / "2.png").write_bytes(png(2))
    summary = export(config(folder, out, format="png16"))  # tried again
    assert (summary["kept"], summary["left_out"], summary["problems"]) == (5, {}, [])
    assert summary["bytes"] == sum(
        path.stat().st_size
        for path in out.rglob("*")
        if path.is_file() and path.name != "provenance.json"
    )


def test_what_is_handed_on_names_no_place_of_this_machine(store, tmp_path):
    for format in DATA_FORMATS:
        export(config(store, tmp_path / format, format=format))
        for name, data in files_in(tmp_path / format).items():
            if format != "iceberg" or not name.startswith(("metadata", "catalog")):
                assert str(tmp_path).encode() not in data
                assert b"/data/photos" not in data, name


def test_ground_truth_of_a_source(store, tmp_path):
    summary = export(config(store, tmp_path / "out", target="rooms", format="webdataset"))
    assert (summary["source"], summary["kept"], summary["left_out"]) == ("rooms", 3, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import webdataset

        tars = sorted(map(str, (tmp_path / "out" / "data").glob("*.tar")))
        samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    with open_workspace(Common(store=str(store))) as workspace:
        (shard,) = workspace.catalog.image_shards("rooms")
        rooms = {row.sample_id: row for row in read_image_rows(workspace.store, shard.key)}
    for sample in samples:
        facts = json.loads(sample["json"])
        values_HW = rooms[facts["sample_id"]].truth.values_HW
        assert np.isnan(values_HW).any()
        assert_same_map(facts, codes_of(sample["depth.png"]), values_HW)
        assert (facts["geometry"], facts["depth_scale"]) == ("depth_metric", 1 / 256)
        assert "teacher" not in facts


@pytest.mark.parametrize("format", DATA_FORMATS)
def test_a_killed_export_goes_on_and_ends_as_the_undisturbed_one(
    store, tmp_path, monkeypatch, format
):
    export(config(store, tmp_path / "whole", format=format))
    real, calls = export_formats.write_part, []

    def dies(*args, **named):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*args, **named)

    monkeypatch.setattr(export_label_set, "write_part", dies)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        export(config(store, out, format=format))
    assert not (out / "provenance.json").exists()
    (out / "data").mkdir(exist_ok=True)
    (out / "data" / f"s{'0' * 20}-{'0' * 12}.parquet").write_bytes(b"of shards that are gone")
    monkeypatch.setattr(export_label_set, "write_part", real)
    summary = export(config(store, out, format=format))
    assert (summary["shards"], summary["shards_reused"]) == (2, 1)
    whole, after = files_in(tmp_path / "whole"), files_in(out)
    if format == "iceberg":  # ids and times are in it
        whole, after = (
            {name: data for name, data in files.items() if not name.startswith(("meta", "catal"))}
            for files in (whole, after)
        )
    assert whole == after


@pytest.mark.parametrize(
    ("format", "gone"), [("hf", "data/*"), ("png16", "depth/*/*.png"), ("png16", "rgb/*/*.jpg")]
)
def test_a_file_that_is_gone_is_written_again(store, tmp_path, format, gone):
    out = tmp_path / "out"
    export(config(store, out, format=format))
    before = files_in(out)
    next(out.glob(gone)).unlink()
    summary = export(config(store, out, format=format))
    assert summary["shards_reused"] == 1
    assert files_in(out) == before


class Listener(SilentReporter):
    """Keeps what people would be told."""

    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)

    warn = note


def test_conditions_and_doubts_are_said(tmp_path):
    fill_store(tmp_path / "store")
    with open_workspace(Common(store=str(tmp_path / "store"))) as workspace:
        terms = {"licence": "CC-BY-NC-4.0", "note": "Only with the banner."}
        workspace.catalog.set_terms("photos", terms_from(terms, title="Photos"))
    listener = Listener()
    export(config(tmp_path / "store", tmp_path / "out"), reporter=listener)
    first, second = listener.said
    assert first == "images of photos may be published on conditions: Only with the banner."
    assert "source photos (CC-BY-NC-4.0; behind label-set labels): no" in second
    assert "Only with the banner." in (tmp_path / "out" / "README.md").read_text()
    labels = config(tmp_path / "store", tmp_path / "labels", labels_only=True)
    listener.said.clear()
    export(labels, reporter=listener)
    assert not [text for text in listener.said if "published on conditions" in text]


def test_a_set_that_is_not_finished_is_exported_as_far_as_it_is(tmp_path):
    folder = tmp_path / "store"
    with open_workspace(Common(store=str(folder))) as workspace:
        ingest_photos(folder, tmp_path / "raw", range(4))
        open_labels(workspace)
        workspace.catalog.plan_work("labels", ["photos"])
        with pytest.raises(ConfigError, match="label set labels is empty"):
            export(config(folder, tmp_path / "out"))
        label_pending(workspace)
        ingest_photos(folder, tmp_path / "raw", range(4, 8))
        workspace.catalog.plan_work("labels", ["photos"])
    listener = Listener()
    assert export(config(folder, tmp_path / "out"), reporter=listener)["kept"] == 3
    assert any("not finished: 1 of 2 shards have no labels" in text for text in listener.said)
    assert "not finished: 4 images had no labels" in (tmp_path / "out" / "README.md").read_text()
    with open_workspace(Common(store=str(folder))) as workspace:
        label_pending(workspace)
    assert export(config(folder, tmp_path / "out"))["kept"] == 6
    assert "not finished" not in (tmp_path / "out" / "README.md").read_text()
    said = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert (said["shards_left"], said["images_left"]) == (0, 0)


def test_labels_alone_need_no_permission(tmp_path):
    fill_store(tmp_path / "store")  # of a licence that nobody knows
    with pytest.raises(ConfigError) as refused:
        export(config(tmp_path / "store", tmp_path / "out"))
    assert "photos" in refused.value.problems[0]
    assert "--labels-only" in refused.value.problems[-1]
    assert not (tmp_path / "out").exists()
    said = ["export", "labels", "--format", "hf", "--out", str(tmp_path / "out")]
    assert cli.run([*said, "--store", str(tmp_path / "store")]) == 2


@pytest.mark.parametrize("format", DATA_FORMATS)
def test_labels_alone_hold_no_image(store, truth, tmp_path, format):
    out = tmp_path / "out"
    summary = export(config(store, out, format=format, labels_only=True))
    assert (summary["kept"], summary["images"]) == (KEPT, False)
    files = files_in(out)
    assert not any(name.endswith(".jpg") for name in files)
    everything = b"".join(files.values())
    for data, _ in truth.values():
        assert data[200:400] not in everything
    if format in ("hf", "iceberg"):
        import polars

        found = polars.read_parquet(out / "data" / "*.parquet")
        assert "image" not in found.columns
        assert set(found["sha256"]) == {
            hashlib.sha256(data).hexdigest() for data, _ in truth.values()
        }


def test_ground_truth_belongs_to_its_owners(store, tmp_path):
    with pytest.raises(ConfigError, match="ground truth belongs to the owners"):
        export(config(store, tmp_path / "out", target="rooms", labels_only=True))


def test_what_cannot_be_exported_is_refused_by_name(store, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="source photos has no ground truth"):
        export(config(store, out, target="photos"))
    with pytest.raises(ConfigError, match="labels is a label set: --format can be hf, png16"):
        export(config(store, out, format="onnx"))
    with pytest.raises(ConfigError, match="teacher is a model: --format can be hf, onnx"):
        export(config(store, out, target="teacher", format="png16"))
    with pytest.raises(CatalogMissingError, match="did you mean 'labels'"):
        export(config(store, out, target="lables", format="png16"))
    with pytest.raises(ConfigError, match="--images is for models"):
        export(config(store, out, images=("x.jpg",)))
    with pytest.raises(ConfigError, match="folder of this machine"):
        export(config(store, "memory://out", format="iceberg"))
    with pytest.raises(ConfigError, match="there is no store"):
        export(config(tmp_path / "nowhere", out, format="png16"))
    assert not out.exists()


def test_a_folder_with_something_else_is_left_alone(store, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="name a folder that is empty"):
        export(config(store, tmp_path))
    assert files_in(tmp_path) == {"mine.txt": b"mine"}
    export(config(store, tmp_path / "out"))
    with pytest.raises(ConfigError, match="holds an export of label-set labels as hf"):
        export(config(store, tmp_path / "out", format="webdataset"))


def test_a_name_of_two_things_is_refused(tmp_path):
    fill_store(tmp_path / "store")
    with open_workspace(Common(store=str(tmp_path / "store"))) as workspace:
        workspace.catalog.register_model(
            "labels", uri="/x", sha256="9" * 64, family="dpt", geometry="depth_metric",
            kind="imported",
        )  # fmt: skip
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="say label-set:labels or model:labels"):
        export(config(tmp_path / "store", out))
    summary = export(config(tmp_path / "store", out, target="label-set:labels", labels_only=True))
    assert summary["label_set"] == "labels"


def test_a_damaged_shard_ends_the_export(tmp_path):
    fill_store(tmp_path / "store")
    first = min((tmp_path / "store" / "labels").rglob("*.parquet"))
    first.unlink()
    with pytest.raises(ShardCorruptError, match="gone"):
        export(config(tmp_path / "store", tmp_path / "out", labels_only=True))
    assert not (tmp_path / "out" / "provenance.json").exists()


def test_an_export_to_another_file_system(store, truth):
    import fsspec

    export(config(store, "memory://exported/labels", format="webdataset"))
    remote = fsspec.filesystem("memory")
    assert remote.exists("/exported/labels/provenance.json")
    assert len(remote.glob("/exported/labels/data/*.tar")) == 2
    assert not remote.find("/exported/labels/.export")


def test_formats_are_named_as_they_are_written():
    assert set(DATA_FORMATS) == set(export_formats.FORMATS)
    assert set(MODEL_FORMATS) == set(FORMATS)

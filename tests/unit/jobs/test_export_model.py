import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import cli, export_model
from jobs.config import IngestConfig
from jobs.console import SilentReporter
from jobs.errors import ConfigError
from jobs.evaluate_config import ExportConfig
from jobs.export import export as verb
from jobs.export_model import export_model as export
from jobs.ingest import ingest
from jobs.workspace import open_workspace
from model.depth_model import load_depth_model
from model.errors import CheckpointError, ExportError
from tests.factories import png
from tests.tiny_families import save_family

pytestmark = pytest.mark.usefixtures("one_thread")


class Listener(SilentReporter):
    """Keeps what people would be warned of."""

    def __init__(self):
        self.warnings = []

    def warn(self, text):
        self.warnings.append(text)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_family("depth_anything", tmp_path_factory.mktemp("source") / "tiny-depth")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (60, 90 + index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def config(model, tmp_path, *, format="hf", images=(), **changes):
    return ExportConfig(
        target=str(model),
        format=format,
        out=str(tmp_path / "out"),
        images=tuple(map(str, images)),
        store=str(tmp_path / "store"),
        **changes,
    )


def registered(tmp_path, model, *, licence=None):
    """A store that knows a source of three images, and the model as ``teacher``."""
    known = load_depth_model(str(model), device="cpu")
    images = tmp_path / "ingested"
    images.mkdir()
    for index in range(3):
        (images / f"{index}.png").write_bytes(png(index))
    store = str(tmp_path / "store")
    ingest(IngestConfig(uri=str(images), source="pictures", store=store, actors=0))
    with open_workspace(config(model, tmp_path)) as workspace:
        workspace.catalog.register_model(
            "teacher",
            uri=str(model),
            sha256=known.sha256,
            family=known.family,
            geometry=known.geometry,
            kind="imported",
            licence=licence,
        )


@pytest.mark.parametrize("format", ["hf", "torchscript"])
def test_a_folder_with_all_that_belongs_to_a_model(model, photos, tmp_path, format):
    summary = export(config(model, tmp_path, format=format, images=[photos]))
    out = Path(summary["out"])
    assert summary["files"] == sorted(path.name for path in out.iterdir())
    weights = {"hf": "model.safetensors", "torchscript": "model.pt"}[format]
    assert {weights, "README.md", "export.json", "preprocessor_config.json"} <= set(
        summary["files"]
    )
    assert summary["model"] == str(model)
    assert summary["parity"]["images"] == 3
    assert summary["parity"]["max_difference"] <= 1e-5
    facts = json.loads((out / "export.json").read_text())
    assert facts["parity"] == json.loads(json.dumps(summary["parity"]))
    assert facts["model"] == "tiny-depth"
    card = (out / "README.md").read_text()
    for text in (json.dumps(facts), card):  # both are going to be published
        assert str(tmp_path) not in text and str(model.parent) not in text
    assert card.startswith("---\nlicense: unknown\n")
    assert "maps of 3 photographs it differs from the original by" in card
    assert not (tmp_path / "store").exists()  # nobody needs one to export a file


def test_a_folder_that_is_there_stays_the_same_one(model, photos, tmp_path, monkeypatch):
    """It may be the one that people are in, and a scratch folder has another name than ``.``."""
    out = tmp_path / "here"
    out.mkdir()
    before = out.stat().st_ino
    monkeypatch.chdir(out)
    summary = export(dataclasses.replace(config(model, tmp_path, images=[photos]), out="."))
    assert sorted(os.listdir()) == summary["files"]
    assert out.stat().st_ino == before


@pytest.mark.parametrize("name", ["zoedepth", "dpt"])
def test_what_transformers_needs_for_a_family_is_said(photos, tmp_path, name):
    export(config(save_family(name, tmp_path / "model"), tmp_path, images=[photos]))
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("needs torchvision" in card) == (name == "zoedepth")


def test_a_model_of_one_size_says_which(photos, tmp_path):
    model = save_family("dpt over swinv2", tmp_path / "swin")
    summary = export(config(model, tmp_path, format="torchscript", images=[photos]))
    assert (summary["height"], summary["width"], summary["batch"]) == (64, 64, "any")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "64 x 64 pixels (height, width)" in card


def test_a_model_of_the_catalog_and_images_of_its_sources(model, tmp_path):
    registered(tmp_path, model, licence="CC-BY-NC-4.0")
    reporter = Listener()
    summary = export(config("teacher", tmp_path), reporter=reporter)
    assert summary["model"] == "teacher"
    assert summary["licence"] == "CC-BY-NC-4.0"
    assert summary["parity"]["images"] == 3
    (warning,) = reporter.warnings
    assert "not plainly permitted by model teacher (CC-BY-NC-4.0): no" in warning
    assert "license: cc-by-nc-4.0" in (tmp_path / "out" / "README.md").read_text()


def test_a_free_licence_is_not_spoken_of(model, tmp_path):
    registered(tmp_path, model, licence="Apache-2.0")
    reporter = Listener()
    assert export(config("teacher", tmp_path), reporter=reporter)["licence"] == "Apache-2.0"
    assert reporter.warnings == []


def test_a_path_that_the_catalog_knows_has_its_name(model, tmp_path):
    registered(tmp_path, model, licence="Apache-2.0")
    summary = export(config(model, tmp_path))
    assert (summary["model"], summary["licence"]) == ("teacher", "Apache-2.0")


def test_no_photographs_are_a_reason_to_refuse(model, tmp_path):
    with pytest.raises(ConfigError, match="name some with --images"):
        export(config(model, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_stays_as_it_is(model, photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="empty or not there yet"):
        export(config(model, tmp_path, images=[photos]))
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    (tmp_path / "out" / "mine.txt").unlink()
    assert export(config(model, tmp_path, images=[photos]))["files"]


@pytest.mark.parametrize("error", [ExportError("not the model"), KeyboardInterrupt()])
def test_nothing_is_left_of_an_export_that_fails(model, photos, tmp_path, monkeypatch, error):
    def fails(loaded, folder, **_):
        (folder / "half.bin").write_bytes(b"half")
        raise error

    monkeypatch.setattr(export_model, "export_network", fails)
    with pytest.raises(type(error)):
        export(config(model, tmp_path, images=[photos]))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_name_that_nothing_has(model, tmp_path):
    registered(tmp_path, model)
    with pytest.raises(CheckpointError, match="no such file or directory"):
        export(config("nothing-of-that-name", tmp_path))


def test_a_model_is_written_on_this_machine(model, photos, tmp_path):
    elsewhere = dataclasses.replace(config(model, tmp_path, images=[photos]), out="memory://out")
    with pytest.raises(ConfigError, match="a folder of this machine"):
        export(elsewhere)


def test_the_verb_finds_models_as_before(model, photos, tmp_path):
    assert verb(config(model, tmp_path, images=[photos]))["model"] == str(model)
    registered(tmp_path, model)
    named = dataclasses.replace(config("model:teacher", tmp_path), out=str(tmp_path / "named"))
    assert verb(named)["model"] == "teacher"
    with pytest.raises(ConfigError, match="--labels-only is for label sets"):
        verb(dataclasses.replace(named, labels_only=True))


def test_weights_that_have_changed_are_refused(model, photos, tmp_path):
    registered(tmp_path, save_family("depth_anything", tmp_path / "changing"))
    save_family("depth_anything", tmp_path / "changing", seed=1)
    with pytest.raises(CheckpointError, match="the catalog has"):
        export(config("teacher", tmp_path, images=[photos]))


def test_a_missing_extra_says_how_to_get_it(model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(export_model, "missing_packages", lambda: ["onnx", "onnxscript"])
    with pytest.raises(ConfigError, match=r"onnx, onnxscript: pip install 'pseudo-label-factory\["):
        export(config(model, tmp_path, format="onnx", images=[photos]))
    assert export(config(model, tmp_path, format="hf", images=[photos]))["files"]


def test_the_command(model, photos, tmp_path, monkeypatch, capfd):
    words = ["export", str(model), "--format", "hf", "--out", str(tmp_path / "out"), "--json"]
    words += ["--images", str(photos), "--store", str(tmp_path / "store")]
    assert cli.run(words) == cli.DONE
    assert json.loads(capfd.readouterr().out)["format"] == "hf"

    def fails(*_, **__):
        raise ExportError("it is not the model")

    monkeypatch.setattr(export_model, "export_network", fails)
    words[words.index(str(tmp_path / "out"))] = str(tmp_path / "other")
    assert cli.run(words) == cli.NOT_DONE
    assert not (tmp_path / "other").exists()
    assert cli.run(["export", str(model), "--format", "tflite", "--out", "x"]) == cli.WRONG_USAGE


def test_on_real_photographs(model, shared_data, tmp_path):
    photographs = shared_data / "photos" / "indoor"
    summary = export(config(model, tmp_path, format="torchscript", images=[photographs]))
    assert summary["parity"]["images"] == 6
    assert summary["parity"]["maps"] == 10
    assert summary["parity"]["max_difference"] <= 1e-5

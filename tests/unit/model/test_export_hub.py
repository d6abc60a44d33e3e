import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from model.depth_model import load_depth_model, load_network
from model.errors import ExportError
from model.export import Provenance, export_network
from model.export_hub import load_hub, processor_of, write_hub
from model.families import family_of
from tests.tiny_families import FAMILIES, depth_anything, enliven, save, save_family

pytestmark = pytest.mark.usefixtures("one_thread")


def picture(height=60, width=100):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def export(reference, folder):
    folder.mkdir()
    of = Provenance("a-model", str(reference), None, "test")
    loaded = load_network(str(reference))
    return export_network(loaded, folder, format="hf", images=[picture()], of=of)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_processor_reads_back_as_the_preprocessing_it_was_made_from(name):
    tiny = FAMILIES[name]
    config = tiny.build().config
    family = family_of(config, tiny.processor, name=name)
    processor = json.loads(json.dumps(processor_of(family)))
    again = family_of(config, processor, name=name)
    assert again.preprocessing == family.preprocessing
    assert hasattr(transformers, processor["image_processor_type"])


def test_every_word_of_a_processor_is_handed_on(tmp_path):
    source = save_family("zoedepth with two heads", tmp_path / "source")
    exported = export(source, tmp_path / "out")
    assert exported.parity.max_difference == 0
    names = ("config.json", "export.json", "model.safetensors", "preprocessor_config.json")
    assert exported.files == names
    before, after = (
        json.loads((folder / "preprocessor_config.json").read_text())
        for folder in (source, tmp_path / "out")
    )
    assert before.items() <= after.items()
    assert load_depth_model(str(tmp_path / "out")).predict(picture()).shape == (60, 100)


def test_a_folder_without_a_processor_gets_one(tmp_path):
    source = save(enliven(FAMILIES["dpt"].build()), tmp_path / "source", None)
    export(source, tmp_path / "out")
    processor = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert processor["size"] == {"height": 64, "width": 64}
    assert processor["image_mean"] == [0.5] * 3


def test_it_loads_in_the_pipeline_of_transformers(tmp_path):
    """Also where its processor leaves the statistics unsaid, which transformers takes to be others.

    At the network's own size: what Pillow makes of another is no matter of this project.
    """
    source = save_family("depth_anything", tmp_path / "source")
    assert "image_mean" not in FAMILIES["depth_anything"].processor
    export(source, tmp_path / "out")
    estimate = transformers.pipeline("depth-estimation", model=str(tmp_path / "out"), device="cpu")
    image = picture(70, 112)
    found = estimate(Image.fromarray(image))["predicted_depth"].numpy()
    expected = load_depth_model(str(source), device="cpu").predict(image)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * np.ptp(expected)


def test_what_does_not_read_back_as_what_was_written_fails(tmp_path):
    source = save_family("depth_anything", tmp_path / "source")
    loaded = load_network(str(source))
    write_hub(loaded, tmp_path / "out", reference=str(source))
    file = tmp_path / "out" / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "image_std": [1.0] * 3}))
    with pytest.raises(ExportError, match="reads back as"):
        load_hub(tmp_path / "out", like=loaded.family)


def test_an_original_file_becomes_a_folder(tmp_path, monkeypatch):
    """The import itself is tested with original names in `test_original_weights`."""
    network = enliven(depth_anything())
    file = tmp_path / "depth_anything_v2_vits.pth"
    torch.save({"anything": torch.zeros(1)}, file)
    monkeypatch.setattr("model.depth_model.import_depth_anything", lambda *_, **__: network)
    export(f"{file}#v2-s", tmp_path / "out")
    assert load_depth_model(str(tmp_path / "out")).preprocessing.rule == "lower_bound"
    processor = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert processor["image_processor_type"] == "DPTImageProcessor"
    assert processor["keep_aspect_ratio"] is True
    assert processor["ensure_multiple_of"] == 14

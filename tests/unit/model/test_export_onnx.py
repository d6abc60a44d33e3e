import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model import export_onnx
from model.depth_model import load_depth_model, load_network
from model.export import Provenance, export_network
from model.export_onnx import FILE, load_onnx, missing_packages
from tests.tiny_families import save_family

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "export.md"

pytestmark = pytest.mark.usefixtures("one_thread")


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """One export for the module: recording takes seconds."""
    root = tmp_path_factory.mktemp("onnx")
    source = save_family("depth_anything", root / "model")
    folder = root / "out"
    folder.mkdir()
    of = Provenance("a-model", str(source), "CC-BY-NC-4.0", "test")
    loaded = load_network(str(source))
    result = export_network(loaded, folder, format="onnx", images=[noise(60, 100)], of=of)
    return source, folder, result


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [(70, 70), (42, 70), (98, 56)])
def test_it_is_the_network_at_any_size_and_in_any_number(exported, batch, size):
    source, folder, _ = exported
    model = load_depth_model(str(source), device="cpu")
    images = noise(batch, *size)
    pixels = model.preprocessing.normalise(torch.from_numpy(images)).contiguous().numpy()
    expected, found = model.forward(images).numpy(), load_onnx(folder / FILE)(pixels)
    assert found.shape == expected.shape == (batch, *size)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-4 * np.ptp(expected)


def test_it_is_checked_on_the_way(exported):
    parity = exported[2].parity
    assert 0 < parity.max_difference <= 1e-4  # another program, other sums
    assert (parity.images, parity.maps) == (1, 5)
    assert parity.sizes == ((70, 112), (112, 70))


def test_the_file_says_what_it_is_and_what_it_takes(exported):
    source, folder, _ = exported
    proto = onnx.load(folder / FILE)
    onnx.checker.check_model(proto)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    model = load_depth_model(str(source), device="cpu")
    assert metadata["sha256"] == model.sha256
    assert metadata["geometry"] == "disparity_affine_invariant"
    assert metadata["licence"] == "CC-BY-NC-4.0"
    assert [metadata[key] for key in ("rule", "side", "multiple")] == ["lower_bound", "70", "14"]
    assert [metadata[key] for key in ("batch", "height", "width")] == ["any"] * 3
    assert json.loads(metadata["mean"]) == list(model.preprocessing.mean)
    (taken,), (given,) = proto.graph.input, proto.graph.output
    assert (taken.name, given.name) == ("pixel_values", "predicted_depth")
    names = [axis.dim_param or axis.dim_value for axis in taken.type.tensor_type.shape.dim]
    assert names == ["batch", 3, "14*rows", "14*columns"]


def test_no_name_of_this_machine_is_in_it(exported):
    """The exporter keeps where each line of Python lies, for those who look for faults in it."""
    content = (exported[1] / FILE).read_bytes()
    assert str(exported[0]).encode() not in content
    assert b"site-packages" not in content


def test_the_snippet_of_the_page_makes_the_map_of_predict(exported, tmp_path, monkeypatch):
    """It is run as it stands in docs/export.md."""
    source, folder, _ = exported
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert "torch" not in snippet
    image = noise(90, 123)
    Image.fromarray(image).save(tmp_path / "photo.png")
    (tmp_path / FILE).symlink_to(folder / FILE)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(snippet, names)
    expected = load_depth_model(str(source), device="cpu").predict(image)
    assert names["depth"].shape == expected.shape == (90, 123)
    assert np.abs(names["depth"] - expected).max() <= 1e-3 * np.ptp(expected)


def test_packages_that_are_missing_are_named(monkeypatch):
    assert missing_packages() == []
    monkeypatch.setattr(export_onnx.importlib.util, "find_spec", lambda name: None)
    assert missing_packages() == ["onnx", "onnxscript", "onnxruntime"]

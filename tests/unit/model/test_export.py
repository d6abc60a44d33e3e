import dataclasses
import json
import warnings

import numpy as np
import pytest
import torch

from model import export as export_module
from model import export_graph
from model.depth_model import load_depth_model, load_network
from model.errors import CheckpointError, ExportError
from model.export import FACTS, Provenance, export_network
from model.export_parity import MAX_DIFFERENCE
from model.export_torchscript import FILE, METADATA, load_torchscript
from tests.tiny_families import FAMILIES, save_family

pytestmark = pytest.mark.usefixtures("one_thread")

TWO_HEADS = "zoedepth with two heads"
LIKE_OTHERS = ("zoedepth without margins", "depth_pro without field of view")  # as graphs
RECORDED = [name for name in FAMILIES if name not in (TWO_HEADS, *LIKE_OTHERS)]
ANY_SIZE = (
    "depth_anything",
    "depth_anything metric",
    "dpt over beit",
    "zoedepth",
    "glpn",
)
ONE_IMAGE = [name for name in RECORDED if name.startswith(("zoedepth", "depth_pro"))]


def pictures(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


PHOTOGRAPHS = pictures((60, 100))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: save_family(name, root / name.replace(" ", "-")) for name in FAMILIES}


def export(source, folder, format, images=PHOTOGRAPHS):
    folder.mkdir(parents=True)
    of = Provenance("a-model", str(source), "Apache-2.0", "test")
    return export_network(load_network(str(source)), folder, format=format, images=images, of=of)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_graph_is_the_network_at_every_size_it_says_it_takes(folders, name, tmp_path):
    exported = export(folders[name], tmp_path / "out", "torchscript")
    facts, parity = exported.facts, exported.parity
    assert parity.max_difference <= 1e-5
    assert parity.correlation > 0.99999
    assert (facts["batch"] == 1) == (name in ONE_IMAGE)
    assert (facts["height"] == "any") == (facts["width"] == "any") == (name in ANY_SIZE)
    assert parity.maps == 2 + 3 * (name not in ONE_IMAGE)
    assert len(parity.sizes) == (2 if name in ANY_SIZE else 1)
    if name in ANY_SIZE:  # a size and a number of images that the check has not seen
        model, run = load_depth_model(str(folders[name])), load_torchscript(tmp_path / "out" / FILE)
        multiple = model.preprocessing.multiple
        images = np.stack(pictures(*[(5 * multiple, 7 * multiple)] * 4))
        images = images if name not in ONE_IMAGE else images[:1]
        pixels = model.preprocessing.normalise(torch.from_numpy(images)).contiguous()
        found = run(pixels.numpy())
        expected = model._maps(images).numpy()
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-5 * np.ptp(expected)


def test_the_file_says_what_it_is(folders, tmp_path):
    exported = export(folders["depth_anything metric"], tmp_path / "out", "torchscript")
    extra = {METADATA: ""}
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        torch.jit.load(tmp_path / "out" / FILE, _extra_files=extra)
    metadata = json.loads(extra[METADATA])
    model = load_depth_model(str(folders["depth_anything metric"]), device="cpu")
    assert metadata["sha256"] == model.sha256
    assert metadata["geometry"] == "depth_metric"
    assert metadata["licence"] == "Apache-2.0"
    assert metadata["rule"] == "lower_bound"
    assert (metadata["side"], metadata["multiple"]) == ("70", "14")
    assert json.loads(metadata["mean"]) == list(model.preprocessing.mean)
    assert json.loads(metadata["std"]) == list(model.preprocessing.std)
    written = json.loads((tmp_path / "out" / FACTS).read_text())
    assert written == json.loads(json.dumps(exported.facts))
    assert written["parity"]["limit"] == MAX_DIFFERENCE
    assert exported.files == ("export.json", "model.pt", "preprocessor_config.json")


def test_a_network_that_chooses_its_way_is_refused_as_a_graph(folders, tmp_path):
    two_heads = folders[TWO_HEADS]
    with pytest.raises(CheckpointError, match=r"chooses between heads.*can be exported as hf"):
        export(two_heads, tmp_path / "graph", "torchscript")
    assert export(two_heads, tmp_path / "hf", "hf").parity.max_difference == 0


def test_a_family_that_nobody_has_recorded_is_refused_by_name(folders, tmp_path):
    loaded = load_network(str(folders["dpt"]))
    strange = loaded._replace(family=dataclasses.replace(loaded.family, name="marigold"))
    of = Provenance("a-model", str(folders["dpt"]), None, "test")
    with pytest.raises(CheckpointError, match=r"a-model.*marigold is right is not known"):
        export_network(strange, tmp_path, format="onnx", images=PHOTOGRAPHS, of=of)


@pytest.mark.parametrize("shift", [0.01, -0.01])
def test_a_file_that_is_not_the_model_fails(folders, tmp_path, monkeypatch, shift):
    def sabotaged(graph, folder, *, metadata):
        convolution = graph.module.head.conv2
        before = convolution.weight.clone()
        convolution.weight.data *= 1 + shift
        path = export_module_write(graph, folder, metadata=metadata)
        convolution.weight.data.copy_(before)
        return path

    export_module_write = export_module.write_torchscript
    monkeypatch.setattr(export_module, "write_torchscript", sabotaged)
    with pytest.raises(ExportError, match="differs from the original by up to"):
        export(folders["depth_anything"], tmp_path / "out", "torchscript")
    assert not (tmp_path / "out" / FACTS).exists()


def test_a_size_recorded_for_good_fails(folders, tmp_path, monkeypatch):
    """What the head of transformers does to a graph, and why there is one here."""
    whole = export_module.graph_of

    def naive(loaded, *, name):
        module = export_graph.WholeNetwork(loaded.network, loaded.family.read).eval()
        return dataclasses.replace(whole(loaded, name=name), module=module)

    monkeypatch.setattr(export_module, "graph_of", naive)
    with pytest.raises(ExportError, match="pixels the original makes maps of"):
        export(folders["depth_anything"], tmp_path / "out", "torchscript")


def test_what_an_exporter_says_is_told_in_one_line(folders, tmp_path, monkeypatch):
    def broken(graph, folder, *, metadata):
        raise RuntimeError("no such operator\nand a long story")

    monkeypatch.setattr(export_module, "write_torchscript", broken)
    with pytest.raises(ExportError, match=r"as torchscript: RuntimeError: no such operator$"):
        export(folders["dpt"], tmp_path / "out", "torchscript")


def test_wrong_arguments(folders, tmp_path):
    with pytest.raises(ValueError, match="photographs are needed"):
        export(folders["dpt"], tmp_path / "a", "hf", images=[])
    with pytest.raises(ValueError, match="one of hf, onnx, torchscript, not 'tflite'"):
        export(folders["dpt"], tmp_path / "b", "tflite")

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForDepthEstimation

from model.depth_model import load_depth_model, load_network, save_depth_model
from model.errors import CheckpointError
from model.metric_network import build_metric_network, check_metric_init
from model.student import build_network

SIZE = 42


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def relative(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("relative")
    save_depth_model(build_network("scratch:tiny", size=SIZE, seed=3), folder, side=SIZE)
    return folder


def differing(network, other):
    """Parts, two names deep, in which two networks have other weights."""
    mine, theirs = network.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    return {".".join(n.split(".")[:2]) for n in mine if not torch.equal(mine[n], theirs[n])}


def metric(relative, **options):
    return build_metric_network(str(relative), **{"max_depth": 20, "size": SIZE} | options)


def test_all_but_the_last_layer_is_taken_over_and_maps_begin_in_the_middle(relative):
    network = metric(relative)
    assert differing(network, load_network(str(relative)).network) == {"head.conv3"}
    assert (network.config.depth_estimation_type, network.config.max_depth) == ("metric", 20)
    with torch.no_grad():
        depth = network(torch.randn(2, 3, SIZE, SIZE)).predicted_depth
    assert depth.tolist() == torch.full((2, SIZE, SIZE), 10.0).tolist()


def test_the_encoder_alone_is_taken_over_as_v2_does(relative):
    network = metric(relative, taken_over="encoder")
    changed = differing(network, load_network(str(relative)).network)
    assert not any(name.startswith("backbone") for name in changed)
    assert {"neck.convs", "head.conv1", "head.conv2", "head.conv3"} <= changed
    assert differing(network, metric(relative, taken_over="encoder", seed=0)) == set()
    assert differing(network, metric(relative, taken_over="encoder", seed=1))


def test_a_metric_model_keeps_its_last_layer_too(relative, tmp_path):
    first = metric(relative)
    torch.nn.init.normal_(first.head.conv3.weight)
    save_depth_model(first, tmp_path, side=SIZE)
    second = build_metric_network(str(tmp_path), max_depth=80, size=SIZE)
    assert differing(first, second) == set()
    pixels = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        near, far = (each(pixels).predicted_depth for each in (first, second))
    torch.testing.assert_close(far, near * 4)


def test_building_disturbs_no_other_random_numbers(relative):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    metric(relative, taken_over="encoder")
    assert torch.equal(torch.rand(3), expected)


def test_transformers_reads_the_saved_model_as_metric(relative, tmp_path):
    network = metric(relative, max_depth=7)
    torch.nn.init.normal_(network.head.conv3.weight)
    save_depth_model(network, tmp_path, side=SIZE)
    theirs = AutoModelForDepthEstimation.from_pretrained(tmp_path)
    ours = load_depth_model(str(tmp_path), device="cpu")
    assert ours.geometry == "depth_metric"
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    with torch.no_grad():
        pixels = ours.preprocessing.normalise(torch.from_numpy(image[None]))
        depth = theirs(pixel_values=pixels).predicted_depth[0].numpy()
    np.testing.assert_allclose(ours.predict(image), depth, rtol=1e-5)
    assert 0 < depth.min() < depth.max() < 7


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"size": 50}, "multiple of 14"), ({"max_depth": 0}, "max_depth"), ({"taken_over": "x"}, "x")],
)
def test_values_that_make_no_sense_are_refused(relative, wrong, message):
    with pytest.raises(ValueError, match=message):
        metric(relative, **wrong)


def test_only_depth_anything_is_taken(tmp_path, relative):
    from transformers import GLPNConfig, GLPNForDepthEstimation

    config = GLPNConfig(
        hidden_sizes=[8, 8, 8, 8], decoder_hidden_size=8, num_attention_heads=[1, 1, 1, 1]
    )
    GLPNForDepthEstimation(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="Depth Anything"):
        check_metric_init(str(tmp_path))
    assert check_metric_init(str(relative)) == load_depth_model(str(relative), device="cpu").sha256

import json

import pytest
import torch
import transformers

from model.encoders import check_encoder, load_encoder
from model.errors import CheckpointError
from model.loading import quiet_transformers

torch.set_num_threads(1)


def config(**changes):
    return transformers.Dinov2Config(
        **{
            "hidden_size": 32,
            "num_hidden_layers": 5,
            "num_attention_heads": 2,
            "patch_size": 14,
            "image_size": 70,
            **changes,
        }
    )


def lively(network):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network.eval()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A directory as published: a Dinov2Model, not a backbone."""
    folder = tmp_path_factory.mktemp("dinov2")
    network = lively(transformers.Dinov2Model(config()))
    with quiet_transformers():
        network.save_pretrained(folder)
    return folder, network


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 70, 70, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_published_weights_give_the_published_features(published, pixels):
    folder, network = published
    encoder = load_encoder(str(folder))
    features = encoder.network(pixels).feature_maps
    assert len(features) == 1
    torch.testing.assert_close(features[0], network(pixels).last_hidden_state)
    spec = encoder.spec
    assert (spec.hidden, spec.layers, spec.patch, spec.image_side) == (32, 5, 14, 70)
    assert spec.pretrained


@torch.inference_mode()
def test_classifiers_are_taken_without_their_last_layer(tmp_path, pixels):
    network = lively(transformers.Dinov2ForImageClassification(config()))
    with quiet_transformers():
        network.save_pretrained(tmp_path)
    features = load_encoder(str(tmp_path)).network(pixels).feature_maps[-1]
    torch.testing.assert_close(features, network.dinov2(pixels).last_hidden_state)


@torch.inference_mode()
def test_the_giant_is_built_with_other_layers_and_taken_too(tmp_path, pixels):
    network = lively(transformers.Dinov2Model(config(use_swiglu_ffn=True)))  # as dinov2-giant
    with quiet_transformers():
        network.save_pretrained(tmp_path)
    features = load_encoder(str(tmp_path)).network(pixels).feature_maps[-1]
    torch.testing.assert_close(features, network(pixels).last_hidden_state)


@torch.inference_mode()
def test_patches_of_another_side_are_taken(tmp_path):
    network = lively(transformers.Dinov2Model(config(patch_size=16, image_size=64)))
    with quiet_transformers():
        network.save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    assert (encoder.spec.patch, encoder.spec.image_side) == (16, 64)
    pixels = torch.randn(1, 3, 64, 80, generator=torch.Generator().manual_seed(2))
    features = encoder.network(pixels).feature_maps[-1]
    torch.testing.assert_close(features, network(pixels).last_hidden_state)


def test_original_files_are_taken_with_their_size(tmp_path):
    path = tmp_path / "dinov2_vits14_pretrain.pth"
    torch.save(
        {"cls_token": torch.zeros(1, 1, 384), "register_tokens": torch.zeros(1, 4, 384)}, path
    )
    with pytest.raises(CheckpointError, match=r"say which variant.*dinov2-s, dinov2-b"):
        load_encoder(str(path))
    with pytest.raises(CheckpointError, match="registers"):
        load_encoder(f"{path}#dinov2-s")
    with pytest.raises(CheckpointError, match="no variant 'dinov2-h' of DINOv2"):
        load_encoder(f"{path}#dinov2-h")
    for depth in ("v1-s", "v2-metric-l@80"):
        with pytest.raises(CheckpointError, match=r"depth model.*student never from its teacher"):
            load_encoder(f"{path}#{depth}")


def test_scratch_is_a_function_of_its_seed_and_disturbs_no_other_numbers():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = load_encoder("scratch:tiny", image_size=112, seed=3)
    assert torch.equal(torch.rand(3), expected)
    same, other = (load_encoder("scratch:tiny", image_size=112, seed=seed) for seed in (3, 4))
    weights = [encoder.network.state_dict() for encoder in (one, same, other)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert any(not torch.equal(weights[0][key], weights[2][key]) for key in weights[0])
    assert not one.spec.pretrained
    assert one.spec.image_side == 112
    assert one.network.embeddings.position_embeddings.shape[1] == 1 + 8 * 8


def test_scratch_has_the_published_sizes():
    with torch.device("meta"):
        encoder = load_encoder("scratch:s")
    # 22.06 M is the figure of the paper's small encoder at 518
    assert sum(p.numel() for p in encoder.network.parameters()) / 1e6 == pytest.approx(
        22.06, abs=0.01
    )
    assert encoder.spec.image_side == 518


@pytest.mark.parametrize("call", [load_encoder, check_encoder])
def test_unusable_encoders_are_refused(call, tmp_path):
    with pytest.raises(CheckpointError, match="scratch:tiny, scratch:s"):
        call("scratch:g")
    with pytest.raises(CheckpointError, match="no such file"):
        call(str(tmp_path / "nothing"))
    (tmp_path / "model.safetensors").write_bytes(b"")
    for model_type, message in (
        ("dinov2_with_registers", "registers is not taken.*worse"),
        ("depth_anything", "depth model.*student never from its teacher"),
        ("bert", "'bert' is not an encoder"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        with pytest.raises(CheckpointError, match=message):
            call(str(tmp_path))


def test_damaged_and_foreign_weights_are_refused(published, tmp_path):
    folder, _ = published
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_encoder(str(tmp_path))
    with quiet_transformers():
        lively(transformers.Dinov2Model(config(num_hidden_layers=4))).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match=r"missing.*random"):
        load_encoder(str(tmp_path))


def test_check_accepts_what_is_good(published):
    check_encoder(str(published[0]))
    check_encoder("scratch:l")

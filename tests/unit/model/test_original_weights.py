"""The oracle is a plain re-implementation of both networks, working on the original names."""

import math
import re
from dataclasses import replace
from random import Random

import pytest
import torch
import torch.nn.functional as F
from transformers import Dinov2Backbone

from model.architectures import EncoderSize, HeadSize, dinov2_config, head_blocks
from model.errors import CheckpointError
from model.original_weights import (
    DepthVariant,
    depth_variant,
    encoder_variant,
    import_depth_anything,
    import_dinov2,
    read_original,
)
from tests.original_layouts import depth_shapes, encoder_shapes

torch.set_num_threads(1)

SMALL = EncoderSize(hidden=48, layers=8, heads=3)
HEAD = HeadSize((8, 16, 24, 32), features=16)


def random_state(shapes, seed=0):
    """Weights under which every layer matters: signals keep their size, maps stay above 0."""
    generator = torch.Generator().manual_seed(seed)

    def draw(name, shape):
        values = torch.randn(shape, generator=generator)
        if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "gamma")):
            return 1 + 0.2 * values
        if name.endswith("bias"):
            return 0.1 * values + (3.0 if name.endswith("output_conv2.2.bias") else 0.0)
        if name.endswith("weight"):
            fan = math.prod(shape[1:]) if "resize_layers" not in name else shape[0]
            return values * math.sqrt(1.5 / fan)
        return 0.5 * values

    return {name: draw(name, shape) for name, shape in shapes.items()}


def oracle_tokens(state, pixels, size):
    """DINOv2: tokens after each block, from the equations of the vision transformer."""
    x = F.conv2d(
        pixels, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14
    )
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], 1) + state["pos_embed"]
    d = size.hidden // size.heads
    after = []
    for i in range(size.layers):
        p = {
            k.removeprefix(f"blocks.{i}."): v
            for k, v in state.items()
            if k.startswith(f"blocks.{i}.")
        }
        h = F.layer_norm(x, x.shape[-1:], p["norm1.weight"], p["norm1.bias"], 1e-6)
        qkv = F.linear(h, p["attn.qkv.weight"], p["attn.qkv.bias"])
        q, k, v = qkv.view(*x.shape[:2], 3, size.heads, d).permute(2, 0, 3, 1, 4)
        h = ((q * d**-0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        h = F.linear(h.transpose(1, 2).flatten(2), p["attn.proj.weight"], p["attn.proj.bias"])
        x = x + p["ls1.gamma"] * h
        h = F.layer_norm(x, x.shape[-1:], p["norm2.weight"], p["norm2.bias"], 1e-6)
        if size.swiglu:
            gate, h = F.linear(h, p["mlp.w12.weight"], p["mlp.w12.bias"]).chunk(2, dim=-1)
            h = F.linear(F.silu(gate) * h, p["mlp.w3.weight"], p["mlp.w3.bias"])
        else:
            h = F.gelu(F.linear(h, p["mlp.fc1.weight"], p["mlp.fc1.bias"]))
            h = F.linear(h, p["mlp.fc2.weight"], p["mlp.fc2.bias"])
        x = x + p["ls2.gamma"] * h
        after.append(F.layer_norm(x, x.shape[-1:], state["norm.weight"], state["norm.bias"], 1e-6))
    return after


def oracle_depth(state, pixels, size, blocks, max_depth=None):
    """DPT head on four blocks (counted from 0), from the equations of MiDaS 3's decoder."""
    encoder = {
        k.removeprefix("pretrained."): v for k, v in state.items() if k.startswith("pretrained.")
    }
    s = {k.removeprefix("depth_head."): v for k, v in state.items() if k.startswith("depth_head.")}
    rows, columns = pixels.shape[2] // 14, pixels.shape[3] // 14
    tokens = oracle_tokens(encoder, pixels, size)

    def conv(x, name, **kwargs):
        return F.conv2d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), **kwargs)

    def residual(x, name):
        return x + conv(
            conv(x.relu(), f"{name}.conv1", padding=1).relu(), f"{name}.conv2", padding=1
        )

    levels = []
    for i, block in enumerate(blocks):
        x = tokens[block][:, 1:].transpose(1, 2).unflatten(2, (rows, columns))
        x = conv(x, f"projects.{i}")
        if i < 2:
            weight, bias = s[f"resize_layers.{i}.weight"], s[f"resize_layers.{i}.bias"]
            x = F.conv_transpose2d(x, weight, bias, stride=weight.shape[-1])
        elif i == 3:
            x = conv(x, "resize_layers.3", stride=2, padding=1)
        levels.append(conv(x, f"scratch.layer{i + 1}_rn", padding=1))
    fused = None
    for n in (4, 3, 2, 1):
        name = f"scratch.refinenet{n}"
        fused = (
            levels[n - 1]
            if fused is None
            else fused + residual(levels[n - 1], f"{name}.resConfUnit1")
        )
        fused = residual(fused, f"{name}.resConfUnit2")
        size_out = levels[n - 2].shape[2:] if n > 1 else tuple(2 * k for k in fused.shape[2:])
        fused = F.interpolate(fused, size=size_out, mode="bilinear", align_corners=True)
        fused = conv(fused, f"{name}.out_conv")
    out = conv(fused, "scratch.output_conv1", padding=1)
    out = F.interpolate(out, size=pixels.shape[2:], mode="bilinear", align_corners=True)
    out = conv(out, "scratch.output_conv2.0", padding=1).relu()
    out = conv(out, "scratch.output_conv2.2")[:, 0]
    return out.relu() if max_depth is None else out.sigmoid() * max_depth


@pytest.fixture(scope="module")
def state():
    return random_state(depth_shapes(SMALL, HEAD, patches=5))


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 70, 70, generator=torch.Generator().manual_seed(1))


def relative_difference(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize(("blocks", "zero_based"), [("v1", (4, 5, 6, 7)), ("v2", (1, 3, 5, 7))])
@torch.inference_mode()
def test_imported_network_computes_what_the_equations_say(state, pixels, blocks, zero_based):
    network = import_depth_anything(state, DepthVariant(SMALL, HEAD, blocks))
    expected = oracle_depth(state, pixels, SMALL, zero_based)
    assert expected.std() > 0.05, "a flat map would prove nothing"
    assert relative_difference(network(pixels).predicted_depth, expected) < 1e-4


@torch.inference_mode()
def test_v1_and_v2_differ_though_the_file_is_the_same(state, pixels):
    one, two = (
        import_depth_anything(state, DepthVariant(SMALL, HEAD, blocks))(pixels).predicted_depth
        for blocks in ("v1", "v2")
    )
    assert relative_difference(one, two) > 0.01


@torch.inference_mode()
def test_metric_variant_is_sigmoid_times_its_maximum(state, pixels):
    network = import_depth_anything(state, DepthVariant(SMALL, HEAD, "v2", max_depth=20))
    expected = oracle_depth(state, pixels, SMALL, (1, 3, 5, 7), max_depth=20)
    assert expected.std() > 0.05
    assert relative_difference(network(pixels).predicted_depth, expected) < 1e-4


@pytest.mark.parametrize("size", [SMALL, replace(SMALL, swiglu=True)], ids=["plain", "gated"])
@torch.inference_mode()
def test_imported_encoder_computes_what_the_equations_say(pixels, size):
    state = random_state(encoder_shapes(size, patches=5))
    network = import_dinov2(state, size)
    tokens = network(pixels).feature_maps[-1]
    assert relative_difference(tokens, oracle_tokens(state, pixels, size)[-1]) < 1e-4


def test_the_giant_is_as_large_as_published_and_takes_its_own_layers_alone():
    giant = encoder_variant("dinov2-g")
    shapes = encoder_shapes(giant, patches=37)
    assert sum(math.prod(shape) for shape in shapes.values()) / 1e6 == pytest.approx(
        1136.5, abs=0.1
    )
    with torch.device("meta"):
        network = Dinov2Backbone(dinov2_config(giant, image_side=518))
    assert sum(p.numel() for p in network.parameters()) == sum(map(math.prod, shapes.values()))
    plain = random_state(encoder_shapes(SMALL, patches=5))
    with pytest.raises(CheckpointError, match=r"missing.*gate_proj"):
        import_dinov2(plain, replace(SMALL, swiglu=True))


@pytest.mark.parametrize(("name", "keys"), [("v1-s", 239), ("v2-b", 239), ("v2-l", 407)])
def test_published_layouts_have_as_many_keys_as_published(name, keys):
    variant = depth_variant(name)
    shapes = depth_shapes(variant.encoder, variant.head)
    assert len(shapes) == keys
    parameters = sum(math.prod(shape) for shape in shapes.values()) / 1e6
    assert parameters == pytest.approx({"s": 24.79, "b": 97.47, "l": 335.32}[name[-1]], abs=0.005)


def test_full_small_file_is_imported_key_by_key():
    variant = depth_variant("v1-s")
    state = {
        k: torch.zeros(()).expand(v) for k, v in depth_shapes(variant.encoder, variant.head).items()
    }
    network = import_depth_anything(state, variant)
    assert sum(p.numel() for p in network.parameters()) == sum(v.numel() for v in state.values())
    assert all(not parameter.any() for parameter in network.parameters())
    assert network.config.backbone_config.out_indices == [9, 10, 11, 12]
    assert network.config.backbone_config.image_size == 518


def test_blocks_of_published_models():
    assert head_blocks(12, "v1") == (9, 10, 11, 12)
    assert head_blocks(12, "v2") == (3, 6, 9, 12)
    assert head_blocks(24, "v1") == (21, 22, 23, 24)
    assert head_blocks(24, "v2") == (5, 12, 18, 24)
    assert head_blocks(40, "v2") == (10, 20, 30, 40)


@pytest.mark.parametrize("layers", range(4, 41))
@pytest.mark.parametrize("blocks", ["v1", "v2"])
def test_head_always_reads_four_blocks_and_the_last(layers, blocks):
    chosen = head_blocks(layers, blocks)
    assert len(set(chosen)) == 4 and list(chosen) == sorted(chosen)
    assert chosen[0] >= 1 and chosen[-1] == layers


@pytest.mark.parametrize(
    "key",
    [
        "pretrained.blocks.3.attn.qkv.bias",
        "pretrained.norm.weight",
        "depth_head.scratch.layer2_rn.weight",
        "depth_head.scratch.output_conv2.2.bias",
    ],
)
def test_a_missing_key_is_an_error_that_names_it(state, key):
    less = {name: value for name, value in state.items() if name != key}
    with pytest.raises(CheckpointError, match=r"missing.*random"):
        import_depth_anything(less, DepthVariant(SMALL, HEAD, "v1"))


def test_a_missing_parameter_that_nothing_reads_is_no_error(state):
    less = {k: v for k, v in state.items() if "refinenet4.resConfUnit1" not in k}
    assert len(less) == len(state) - 4
    import_depth_anything(less, DepthVariant(SMALL, HEAD, "v1"))


@pytest.mark.parametrize(
    "key",
    ["optimizer", "pretrained.blocks.0.attn.rotary", "depth_head.readout_projects.0.weight"],
)
def test_a_key_left_over_is_an_error_that_names_it(state, key):
    with pytest.raises(CheckpointError, match=re.escape(key)):
        import_depth_anything({**state, key: torch.ones(3)}, DepthVariant(SMALL, HEAD, "v1"))


def test_a_deeper_file_is_refused(state):
    shallow = EncoderSize(hidden=48, layers=6, heads=3)
    with pytest.raises(CheckpointError, match="not of this network"):
        import_depth_anything(state, DepthVariant(shallow, HEAD, "v1"))


def test_another_width_is_refused(state):
    with pytest.raises(CheckpointError, match="is 48 wide, the variant asked for is 384 wide"):
        import_depth_anything(state, depth_variant("v1-s"))


def test_another_head_is_refused(state):
    with pytest.raises(CheckpointError, match="another shape"):
        import_depth_anything(state, DepthVariant(SMALL, HeadSize((8, 16, 24, 40), 16), "v1"))


def test_values_that_are_not_finite_are_refused(state):
    broken = {**state, "pretrained.norm.bias": torch.full((48,), torch.nan)}
    with pytest.raises(CheckpointError, match="not finite"):
        import_depth_anything(broken, DepthVariant(SMALL, HEAD, "v1"))


def test_encoders_with_registers_are_refused_with_the_reason():
    state = random_state(encoder_shapes(SMALL, 5)) | {"register_tokens": torch.zeros(1, 4, 48)}
    with pytest.raises(CheckpointError, match=r"registers.*worse"):
        import_dinov2(state, SMALL)


@pytest.mark.parametrize("text", ["v3-s", "v1-g", "v1-metric-s@20", "", "s", "v1s"])
def test_unknown_variants_are_refused_with_a_list(text):
    with pytest.raises(CheckpointError, match="v1-s, v1-b"):
        depth_variant(text)


@pytest.mark.parametrize("text", ["v2-metric-s", "v2-s@20", "v2-metric-s@0"])
def test_a_maximum_belongs_to_metric_variants_alone(text):
    with pytest.raises(CheckpointError, match="maximum in metres"):
        depth_variant(text)


def test_metric_variant_carries_its_maximum():
    assert depth_variant("v2-metric-l@80").max_depth == 80
    assert depth_variant("v2-l").max_depth is None


@pytest.mark.parametrize("text", ["s", "dinov2-h", "dinov2-tiny", "v1-s"])
def test_unknown_encoders_are_refused_with_a_list(text):
    with pytest.raises(CheckpointError, match="dinov2-s, dinov2-b, dinov2-l"):
        encoder_variant(text)


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"model": {f"module.{k}": v for k, v in s.items()}, "epoch": 3}]
)
def test_files_and_training_checkpoints_are_read(tmp_path, wrap):
    state = {"a": torch.ones(2), "b.c": torch.zeros(1)}
    torch.save(wrap(state), tmp_path / "file.pth")
    read = read_original(tmp_path / "file.pth")
    assert read.keys() == state.keys()
    assert torch.equal(read["a"], state["a"])


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickled_code_is_never_run(tmp_path, capsys):
    torch.save({"a": Harmful()}, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match="not opened"):
        read_original(tmp_path / "file.pth")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\3\4truncated"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_unreadable_files_are_refused(tmp_path, content, suffix):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=str(path)):
        read_original(path)


def test_other_objects_are_refused(tmp_path):
    torch.save([torch.ones(1)], tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match="not a dictionary"):
        read_original(tmp_path / "file.pth")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_is_damaged_in_a_file_is_said_in_one_way(tmp_path, zipped):
    """torch has an IndexError here, an AssertionError there; nobody should see a traceback."""
    path, random = tmp_path / "file.pth", Random(0)
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
    whole, refused = path.read_bytes(), 0
    for _ in range(150):
        damaged = bytearray(whole[: random.randrange(1, len(whole))])
        for _ in range(random.randrange(4)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        if random.random() < 0.7:  # damaged, and as long as it was
            damaged += whole[len(damaged) :]
        path.write_bytes(damaged)
        try:
            assert set(map(type, read_original(path).values())) == {torch.Tensor}
        except CheckpointError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 50

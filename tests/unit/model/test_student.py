import pytest
import torch
import transformers
from torch._dynamo.testing import CompileCounter
from torch.nn.parallel import DistributedDataParallel

from model.depth_model import load_depth_model
from model.encoders import load_encoder
from model.loading import quiet_transformers
from model.student import FrozenEncoder, TrainableDepth, build_network, compile_

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    network = transformers.Dinov2Model(
        transformers.Dinov2Config(
            hidden_size=48, num_hidden_layers=8, num_attention_heads=3, patch_size=14, image_size=70
        )
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    with quiet_transformers():
        network.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 70, 84, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_map_is_as_large_as_the_image_and_features_are_patches(pixels):
    output = TrainableDepth(build_network("scratch:tiny", size=70))(pixels)
    assert output.map_BHW.shape == (2, 70, 84)
    assert output.features_BNC.shape == (2, 5 * 6, 128)


@pytest.mark.parametrize("variant", ["v1", "v2"])
@torch.inference_mode()
def test_map_is_what_transformers_computes(pretrained, pixels, variant):
    network = build_network(pretrained, size=70, variant=variant).eval()
    output = TrainableDepth(network)(pixels)
    torch.testing.assert_close(output.map_BHW, network(pixels).predicted_depth)
    assert output.map_BHW.std() > 0


@pytest.mark.parametrize("variant", ["v1", "v2"])
@torch.inference_mode()
def test_features_begin_as_those_of_the_frozen_encoder(pretrained, pixels, variant):
    trainable = TrainableDepth(build_network(pretrained, size=70, variant=variant))
    frozen = FrozenEncoder.load(pretrained)
    torch.testing.assert_close(trainable(pixels).features_BNC, frozen(pixels))
    network = transformers.Dinov2Model.from_pretrained(pretrained)
    expected = network(pixels).last_hidden_state[:, 1:]  # without the class token
    torch.testing.assert_close(frozen(pixels), expected)


@torch.inference_mode()
def test_blocks_of_the_variants_differ(pretrained, pixels):
    one, two = (build_network(pretrained, size=70, variant=variant) for variant in ("v1", "v2"))
    assert one.config.backbone_config.out_indices == [5, 6, 7, 8]
    assert two.config.backbone_config.out_indices == [2, 4, 6, 8]
    weights, others = one.state_dict(), two.state_dict()
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    assert not torch.equal(one(pixels).predicted_depth, two(pixels).predicted_depth)


def test_frozen_encoder_stays_as_it_is(pretrained, pixels):
    frozen = FrozenEncoder.load(pretrained)
    frozen.train()
    assert not any(module.training for module in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert not frozen(pixels).requires_grad


def test_nothing_is_aligned_with_random_weights():
    assert FrozenEncoder.load("scratch:tiny") is None
    assert FrozenEncoder.of(load_encoder("scratch:tiny", image_size=70)) is None


def test_every_trainable_parameter_gets_a_gradient_from_the_map_alone(pixels):
    trainable = TrainableDepth(build_network("scratch:tiny", size=70))
    trainable(pixels).map_BHW.square().mean().backward()
    without = [n for n, p in trainable.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    frozen = [n for n, p in trainable.named_parameters() if not p.requires_grad]
    assert len(frozen) == 5  # a residual unit of two convolutions, and the mask token
    assert all("residual_layer1" in name or "mask_token" in name for name in frozen)


@torch.inference_mode()
def test_the_map_begins_alive():
    for seed in range(5):
        output = TrainableDepth(build_network("scratch:tiny", size=70, seed=seed))
        noise = torch.randn(1, 3, 70, 70, generator=torch.Generator().manual_seed(seed))
        assert (output(noise).map_BHW > 0).all()


def test_network_is_a_function_of_its_seed():
    one, same, other = (build_network("scratch:tiny", size=70, seed=s) for s in (1, 1, 2))
    weights = [network.state_dict() for network in (one, same, other)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    for part in ("backbone.encoder.layer.0.mlp.fc1.weight", "head.conv1.weight"):
        assert not torch.equal(weights[0][part], weights[2][part])


def test_pretrained_heads_are_of_the_published_size():
    with torch.device("meta"):
        network = build_network("scratch:s", size=518)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(24.79, abs=0.005)


def test_map_keeps_its_precision_under_autocast(pixels):
    trainable = TrainableDepth(build_network("scratch:tiny", size=70))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        disparity = trainable(pixels).map_BHW
    assert disparity.dtype == torch.float32
    assert (disparity == disparity.bfloat16().float()).float().mean() < 0.1


def test_saved_student_is_loaded_as_a_teacher(tmp_path):
    trainable = TrainableDepth(build_network("scratch:tiny", size=70, variant="v2"))
    trainable.save(tmp_path / "student", side=70)
    model = load_depth_model(str(tmp_path / "student"), device="cpu")
    assert model.geometry == "disparity_affine_invariant"
    assert model.preprocessing.side == 70
    images = torch.randint(0, 256, (1, 70, 70, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = trainable(model.preprocessing.normalise(images)).map_BHW
    torch.testing.assert_close(model.forward(images), expected)


def test_sizes_that_are_no_multiple_of_the_patch_are_refused():
    with pytest.raises(ValueError, match="multiple of 14, not 100"):
        build_network("scratch:tiny", size=100)


def gradients(trainable, pixels):
    """Of a loss that sees the map and the features, by name."""
    trainable.zero_grad()
    output = trainable(pixels)
    (output.map_BHW.square().mean() + output.features_BNC.cos().mean()).backward()
    return {n: p.grad.clone() for n, p in trainable.named_parameters() if p.grad is not None}


@pytest.fixture
def wrapped(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield DistributedDataParallel
    torch.distributed.destroy_process_group()


class TestRecomputing:
    def test_gradients_are_those_without(self, pixels):
        network = build_network("scratch:tiny", size=70)
        kept = gradients(TrainableDepth(network), pixels)
        again = gradients(TrainableDepth(network, recompute=True), pixels)
        assert kept.keys() == again.keys()
        assert all(torch.equal(kept[name], again[name]) for name in kept)

    def test_blocks_run_twice_and_nothing_inside_them_is_kept(self, pixels):
        def numbers_kept(recompute):
            trainable = TrainableDepth(network, recompute=recompute)
            calls, sizes = [], []
            hook = network.backbone.encoder.layer[2].mlp.register_forward_hook(
                lambda *_: calls.append(1)
            )
            with torch.autograd.graph.saved_tensors_hooks(
                lambda tensor: (sizes.append(tensor.numel()), tensor)[1], lambda tensor: tensor
            ):
                output = trainable(pixels)
            output.map_BHW.sum().backward()
            hook.remove()
            return len(calls), sum(sizes)

        network = build_network("scratch:tiny", size=70, variant="v2")
        once, all_kept = numbers_kept(recompute=False)
        twice, few_kept = numbers_kept(recompute=True)
        assert (once, twice) == (1, 2)
        inside = 6 * 2 * 31 * 128 * 10  # six blocks: more than ten maps as wide as the tokens
        assert few_kept < all_kept - inside

    @torch.inference_mode()
    def test_without_gradients_nothing_is_recomputed(self, pixels):
        network = build_network("scratch:tiny", size=70)
        expected = TrainableDepth(network)(pixels).map_BHW
        found = TrainableDepth(network, recompute=True)(pixels).map_BHW
        assert torch.equal(found, expected)


# torch's compiler looks at the gradient of what a region is given, and torch warns about that.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
class TestCompiling:
    @pytest.mark.parametrize("recompute", [False, True])
    def test_the_same_results_from_one_graph_for_all_blocks(self, pixels, recompute):
        trainable = TrainableDepth(build_network("scratch:tiny", size=70), recompute=recompute)
        names = list(trainable.state_dict())
        expected = gradients(trainable, pixels)
        graphs = CompileCounter()
        compile_(trainable, backend=graphs)
        found = gradients(trainable, pixels)
        assert graphs.frame_count == 4  # embeddings, a block, neck and head
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, msg=name)
        gradients(trainable, pixels)
        assert graphs.frame_count == 4
        assert list(trainable.state_dict()) == names

    def test_a_call_through_transformers_in_between_changes_nothing(self, pixels):
        trainable = TrainableDepth(build_network("scratch:tiny", size=70))
        graphs = CompileCounter()
        compile_(trainable, backend=graphs)
        with torch.no_grad():
            shown = trainable.network(pixels).predicted_depth  # leaves hooks behind
        assert graphs.frame_count == 0
        torch._dynamo.utils.counters.clear()
        torch.testing.assert_close(trainable(pixels).map_BHW, shown)
        assert graphs.frame_count == 4
        assert not torch._dynamo.utils.counters["graph_break"]
        with torch.no_grad():
            torch.testing.assert_close(trainable.network(pixels).predicted_depth, shown)

    def test_a_frozen_encoder_is_compiled_too(self, pretrained, pixels):
        frozen = FrozenEncoder.load(pretrained)
        expected = frozen(pixels)
        graphs = CompileCounter()
        compile_(frozen, backend=graphs)
        torch.testing.assert_close(frozen(pixels), expected)
        assert graphs.frame_count == 2

    def test_a_wrapped_network_trains_compiled_and_recomputing(self, wrapped, pixels):
        plain = TrainableDepth(build_network("scratch:tiny", size=70), recompute=True)
        expected = gradients(plain, pixels)
        distributed = wrapped(plain)
        compile_(distributed, backend="eager")
        found = gradients(distributed, pixels)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[f"module.{name}"], gradient, msg=name)

    def test_what_has_no_parts_is_refused(self):
        with pytest.raises(ValueError, match="Linear has no parts"):
            compile_(torch.nn.Linear(2, 2))

import json
import shutil
import socket

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from model import checkpoint_files
from model.depth_model import NEAREST_M, DepthModel, load_depth_model, save_depth_model
from model.errors import CheckpointError
from model.geometry import GEOMETRIES
from model.loading import quiet_transformers
from model.preprocessing import IMAGE_MEAN, IMAGE_STD
from tests.tiny_families import DPT_SIZES, FAMILIES, depth_anything, dinov2, save, save_family

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: save_family(name, root / name.replace(" ", "-")) for name in FAMILIES}


@pytest.fixture
def folder(folders, tmp_path):
    """A copy of the Depth Anything directory, to be damaged."""
    return shutil.copytree(folders["depth_anything"], tmp_path / "copy")


SIZE = (60, 100)


def picture(height=60, width=100, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def load(reference, **options) -> DepthModel:
    return load_depth_model(str(reference), device="cpu", **options)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_predicts_a_finite_map_of_its_geometry(folders, name):
    tiny = FAMILIES[name]
    model = load(folders[name])
    assert model.family == name.partition(" ")[0]
    assert model.geometry == tiny.geometry
    assert model.geometry in GEOMETRIES
    prepared = model.prepare(picture())
    assert prepared.shape == (*tiny.size, 3)
    maps = model.forward(np.stack([prepared, prepared]), sizes=[SIZE, SIZE])
    assert maps.dtype == torch.float32
    assert maps.shape[0] == 2 and maps.ndim == 3
    assert torch.isfinite(maps).all()
    assert maps.min() >= 0
    values = model.predict(picture())
    assert values.shape == (60, 100)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_is_what_its_images_are_alone(folders, name):
    model = load(folders[name])
    black, white = np.zeros((60, 100, 3), np.uint8), np.full((60, 100, 3), 255, np.uint8)
    images = np.stack([model.prepare(image) for image in (picture(), black, white)])
    together = model.forward(images, sizes=[SIZE] * 3)
    alone = torch.cat([model.forward(image[None], sizes=[SIZE]) for image in images])
    assert (alone[0] - alone[1]).abs().max() > 1e-3 * alone.max()
    assert (together - alone).abs().max() <= 1e-4 * alone.max()


def test_disparity_is_the_map_or_its_inverse(folders):
    relative, metric = load(folders["depth_anything"]), load(folders["depth_anything metric"])
    images = relative.prepare(picture())[None]
    assert torch.equal(relative.disparity(images), relative.forward(images))
    depth = metric.forward(images)
    expected = 1 / torch.maximum(depth, torch.tensor(NEAREST_M))
    torch.testing.assert_close(metric.disparity(images), expected)
    assert depth.max() <= 20


def test_a_depth_of_zero_does_not_drown_the_map(folders, monkeypatch):
    model = load(folders["depth_anything metric"])
    depth = torch.tensor([[[0.0, 2.0]]])
    monkeypatch.setattr(model, "forward", lambda images, **_: depth)
    torch.testing.assert_close(
        model.disparity(picture()[None]), torch.tensor([[[1 / NEAREST_M, 0.5]]])
    )


def test_facts_about_a_model(folders):
    model = load(folders["depth_anything"])
    network = depth_anything()
    assert model.parameters == sum(p.numel() for p in network.parameters())
    assert model.reference == str(folders["depth_anything"])
    assert model.device == torch.device("cpu")
    assert model.precision == "fp32"
    assert (model.preprocessing.side, model.preprocessing.multiple) == (70, 14)


def test_arrays_that_cannot_be_written_to_are_taken(folders):
    image = picture(70, 70)
    image.flags.writeable = False
    model = load(folders["depth_anything"])
    assert model.predict(image).shape == (70, 70)
    np.testing.assert_array_equal(model.predict(image), model.forward(image[None])[0].numpy())


@pytest.mark.parametrize(
    "images", [np.zeros((1, 70, 70), np.uint8), np.zeros((1, 70, 70, 3), np.float32)]
)
def test_only_batches_of_rgb_bytes_are_forwarded(folders, images):
    with pytest.raises(ValueError, match="expected uint8 B x H x W x 3"):
        load(folders["depth_anything"]).forward(images)


# --- bf16 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_bf16_is_near_and_its_output_is_not_rounded_to_eight_bits(folders, name):
    exact, half = load(folders[name]), load(folders[name], precision="bf16")
    images = exact.prepare(picture())[None]
    expected, values = (each.forward(images, sizes=[SIZE]) for each in (exact, half))
    assert values.dtype == torch.float32
    assert not torch.equal(values, expected)
    assert (values - expected).abs().mean() < 0.05 * expected.std()
    positive = values[values > 0]
    assert positive.numel() > 100  # dpt over swinv2 is nearly all 0
    assert (positive == positive.to(torch.bfloat16).float()).float().mean() < 0.1
    assert positive.unique().numel() > 0.8 * positive.numel()


@pytest.mark.parametrize("name", FAMILIES)
def test_bf16_is_what_autocast_makes_of_the_exact_weights(folders, name):
    """That weights are rounded when they are loaded changes no bit, in any family."""
    exact, half = load(folders[name]), load(folders[name], precision="bf16")
    assert any(p.dtype == torch.bfloat16 for p in half._network.parameters())
    assert all(p.dtype == torch.float32 for p in exact._network.parameters())
    images = exact.prepare(picture())[None]
    exact._network.to(memory_format=torch.channels_last)
    exact.precision = "bf16"  # autocast over weights in float32
    one, other = (each.forward(images, sizes=[SIZE]) for each in (exact, half))
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", FAMILIES)
def test_channels_last_costs_no_accuracy(folders, name):
    """Against float32, bf16 with it is as far as without, and both are near each other."""
    exact, half = load(folders[name]), load(folders[name], precision="bf16")
    images = exact.prepare(picture())[None]
    expected, values = (each.forward(images, sizes=[SIZE]) for each in (exact, half))
    exact.precision = "bf16"
    plain = exact.forward(images, sizes=[SIZE])
    error, plain_error = ((each - expected).abs().mean() for each in (values, plain))
    assert error <= 1.5 * plain_error + 1e-6 * expected.abs().mean()
    assert (values - plain).abs().mean() <= 1.5 * plain_error + 1e-6 * expected.abs().mean()


def test_fp32_is_the_network_as_transformers_runs_it_to_the_last_bit(folders):
    model = load(folders["depth_anything"])
    image = model.prepare(picture())
    mean, std = (torch.tensor(each) for each in (IMAGE_MEAN, IMAGE_STD))
    pixels = torch.from_numpy(image)[None].permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - mean[:, None, None]) / std[:, None, None]
    with quiet_transformers(), torch.inference_mode():
        network = depth_anything().from_pretrained(folders["depth_anything"])
        assert torch.equal(model.forward(image[None]), network(pixel_values=pixels).predicted_depth)


def test_the_backbone_attends_with_the_fused_kernel(folders):
    backbone = load(folders["depth_anything"])._network.backbone
    assert backbone.config._attn_implementation == "sdpa"


def test_auto_precision_on_a_cpu_is_fp32(folders):
    assert load(folders["depth_anything"], precision="auto").precision == "fp32"
    with pytest.raises(ValueError, match="fp16"):
        load(folders["depth_anything"], precision="fp16")


# --- sides -----------------------------------------------------------------------------------


def test_another_side_changes_the_size_and_nothing_else(folders):
    own, larger = load(folders["depth_anything"]), load(folders["depth_anything"], side=98)
    assert larger.prepare(picture()).shape == (98, 168, 3)
    assert larger.sha256 == own.sha256
    assert load(folders["zoedepth"], side=128).prepare(picture(96, 144)).shape == (128, 192, 3)


def test_networks_of_one_size_refuse_another(folders):
    with pytest.raises(CheckpointError, match="runs at 128 pixels only, not at 256"):
        load(folders["depth_pro"], side=256)
    with pytest.raises(CheckpointError, match="at least 14"):
        load(folders["depth_anything"], side=7)


def test_processor_decides_size_and_statistics_but_never_the_rule(folder):
    processor = {
        "size": {"height": 98, "width": 98},
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [1, 2, 3],
        "keep_aspect_ratio": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    preprocessing = load(folder).preprocessing
    assert (preprocessing.side, preprocessing.rule) == (98, "lower_bound")
    assert (preprocessing.mean, preprocessing.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    (folder / "preprocessor_config.json").unlink()
    assert load(folder).preprocessing.side == 70  # of the position table


@pytest.mark.parametrize(
    "processor",
    [
        {"size": {"height": 10**6, "width": 10**6}},
        {"size": "large"},
        {"size": {"height": 70, "width": 98}},
        {"image_std": [0, 1, 1]},
        {"image_mean": [1, 2]},
        {"do_rescale": False},
    ],
)
def test_unusable_processors_are_refused(folder, processor):
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(CheckpointError, match=r"preprocessor_config.json"):
        load(folder)


@pytest.mark.parametrize("name", ["depth_anything", "depth_anything metric"])
def test_buckets_change_the_sizes_and_nothing_else(folders, name):
    exact, buckets = load(folders[name]), load(folders[name], resize="buckets")
    assert buckets.sha256 == exact.sha256
    assert buckets.preprocessing.max_distortion > 0
    assert buckets.prepare(picture(60, 240)).shape == (70, 280, 3)  # an octave is exact
    wide = load(folders[name], resize="buckets", side=518)
    assert wide.prepare(picture(60, 100)).shape == (518, 62 * 14, 3)


@pytest.mark.parametrize(
    "name", ["dpt", "dpt over beit", "zoedepth", "depth_pro", "glpn", "tipsv2_dpt"]
)
def test_families_with_other_rules_refuse_buckets_by_name(folders, name):
    with pytest.raises(CheckpointError, match=f"{name.partition(' ')[0]}: sizes in buckets"):
        load(folders[name], resize="buckets")


def test_resize_is_a_word_that_is_known(folders):
    with pytest.raises(ValueError, match="exact or buckets, not 'fast'"):
        load(folders["depth_anything"], resize="fast")


# --- identity --------------------------------------------------------------------------------


def test_sha256_is_that_of_the_content_wherever_it_lies(folders, folder):
    assert load(folder).sha256 == load(folders["depth_anything"]).sha256
    assert len(load(folder).sha256) == 64


def test_sha256_changes_with_weights_and_with_configuration(folder):
    digests = {load(folder).sha256}
    weights = load_file(folder / "model.safetensors")
    weights["head.conv3.bias"] = weights["head.conv3.bias"] + 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    digests.add(load(folder).sha256)
    config = json.loads((folder / "config.json").read_text())
    config["backbone_config"]["out_indices"] = [1, 1, 2, 4]
    (folder / "config.json").write_text(json.dumps(config))
    digests.add(checkpoint_files.find_checkpoint(str(folder), variants="").sha256())
    assert len(digests) == 3


def test_sharded_weights_are_loaded_and_digested_whole(folders, tmp_path):
    with quiet_transformers():
        network = transformers.AutoModelForDepthEstimation.from_pretrained(
            folders["depth_anything"]
        )
        network.save_pretrained(tmp_path, max_shard_size="100KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    model = load(tmp_path)
    image = picture(70, 70)
    np.testing.assert_array_equal(
        model.predict(image), load(folders["depth_anything"]).predict(image)
    )
    before = model.sha256
    weights = load_file(shards[-1])
    save_file({k: v + 1 for k, v in weights.items()}, shards[-1], metadata={"format": "pt"})
    assert load(tmp_path).sha256 != before
    shards[-1].unlink()
    with pytest.raises(CheckpointError, match="not there"):
        load(tmp_path)


# --- what is refused -------------------------------------------------------------------------


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_missing_weights_are_never_random(folder):
    change_weights(folder, lambda w: w.pop("head.conv3.weight"))
    with pytest.raises(CheckpointError, match=r"missing.*random.*head\.conv3\.weight"):
        load(folder)


def test_weights_left_over_are_refused(folder):
    change_weights(
        folder, lambda w: w.update({"backbone.encoder.layer.4.norm1.bias": torch.ones(32)})
    )
    with pytest.raises(CheckpointError, match=r"not of this network.*layer\.4"):
        load(folder)


def test_weights_of_another_shape_are_refused(folder):
    change_weights(folder, lambda w: w.update({"head.conv1.bias": torch.ones(3)}))
    with pytest.raises(CheckpointError, match=r"another shape.*head\.conv1\.bias"):
        load(folder)


def test_weights_that_are_not_finite_are_refused(folder):
    change_weights(folder, lambda w: w["head.conv1.bias"].fill_(float("inf")))
    with pytest.raises(CheckpointError, match=r"not finite.*head\.conv1\.bias"):
        load(folder)


def test_the_layer_that_nothing_reads_may_be_missing(folders, tmp_path):
    folder = shutil.copytree(folders["dpt"], tmp_path / "dpt")  # as published MiDaS weights are
    unused = [
        f"neck.fusion_stage.layers.0.residual_layer1.convolution{n}.{kind}"
        for n in (1, 2)
        for kind in ("weight", "bias")
    ]
    change_weights(folder, lambda w: [w.pop(name) for name in unused])
    image = picture()
    np.testing.assert_array_equal(load(folder).predict(image), load(folders["dpt"]).predict(image))


@pytest.mark.parametrize(
    ("model_type", "message"),
    [
        ("bert", "not a depth model that is known here: depth_anything, dpt"),
        ("dinov2", "encoder without a depth head"),
        ("prompt_depth_anything", "lidar"),
        ("chmv2", "how high trees stand"),
        (None, "not a depth model"),
    ],
)
def test_other_models_are_refused_before_they_are_loaded(folder, model_type, message):
    config = json.loads((folder / "config.json").read_text()) | {"model_type": model_type}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_dpt_over_dinov2_is_refused_as_its_geometry_is_unknown(tmp_path):
    config = transformers.DPTConfig(backbone_config=dinov2(), hidden_size=32, **DPT_SIZES)
    save(transformers.DPTForDepthEstimation(config), tmp_path, None)
    with pytest.raises(CheckpointError, match=r"^[^:]*: DPT over dinov2 .* not taken$"):
        load(tmp_path)


def test_code_of_a_repository_is_never_run(folder, tmp_path):
    marker = tmp_path / "executed"
    (folder / "evil.py").write_text(
        f"open({str(marker)!r}, 'w')\nclass Model: pass\nclass Config: pass\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForDepthEstimation": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    assert load(folder).family == "depth_anything"
    assert not marker.exists()


def test_damaged_directories_are_refused(folder):
    config = (folder / "config.json").read_text()
    for name, content, message in (
        ("model.safetensors", b"\xff" * 100, "cannot be loaded"),
        ("model.safetensors", None, "no model.safetensors"),
        ("config.json", b"{", "config.json cannot be read"),
        ("config.json", b"[]", "not a JSON object"),
        (
            "config.json",
            config.replace('"hidden_size": 32', '"hidden_size": "x"').encode(),
            "cannot be loaded",
        ),
        ("config.json", None, r"no config.json.*FILE.pth#v2-s"),
    ):
        path = folder / name
        kept = path.read_bytes()
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            load(folder)
        path.write_bytes(kept)
    assert load(folder)


def test_an_index_cannot_name_files_elsewhere(folder):
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    index = {"weight_map": {"head.conv1.bias": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="not there"):
        load(folder)


def test_original_files_need_their_variant(tmp_path):
    path = tmp_path / "depth_anything_vits14.pth"
    torch.save({"pretrained.cls_token": torch.zeros(1, 1, 384)}, path)
    with pytest.raises(CheckpointError, match=r"say which variant.*v1-s, v1-b.*same keys"):
        load(path)
    with pytest.raises(CheckpointError, match="no variant 'v9-s'"):
        load(f"{path}#v9-s")
    with pytest.raises(CheckpointError, match="384 wide, the variant asked for is 1024 wide"):
        load(f"{path}#v1-l")
    with pytest.raises(CheckpointError, match=r"no file .*nothing\.pth"):
        load(tmp_path / "nothing.pth#v1-s")


@pytest.mark.parametrize("reference", ["nothing.pth", "/no/such/directory", "./nothing", "a/b/c"])
def test_paths_that_are_not_there_are_refused(reference, monkeypatch):
    monkeypatch.setattr(checkpoint_files, "HfApi", None)  # the hub is not asked
    with pytest.raises(CheckpointError, match="no such file or directory"):
        load(reference)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(CheckpointError, match="neither a directory"):
        load(tmp_path / "photo.jpg")


def test_a_hub_that_does_not_answer_is_an_error_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint_files, "_HUB_TIMEOUT_S", 0.2)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        api = checkpoint_files.HfApi(endpoint=endpoint)
        monkeypatch.setattr(checkpoint_files, "HfApi", lambda: api)
        with pytest.raises(CheckpointError, match=r"nobody/nothing: neither.*Hugging Face hub"):
            load("nobody/nothing")


@pytest.mark.parametrize("revision", ["", "@main", "@0123456789abcdef0123456789abcdef01234567"])
def test_without_a_network_a_cached_model_is_used(folders, tmp_path, monkeypatch, revision):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--nobody--something"
    shutil.copytree(folders["depth_anything"], repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = load(f"nobody/something{revision}")
    assert model.reference == f"nobody/something{revision}"
    assert model.sha256 == load(folders["depth_anything"]).sha256


def test_without_a_network_the_hub_is_an_error_that_says_so():
    with pytest.raises(CheckpointError, match=r"neither a local directory nor.*Hugging"):
        load("nobody/nothing@main")


# --- saving ----------------------------------------------------------------------------------


def test_saved_models_work_in_the_pipeline_of_transformers(tmp_path):
    torch.manual_seed(3)
    save_depth_model(depth_anything(), tmp_path / "model", side=70)
    with quiet_transformers():
        pipeline = transformers.pipeline(
            "depth-estimation", model=str(tmp_path / "model"), device="cpu"
        )
        image = picture(70, 70)
        theirs = pipeline(Image.fromarray(image))["predicted_depth"].numpy()
    ours = load(tmp_path / "model").predict(image)
    assert ours.std() > 0
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_saving_and_loading_is_the_identity(tmp_path):
    network = depth_anything().eval()
    save_depth_model(network, tmp_path / "model", side=98)
    model = load(tmp_path / "model")
    assert model.preprocessing.side == 98
    image = picture(98, 98)
    with torch.inference_mode():
        expected = network(model.preprocessing.normalise(torch.from_numpy(image[None])))
    torch.testing.assert_close(model.forward(image[None]), expected.predicted_depth)


def test_loading_is_silent(folders, capfd):
    load(folders["depth_anything"])
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_convolutions_do_not_round_to_tf32_while_it_runs_and_torch_stays_as_it_was(folders):
    model = load(str(folders["depth_anything"]))
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled
    seen = []
    layer = next(part for part in model._network.modules() if isinstance(part, torch.nn.Conv2d))
    layer.register_forward_hook(
        lambda *_: seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled))
    )
    model.predict(picture())
    assert seen == [(False, True)]
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled) == before

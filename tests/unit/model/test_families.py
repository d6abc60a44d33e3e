"""Every family: its place in the table, what it sees, what its numbers mean, and its real formats.

The oracles are the processors of transformers where they are right and need no torchvision, and the
authors' own steps written out in torch where not.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from PIL import Image
from transformers.models.auto.modeling_auto import MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil
from transformers.models.glpn.image_processing_pil_glpn import GLPNImageProcessorPil
from transformers.models.zoedepth.image_processing_pil_zoedepth import ZoeDepthImageProcessorPil

from model import checkpoint_files
from model.architectures import ENCODER_SIZES, head_size
from model.checkpoint_files import find_checkpoint
from model.depth_model import DepthModel, load_depth_model
from model.encoders import load_encoder
from model.errors import CheckpointError
from model.evaluation import evaluate_image
from model.families import check_model_type, family_of, is_depth_model
from model.loading import quiet_transformers
from model.metric_network import check_metric_init
from model.padding import margin, padded_size
from model.preprocessing import IMAGE_MEAN, IMAGE_STD, Preprocessing, network_size
from model.protocols import protocol
from model.upsampling import UPSAMPLINGS, upsample
from tests.original_layouts import depth_shapes
from tests.tiny_families import FAMILIES, HALF, save, save_family, zoedepth

torch.set_num_threads(1)

SIZE = (60, 100)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return {name: save_family(name, root / name.replace(" ", "-")) for name in FAMILIES}


def load(reference, **options):
    return load_depth_model(str(reference), device="cpu", **options)


def photograph(height=60, width=100):
    """Smooth shades, a few edges, and little that a resize could overshoot or alias."""
    rows, columns = np.mgrid[:height, :width].astype(float)
    waves = [110 + 60 * np.sin(rows / a + 1) * np.cos(columns / b) for a, b in ((9, 17), (14, 11))]
    image = np.stack([*waves, 90 + 80 * columns / width], axis=-1)
    image[height // 3 : height // 2, width // 4 : width // 2] += 30
    return image.round().astype(np.uint8)


# --- which ----------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES)
def test_every_depth_model_of_transformers_is_taken_or_refused_with_its_own_reason(model_type):
    if not is_depth_model(model_type):
        with pytest.raises(CheckpointError) as refusal:
            check_model_type(model_type, "it")
        assert "that is known here" not in str(refusal.value)


def test_every_family_that_is_taken_is_in_the_table_of_the_tests():
    taken = {each for each in MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES if is_depth_model(each)}
    assert {name.partition(" ")[0] for name in FAMILIES} == taken


# --- what they see, and what becomes of their maps --------------------------------------------


def as_pixels(image, mean=(0.5,) * 3, std=(0.5,) * 3):
    pixels = torch.from_numpy(image / 255).permute(2, 0, 1)[None]
    mean, std = (torch.tensor(each, dtype=torch.float64)[:, None, None] for each in (mean, std))
    return ((pixels - mean) / std).float()


def cubic(image, size):
    """As OpenCV's: no antialias, a = -0.75; in float, what overshoots is kept."""
    pixels = torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None]
    return F.interpolate(pixels, size, mode="bicubic")[0].permute(1, 2, 0).numpy()


def authors_depth_anything(image):
    resized = cubic(image, network_size(*image.shape[:2], side=70))
    return as_pixels(resized, IMAGE_MEAN, IMAGE_STD)


def authors_square(image):
    return as_pixels(cubic(image, (64, 64)))


def authors_aspect(image):
    rule = Preprocessing(64, 32, "minimal")  # held to the authors' sizes in test_preprocessing
    return as_pixels(cubic(image, rule.size_for(*image.shape[:2])))


def processed_zoedepth(image, *, do_pad=True):
    processor = ZoeDepthImageProcessorPil(
        size={"height": 64, "width": 96}, ensure_multiple_of=32, do_pad=do_pad, **HALF
    )
    return processor(image, return_tensors="pt")["pixel_values"]


def processed_zoedepth_bare(image):
    return processed_zoedepth(image, do_pad=False)


def processed_depth_pro(image):
    """As ``image_processing_depth_pro.py``: normalised first, then resized."""
    return F.interpolate(as_pixels(image), (128, 128), mode="bilinear")


def processed_glpn(image):
    return GLPNImageProcessorPil()(image, return_tensors="pt")["pixel_values"]


def processed_tipsv2(image):
    resized = Image.fromarray(image).resize((70, 70), Image.Resampling.BILINEAR)
    return as_pixels(np.asarray(resized), [0, 0, 0], [1, 1, 1])


def resized_map(output, size, *, mode="bicubic"):
    return F.interpolate(output.predicted_depth[:, None], size, mode=mode)[0, 0]


def without_margins(output, size):
    """``post_process_depth_estimation`` written out, as it needs torchvision."""
    top, left = margin(size[0]), margin(size[1])
    whole = resized_map(output, padded_size(*size))
    return whole[top : top + size[0], left : left + size[1]]


def without_field_of_view(output, size):
    return resized_map(output, size, mode="bilinear")


def with_field_of_view(output, size):
    """As ``post_process_depth_estimation``, up to its last line: that inverts."""
    focal_px = 0.5 * size[1] / torch.tan(0.5 * torch.deg2rad(output.field_of_view))
    inverse = output.predicted_depth * size[1] / focal_px
    return F.interpolate(inverse[None], size, mode="bilinear")[0, 0]


# What the network sees, what becomes of its map, which upsampling that is here, and how many grey
# levels our input may differ: half of one where theirs is not rounded, and a little float. OpenCV's
# linear filter rounds in both directions.
PUBLISHED = {
    "depth_anything": (authors_depth_anything, resized_map, "bicubic", 0.51),
    "depth_anything metric": (authors_depth_anything, resized_map, "bicubic", 0.51),
    "dpt": (authors_square, resized_map, "bicubic", 0.51),
    "dpt hybrid": (authors_square, resized_map, "bicubic", 0.51),
    "dpt over beit": (authors_aspect, resized_map, "bicubic", 0.51),
    "dpt over swinv2": (authors_square, resized_map, "bicubic", 0.51),
    "zoedepth": (processed_zoedepth, without_margins, "bicubic", 0.51),
    "zoedepth without margins": (processed_zoedepth_bare, resized_map, "bicubic", 0.51),
    "zoedepth with two heads": (processed_zoedepth, without_margins, "bicubic", 0.51),
    "depth_pro": (processed_depth_pro, with_field_of_view, "bilinear", 0.75),
    "depth_pro without field of view": (
        processed_depth_pro,
        without_field_of_view,
        "bilinear",
        0.75,
    ),
    "glpn": (processed_glpn, resized_map, "bicubic", 0.01),
    "tipsv2_dpt": (processed_tipsv2, without_field_of_view, "bilinear", 1.01),
}


def seen_by(model, image):
    prepared = torch.from_numpy(model.prepare(image))[None]
    return model.preprocessing.normalise(prepared)


@pytest.mark.parametrize("size", [(96, 128), (160, 96)])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_sees_what_its_authors_show_it(folders, name, size):
    model = load(folders[name])
    see, _, _, bound = PUBLISHED[name]
    image = photograph(*size)
    ours, theirs = seen_by(model, image), see(image)
    assert ours.shape == theirs.shape
    grey = 255 * torch.tensor(model.preprocessing.std)[:, None, None]
    assert ((ours - theirs).abs() * grey).max() <= bound


@torch.inference_mode()
def parity(folder, name, image):
    """Largest difference to the published steps, from the same input on; mean from the image on."""
    model = load(folder)
    see, finish, how, _ = PUBLISHED[name]
    with quiet_transformers():
        network = transformers.AutoModelForDepthEstimation.from_pretrained(folder).eval()
    ours = torch.from_numpy(model.predict(image, upsampling=how))
    size = image.shape[:2]
    same_input = finish(network(pixel_values=seen_by(model, image)), size)
    whole = finish(network(pixel_values=see(image)), size)
    extent = (whole.max() - whole.min()).item()
    largest = (ours - same_input).abs().max().item() / extent
    return largest, (ours - whole).abs().mean().item() / extent, extent / whole.max().item()


@pytest.mark.parametrize("name", FAMILIES)
def test_predictions_are_those_of_the_published_steps(folders, name):
    from_input, from_image, relief = parity(folders[name], name, photograph(96, 128))
    assert relief > 0.02  # the map is not flat, or nothing would be shown
    assert from_input <= 1e-5
    assert from_image <= 0.01  # of random networks, which exaggerate half a grey level


def test_processors_that_smooth_are_not_followed_where_the_authors_do_not(folders):
    """MiDaS resizes with OpenCV's cubic filter; transformers' DPT processor widens it."""
    model = load(folders["dpt"])
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    processor = DPTImageProcessorPil(size={"height": 64, "width": 64}, **HALF)
    smoothed = processor(noise, return_tensors="pt")["pixel_values"]
    ours, authors = seen_by(model, noise), authors_square(noise).clamp(-1, 1)
    assert (ours - authors).abs().max() * 127.5 <= 1
    assert smoothed.std() < 0.5 * ours.std()


@pytest.mark.parametrize("how", UPSAMPLINGS)
@pytest.mark.parametrize("name", ["depth_anything", "zoedepth"])
def test_the_way_to_upsample_is_a_choice(folders, name, how):
    model, image = load(folders[name]), photograph(96, 128)
    alone = model.predict(image, upsampling=how)
    assert alone.shape == (96, 128) and alone.dtype == np.float32
    others = [model.predict(image, upsampling=other) for other in UPSAMPLINGS if other != how]
    assert all(np.abs(alone - other).max() > 1e-4 * alone.max() for other in others)
    if name == "depth_anything":
        map_HW = model.forward(model.prepare(image)[None])[0]
        np.testing.assert_array_equal(alone, upsample(map_HW, (96, 128), how).numpy())
    with pytest.raises(ValueError, match="one of bilinear"):
        model.predict(image, upsampling="nearest")


@torch.inference_mode()
def test_labels_are_of_the_image_alone_as_predictions_are(folders):
    """Maps that are cut at the network's size, against those cut at the image's."""
    model, images = load(folders["zoedepth"]), [photograph(96, 128), photograph(480, 640)]
    prepared = [model.prepare(image) for image in images]
    assert prepared[0].shape == prepared[1].shape
    sizes = [image.shape[:2] for image in images]
    together = model.disparity(np.stack(prepared), sizes=sizes)
    for map_HW, image in zip(together, images, strict=True):
        expected = 1 / model.predict(image)
        found = upsample(map_HW, image.shape[:2]).numpy()
        extent = expected.max() - expected.min()
        # interpolated twice, and inverted in between
        assert np.abs(found - expected).mean() <= 0.01 * extent
    with pytest.raises(ValueError, match="zoedepth sees margins: say how large"):
        model.forward(np.stack(prepared))


# --- what their numbers mean ------------------------------------------------------------------


def constant_(layer, value):
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.constant_(layer.bias, value)


def with_constant_head(name, value):
    """A network whose last layer says one number everywhere, before its activation."""
    network = FAMILIES[name].build()
    if name.startswith("depth_anything"):
        constant_(network.head.conv3, value)
    elif name.startswith("dpt"):
        constant_(network.head.head[4], value)
    elif name == "glpn":
        constant_(network.head.head[-1], value)
    elif name.startswith("depth_pro"):
        constant_(network.head.layers[-2], value)
        if network.config.use_fov_model:
            constant_(network.fov_model.head.layers[-1], 50.0)
    return network


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


# What the paper of each says the last layer's number means, as disparity.
MEANING = {
    "depth_anything": lambda x: x,
    "depth_anything metric": lambda x: 1 / (20 * sigmoid(x)),
    "dpt": lambda x: x,
    "dpt hybrid": lambda x: x,
    "dpt over beit": lambda x: x,
    "dpt over swinv2": lambda x: x,
    "depth_pro": lambda x: x * 2 * np.tan(np.deg2rad(50) / 2),
    "depth_pro without field of view": lambda x: x,
    "glpn": lambda x: 1 / (10 * sigmoid(x)),
}


@pytest.mark.parametrize("name", MEANING)
def test_a_known_last_layer_gives_the_known_disparity(tmp_path, name):
    for value in (0.4, 1.7):
        network = with_constant_head(name, value)
        model = load(save(network, tmp_path / str(value), FAMILIES[name].processor))
        disparity = model.disparity(model.prepare(photograph())[None], sizes=[SIZE])
        np.testing.assert_allclose(disparity.numpy(), MEANING[name](value), rtol=1e-4)


def test_metres_of_bins_are_metres(tmp_path):
    """ZoeDepth with bins at 3 m alone; TIPSv2 with equal weights on all of its bins."""
    network = zoedepth()
    for bins in network.config.bin_configurations:
        bins.update(min_depth=3.0, max_depth=3.001)
    network.config.bin_centers_type = "normed"
    near = load(save(type(network)(network.config), tmp_path / "z", FAMILIES["zoedepth"].processor))
    disparity = near.disparity(near.prepare(photograph())[None], sizes=[SIZE])
    np.testing.assert_allclose(disparity.numpy(), 1 / 3, rtol=1e-3)

    network = FAMILIES["tipsv2_dpt"].build()
    with torch.no_grad():
        for parameter in network.decoder.parameters():
            parameter.zero_()
    model = load(save(network, tmp_path / "t", FAMILIES["tipsv2_dpt"].processor))
    np.testing.assert_allclose(model.predict(photograph()), (0.001 + 10) / 2, rtol=1e-4)


class Seer(torch.nn.Module):
    """Says of each pixel what a perfect network of that geometry would: depth is its brightness."""

    def __init__(self, family, *, flipped=False):
        super().__init__()
        self.family, self.flipped = family, flipped
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.bin_regressor = torch.nn.Identity()  # TIPSv2's last module is looked for by name

    def forward(self, pixel_values):
        rules = self.family.preprocessing
        mean, std = (torch.tensor(each)[:, None, None] for each in (rules.mean, rules.std))
        metres = 1 + 9 * (pixel_values * std + mean).mean(1)
        fov = torch.full((len(metres),), 60.0)
        if self.flipped or self.family.geometry == "depth_metric":
            said = metres
        elif self.family.geometry == "disparity_metric":
            said = 1 / metres / (2 * np.tan(np.deg2rad(30)))
        else:
            said = 7 / metres + 2
        return SimpleNamespace(predicted_depth=said, field_of_view=fov)


@pytest.mark.parametrize("name", FAMILIES)
def test_near_is_near_in_every_family_and_a_flipped_network_is_seen(name):
    image = np.repeat(np.linspace(20, 235, 100).round().astype(np.uint8)[None, :, None], 60, 0)
    image = np.repeat(image, 3, 2)
    truth_HW = 1 + 9 * image.mean(2) / 255
    config = FAMILIES[name].build().config
    family = family_of(config, FAMILIES[name].processor, name=name)

    def score(network, geometry=None):
        model = DepthModel(network, family, reference=name, sha256="", device=torch.device("cpu"))
        return evaluate_image(
            model.predict(image),
            truth_HW,
            geometry=geometry or model.geometry,
            truth_geometry="depth_metric",
            protocol=protocol("relative"),
        )

    right = score(Seer(family))
    assert right.affine.scale > 0 and not right.is_flipped
    assert right.metrics["depth"]["abs_rel"] < 0.02
    flipped = score(Seer(family, flipped=True), "disparity_affine_invariant")
    assert flipped.affine.scale < 0 and flipped.is_flipped


# --- real formats -----------------------------------------------------------------------------


SHARED = {  # the arguments of the authors' class, as their uploads say them
    "encoder": "vits",
    "features": 64,
    "out_channels": [48, 96, 192, 384],
    "use_bn": False,
    "use_clstoken": False,
}


@pytest.fixture(scope="module")
def v1_state():
    """All zeros but the last bias: the map is that number everywhere; a file of a few kilobytes."""
    shapes = depth_shapes(ENCODER_SIZES["s"], head_size(384))
    state = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    return state | {"depth_head.scratch.output_conv2.2.bias": torch.tensor([1.5])}


def upload(folder, state, **changes):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**SHARED, **changes}))
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def test_the_authors_upload_of_v1_is_the_file_it_holds(v1_state, tmp_path):
    folder = upload(tmp_path / "depth_anything_vits14", v1_state)
    model = load(folder, side=70)
    assert (model.family, model.geometry) == ("depth_anything", "disparity_affine_invariant")
    assert model._network.config.backbone_config.out_indices == [9, 10, 11, 12]  # V1's blocks
    np.testing.assert_array_equal(model.predict(photograph()), 1.5)
    file = find_checkpoint(f"{folder / 'pytorch_model.bin'}#v1-s", variants="")
    assert model.sha256 == file.sha256()
    with pytest.raises(CheckpointError, match="student never from its teacher"):
        load_encoder(str(folder))


def test_uploads_that_no_network_here_can_hold_are_refused(v1_state, tmp_path):
    for index, (changes, message) in enumerate(
        (
            ({"encoder": "vitg"}, "asks for encoder 'vitg', which no published"),
            ({"use_clstoken": True}, "with use_clstoken, which no published"),
        )
    ):
        with pytest.raises(CheckpointError, match=message):
            load(upload(tmp_path / str(index), v1_state, **changes))
    empty = upload(tmp_path / "empty", v1_state)
    (empty / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"none of model.safetensors, pytorch_model.bin"):
        load(empty)


def test_pickled_weights_are_fetched_for_uploads_of_v1_alone(v1_state, tmp_path, monkeypatch):
    """A hub that hands out what is asked for, and remembers that."""
    asked = []

    def hub(repository, *, allow_patterns, **_):
        asked.append("pytorch_model.bin" in allow_patterns)
        folder = tmp_path / str(len(asked))
        upload(folder, v1_state)
        if not asked[-1]:
            (folder / "pytorch_model.bin").unlink()
        if repository == "somebody/else":
            (folder / "config.json").write_text('{"model_type": "dpt"}')
        return folder

    monkeypatch.setattr(checkpoint_files, "snapshot_download", hub)
    monkeypatch.setattr(
        checkpoint_files, "HfApi", lambda: SimpleNamespace(model_info=lambda *_, **__: None)
    )
    found = find_checkpoint("LiheYoung/depth_anything_vits14", variants="")
    assert (found.variant, asked) == ("v1-s", [False, True])
    with pytest.raises(CheckpointError, match=r"no model.safetensors \(pickled"):
        find_checkpoint("somebody/else", variants="")
    assert asked == [False, True, False]


# --- as a start -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_no_depth_model_is_an_encoder_and_only_depth_anything_starts_a_metric_one(folders, name):
    with pytest.raises(CheckpointError, match="student never from its teacher"):
        load_encoder(str(folders[name]))
    if name.startswith("depth_anything"):
        assert check_metric_init(str(folders[name])) == load(folders[name]).sha256
    else:
        with pytest.raises(CheckpointError, match=f"is of the family {name.partition(' ')[0]}"):
            check_metric_init(str(folders[name]))

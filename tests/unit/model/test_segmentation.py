"""Segmentation networks: masks as transformers makes them, and one whose answer is known."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from transformers.modeling_outputs import SemanticSegmenterOutput

from model.errors import CheckpointError
from model.loading import quiet_transformers
from model.segmentation import Segmenter, load_segmenter, segmenter_digest
from tests.sky_segmenter import LABELS, SIDE, save_blue_sky_segmenter, write_processor

torch.set_num_threads(1)
SKY = LABELS.index("sky")
NAMES = {
    "id2label": dict(enumerate(LABELS)),
    "label2id": {name: number for number, name in enumerate(LABELS)},
}


def segformer() -> transformers.PreTrainedModel:
    config = transformers.SegformerConfig(
        depths=[1] * 4,
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=8,
        **NAMES,
    )
    return transformers.SegformerForSemanticSegmentation(config)


def upernet() -> transformers.PreTrainedModel:
    backbone = transformers.ConvNextConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1] * 4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=8, auxiliary_channels=8, pool_scales=[1, 2], **NAMES
    )
    return transformers.UperNetForSemanticSegmentation(config)


def mobilenet() -> transformers.PreTrainedModel:
    config = transformers.MobileNetV2Config(
        image_size=SIDE, depth_multiplier=0.35, semantic_loss_ignore_index=255, **NAMES
    )
    return transformers.MobileNetV2ForSemanticSegmentation(config)


def maskformer() -> transformers.PreTrainedModel:
    backbone = transformers.SwinConfig(
        image_size=SIDE,
        embed_dim=8,
        depths=[1] * 4,
        num_heads=[1] * 4,
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    decoder = transformers.DetrConfig(
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=1,
        decoder_attention_heads=1,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
        num_queries=10,
    )
    config = transformers.MaskFormerConfig(
        backbone_config=backbone,
        decoder_config=decoder,
        fpn_feature_size=32,
        mask_feature_size=32,
        **NAMES,
    )
    return transformers.MaskFormerForInstanceSegmentation(config)


HEADS = ("classifier", "class_predictor", "mask_embedder", "queries_embedder", "mask_projection")
PROCESSORS = {
    segformer: ("Segformer", {}),
    upernet: ("Segformer", {"size": {"height": 96, "width": SIDE}}),
    mobilenet: ("MobileNetV2", {"size": {"shortest_edge": 48}, "do_flip_channel_order": False}),
    maskformer: ("MaskFormer", {"size": {"shortest_edge": 48, "longest_edge": 200}}),
}


def save(build, folder: Path) -> Path:
    torch.manual_seed(8 if build is maskformer else 7)  # of those that see sky in a part
    network = build()
    with torch.no_grad():  # fresh heads say almost the same of every class
        for name, value in network.named_parameters():
            if any(head in name for head in HEADS) and value.ndim > 1:
                value.copy_(torch.randn_like(value))
    with quiet_transformers():
        network.save_pretrained(folder)
    family, changes = PROCESSORS[build]
    write_processor(folder, image_processor_type=f"{family}ImageProcessor", **changes)
    return folder


def image(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Blobs of colour: a random image brought up from a few pixels."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    return np.kron(small, np.ones((16, 16, 1), np.uint8))[:height, :width]


@pytest.mark.parametrize("build", PROCESSORS, ids=lambda build: build.__name__)
def test_masks_are_those_of_transformers(build, tmp_path):
    folder = save(build, tmp_path / "segmenter")
    segmenter = load_segmenter(str(folder), device="cpu")
    pictures = [image(70, 90, seed=1), image(70, 90, seed=2)]
    prepared = np.stack([segmenter.prepare(picture) for picture in pictures])
    sizes = [(70, 90), (35, 44)]
    masks = segmenter.masks(prepared, sizes=sizes)
    with quiet_transformers():
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        of_type = type(build())
        network = of_type.from_pretrained(folder).eval()
    inputs = processor(pictures, do_center_crop=False, return_tensors="pt")
    assert prepared.shape == inputs["pixel_values"].shape
    with torch.inference_mode():
        output = network(pixel_values=inputs["pixel_values"])
    expected = processor.post_process_semantic_segmentation(output, target_sizes=sizes)
    assert any(0.01 < (classes == SKY).float().mean() < 0.99 for classes in expected)
    for mask_HW, classes_HW in zip(masks, expected, strict=True):
        assert mask_HW.dtype == np.bool_
        np.testing.assert_array_equal(mask_HW, (classes_HW == SKY).numpy())


def test_what_is_blue_is_sky(tmp_path):
    segmenter = load_segmenter(str(save_blue_sky_segmenter(tmp_path)), device="cpu")
    picture = np.full((128, 192, 3), 90, np.uint8)
    picture[:64, :96] = (60, 80, 240)
    (mask_HW,) = segmenter.masks(segmenter.prepare(picture)[None], sizes=[(128, 192)])
    expected = np.zeros((128, 192), bool)
    expected[:64, :96] = True
    away = np.ones_like(expected)  # from the edge, between whose two sides scores are mixed
    away[62:66] = False
    away[:, 92:100] = False
    np.testing.assert_array_equal(mask_HW[away], expected[away])


class Scores(torch.nn.Module):
    """Says what it was told to say, of as many images as it is shown."""

    def __init__(self, scores_KHW: torch.Tensor) -> None:
        super().__init__()
        self.scores = scores_KHW

    def forward(self, *, pixel_values: torch.Tensor) -> SemanticSegmenterOutput:
        return SemanticSegmenterOutput(logits=self.scores.expand(len(pixel_values), -1, -1, -1))


def segmenter_saying(scores_KHW: torch.Tensor, sky: tuple[int, ...]) -> Segmenter:
    device = torch.device("cpu")
    return Segmenter(Scores(scores_KHW), None, sky=sky, sha256="0" * 64, device=device)


def test_many_classes_are_compared_like_all_at_once():
    scores_KHW = torch.randn(150, 6, 7, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(scores_KHW[None], (13, 20), mode="bilinear")[0]
    winners = large.argmax(dim=0).numpy()
    pixels = np.zeros((1, 3, 4, 4), np.float32)
    for sky in ((2,), (0, 149), tuple(range(20, 60)), tuple(range(150))):
        (mask_HW,) = segmenter_saying(scores_KHW, sky).masks(pixels, sizes=[(13, 20)])
        np.testing.assert_array_equal(mask_HW, np.isin(winners, sky))


def test_in_doubt_it_is_not_sky():
    scores_KHW = torch.zeros(3, 2, 2)
    scores_KHW[0, 0, 0] = float("nan")
    (mask_HW,) = segmenter_saying(scores_KHW, (1,)).masks(
        np.zeros((1, 3, 4, 4), np.float32), sizes=[(2, 2)]
    )
    assert not mask_HW.any()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["wall", "Sky"], True),
        (["sky-other-merged", "wall"], True),
        (["nature--sky", "wall"], True),
        (["skyscraper", "wall"], False),
        (["husky", "wall"], False),
        ([], False),
    ],
)
def test_sky_is_found_by_its_name(tmp_path, names, found):
    folder = save_blue_sky_segmenter(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(number): name for number, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config))
    if found:
        assert len(segmenter_digest(str(folder))) == 64
    else:
        with pytest.raises(CheckpointError, match=", ".join(names) or "no names"):
            segmenter_digest(str(folder))


def test_what_is_no_segmenter_is_refused_before_it_is_loaded(tmp_path):
    folder = save_blue_sky_segmenter(tmp_path / "segmenter")
    with pytest.raises(CheckpointError, match="no such file"):
        segmenter_digest(str(tmp_path / "nothing"))
    (folder / "preprocessor_config.json").rename(tmp_path / "processor.json")
    with pytest.raises(CheckpointError, match="preprocessor_config"):
        segmenter_digest(str(folder))
    shutil.copy(tmp_path / "processor.json", folder / "preprocessor_config.json")
    (folder / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    with pytest.raises(CheckpointError, match=r"dinov2.*segformer"):
        segmenter_digest(str(folder))
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"")
    with pytest.raises(CheckpointError, match="directory"):
        segmenter_digest(f"{weights}#v2-s")


def test_the_digest_covers_how_images_are_prepared(tmp_path):
    folder = save_blue_sky_segmenter(tmp_path)
    before = segmenter_digest(str(folder))
    assert load_segmenter(str(folder), device="cpu").sha256 == before
    write_processor(folder, size={"height": 32, "width": 32})
    assert segmenter_digest(str(folder)) != before


def test_layers_that_would_be_random_are_refused(tmp_path):
    folder = save_blue_sky_segmenter(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"decoder_hidden_size": 4}))
    with pytest.raises(CheckpointError, match="another shape"):
        load_segmenter(str(folder), device="cpu")


def test_strips_are_refused(tmp_path):
    segmenter = load_segmenter(str(save_blue_sky_segmenter(tmp_path)), device="cpu")
    with pytest.raises(ValueError, match="too long"):
        segmenter.prepare(np.zeros((2, 50, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        segmenter.prepare(np.zeros((2, 2, 3), np.float32))

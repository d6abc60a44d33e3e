import dataclasses
import json

import numpy as np
import pytest

from model import protocols
from model.metrics import METRICS
from model.pairs import PAIR_METRICS
from model.protocols import PROTOCOLS, SPACES, protocol
from pipeline import presets_benchmarks as presets


def test_refs_are_unique_and_find_their_protocol():
    assert len({known.ref for known in PROTOCOLS}) == len(PROTOCOLS)
    for known in PROTOCOLS:
        assert protocol(known.ref) is known


def test_relative_has_no_crop_and_no_cap_and_both_spaces():
    relative = protocol("relative@1")
    assert relative.alignment == "affine_disparity"
    assert (relative.crop, relative.minimum_depth, relative.maximum_depth) == (None, None, None)
    assert relative.spaces == ("disparity", "depth")
    assert {"abs_rel", "delta1", "delta2", "delta3", "rmse", "log10", "silog"} == set(
        relative.metrics
    )


def test_metric_aligns_nothing_and_scores_depth_within_the_limits_of_v2():
    metric = protocol("metric@1")
    assert metric.alignment == "none"
    assert (metric.crop, metric.minimum_depth, metric.maximum_depth) == (None, 0.001, 80)
    assert metric.spaces == ("depth",)


def test_a_bare_name_is_its_newest_version(monkeypatch):
    newer = dataclasses.replace(protocol("relative@1"), version=2)
    monkeypatch.setattr(protocols, "PROTOCOLS", (newer, *PROTOCOLS))
    assert protocol("relative").version == 2
    assert protocol("relative@1").version == 1


@pytest.mark.parametrize("ref", ["kitty", "relative@9", "relative@", "", "@1"])
def test_an_unknown_protocol_lists_those_there_are(ref):
    with pytest.raises(ValueError, match="relative@1"):
        protocol(ref)


def test_a_protocol_is_data_that_can_stand_beside_a_result():
    for known in PROTOCOLS:
        assert json.loads(json.dumps(dataclasses.asdict(known)))["name"] == known.name
        known_metrics = PAIR_METRICS if known.truth == "pairs" else {*METRICS, "boundary_f1"}
        assert set(known.metrics) <= set(known_metrics)
        assert set(known.spaces) <= set(SPACES)


# Heights and widths of KITTI's drives.
KITTI_SIZES = [(375, 1242), (370, 1224), (370, 1226), (374, 1238), (376, 1241)]


def shape(slices):
    return tuple((part.start, part.stop) for part in slices)


@pytest.mark.parametrize("size", KITTI_SIZES)
def test_gargs_crop_is_that_of_published_loaders(size):
    height, width = size
    crop = np.array(  # as monodepth2 and ZoeDepth work it out
        [0.40810811 * height, 0.99189189 * height, 0.03594771 * width, 0.96405229 * width]
    ).astype(np.int32)
    for name in ("kitti-eigen-garg", "kitti-metric", "kitti-median"):
        found = protocol(name).crop.slices(height, width)
        assert shape(found) == ((crop[0], crop[1]), (crop[2], crop[3]))


@pytest.mark.parametrize("size", KITTI_SIZES)
def test_eigens_crop_is_that_of_published_loaders(size):
    height, width = size
    found = protocol("kitti-eigen-eigen").crop.slices(height, width)
    assert shape(found) == (
        (int(0.3324324 * height), int(0.91351351 * height)),
        (int(0.0359477 * width), int(0.96405229 * width)),
    )


def test_crops_counted_out():
    """0.99189189 * 370 is a little below 367, 0.03594771 * 1224 a little below 44."""
    assert shape(protocol("kitti-eigen-garg").crop.slices(370, 1224)) == ((151, 366), (43, 1180))
    assert shape(protocol("kitti-eigen-garg").crop.slices(375, 1242)) == ((153, 371), (44, 1197))
    for name in ("nyu-eigen", "nyu-metric", "nyu-affine-depth"):
        crop = protocol(name).crop
        assert shape(crop.slices(480, 640)) == ((45, 471), (41, 601))
        assert shape(crop.slices(240, 320)) == ((22, 235), (20, 300))


def test_protocols_of_one_benchmark_look_at_the_same_pixels():
    for first, *others in (
        ("kitti-eigen-garg", "kitti-metric", "kitti-median"),
        ("nyu-eigen", "nyu-metric", "nyu-affine-depth"),
    ):
        fields = ("split", "images", "only", "crop", "minimum_depth", "maximum_depth", "metrics")
        for other in others:
            for field in fields:
                assert getattr(protocol(other), field) == getattr(protocol(first), field)


@pytest.mark.parametrize(
    ("ref", "preset"),
    [
        ("kitti-eigen-garg@1", presets.KITTI),
        ("nyu-eigen@1", presets.NYU_V2_PNG),
        ("sintel@1", presets.SINTEL),
        ("ddad@1", presets.DDAD_PNG),
        ("eth3d@1", presets.ETH3D),
        ("diode@1", presets.DIODE),
    ],
)
def test_images_are_as_many_as_the_source_has(ref, preset):
    assert protocol(ref).images == preset.images


def test_diode_is_indoors_and_outdoor_by_path():
    whole, indoor, outdoor = (protocol(f"diode{end}@1") for end in ("", "-indoor", "-outdoor"))
    assert indoor.images + outdoor.images == whole.images
    paths = [
        "val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010.png",
        "val/outdoor/scene_00022/scan_00193/00022_00193_outdoor_000_000.png",
        "00019_00183_indoors_000_010.png",  # of a folder further in
        "00022_00193_outdoor_000_000.png",
    ]
    assert [indoor.takes(path) for path in paths] == [True, False, True, False]
    assert [outdoor.takes(path) for path in paths] == [False, True, False, True]
    assert all(whole.takes(path) for path in paths)
    same = dataclasses.replace(whole, name="", description="", split="", images=0, only="")
    for part in (indoor, outdoor):
        part = dataclasses.replace(part, name="", description="", split="", images=0, only="")
        assert part == same


def test_ddad_is_the_front_camera_of_the_validation_scenes():
    ddad = protocol("ddad@1")
    assert ddad.takes("ddad_train_val/000166/rgb/CAMERA_01/15616458266936530.png")
    assert ddad.takes("000199/rgb/CAMERA_01/15616458266936530.png")
    assert ddad.takes("input/0000.jpg")
    for path in ("000149/rgb/CAMERA_01/1.png", "000166/rgb/CAMERA_05/1.png", "1000150/rgb/x.png"):
        assert not ddad.takes(path)


def test_midas_has_a_cap_no_crop_and_depth_alone():
    for name, cap in (("midas", 10), ("midas-kitti", 80), ("midas-sintel", 72)):
        midas = protocol(name)
        assert (midas.maximum_depth, midas.minimum_depth, midas.crop) == (cap, None, None)
        assert (midas.alignment, midas.spaces) == ("affine_disparity", ("depth",))


def test_pairs_have_an_order_and_maps_have_none():
    for known in PROTOCOLS:
        assert (known.spaces == ("order",)) == (known.truth == "pairs")
    assert protocol("da-2k").metrics == ("pair_accuracy",)
    assert protocol("da-2k").equality == 0


def test_descriptions_say_which_tables_do_not_come_out_again():
    for name in ("sintel", "eth3d", "diode"):
        assert "Does not reproduce" in protocol(name).description
    for name in ("kitti-eigen-garg", "nyu-eigen"):
        assert "eproduces" in protocol(name).description

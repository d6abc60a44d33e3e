"""Which files belong together: the usual conventions, and what must not be mistaken for them."""

import pytest

from pipeline.pairing import grouped, name_of

PNG, NPY = frozenset([".png"]), frozenset([".npy"])


@pytest.mark.parametrize(
    ("image", "truth", "suffixes"),
    [
        ("a_rgb.png", "a_depth.png", PNG),
        ("a_rgb.JPG", "a_depth.PNG", PNG),
        ("a.jpg", "a_depth.png", PNG),
        ("a.png", "a_depth.npy", NPY),
        ("a.png", "a.npy", NPY),
        ("rgb/0001.jpg", "depth/0001.png", PNG),
        ("s/rgb/0001.jpg", "s/depth/0001.png", PNG),
        ("rgb/s/0001.jpg", "depth/s/0001.png", PNG),
        ("s/color/0.jpg", "s/depth/0.png", PNG),
        ("imgs/000001.jpg", "gts/000001.png", PNG),
        ("frame-000000.color.png", "frame-000000.depth.png", PNG),
        ("frames/rgb/Camera_0/rgb_00000.jpg", "frames/depth/Camera_0/depth_00000.png", PNG),
        ("P0/image_left/000050_left.png", "P0/depth_left/000050_left_depth.npy", NPY),
        ("scene/rgb.png", "scene/depth.png", PNG),
        ("x/00_indoors_000_010.png", "x/00_indoors_000_010_depth.npy", NPY),
        ("depth/a_rgb.png", "depth/a_depth.png", PNG),
        ("dex-net_4.0_rgb.png", "dex-net_4.0_depth.npy", NPY),
    ],
)
def test_conventions(image, truth, suffixes):
    (group,) = grouped([image, truth], suffixes).values()
    assert group.images == [image]
    assert group.truths == [truth]
    assert group.is_pair


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a_rgb.png", "b_depth.png"),
        ("s1/rgb/1.png", "s2/depth/1.png"),
        ("image_left/1_left.png", "depth_right/1_right_depth.png"),
        ("a_right.png", "a_depth.png"),
        ("10_rgb.png", "1_depth.png"),
    ],
)
def test_strangers(one, other):
    assert not any(group.is_pair for group in grouped([one, other], PNG).values())


@pytest.mark.parametrize(
    ("path", "suffixes", "kind"),
    [
        ("a.png", PNG, "image"),
        ("a.npy", PNG, "other"),
        ("a.npy", NPY, "truth"),
        ("a_depth.npy", PNG, "foreign_truth"),
        ("a_depth.txt", PNG, "foreign_truth"),
        ("depth/a.jpg", PNG, "image"),  # depth is never a JPEG
        ("depth/a.png", PNG, "truth"),
        ("depth/a_rgb.png", PNG, "image"),  # the last word decides
        ("rgb/a_depth.png", PNG, "truth"),
        ("a_vis.png", PNG, "image"),
        ("deptha.png", PNG, "image"),  # part of a word is no word
        ("README", PNG, "other"),
        (".png", PNG, "other"),
    ],
)
def test_what_a_path_says(path, suffixes, kind):
    assert name_of(path, suffixes).kind == kind


def test_two_of_a_kind_are_no_pair():
    groups = grouped(["a.png", "a_rgb.png", "a_depth.png"], PNG)
    assert [group.is_pair for group in groups.values()] == [False]

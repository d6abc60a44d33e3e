"""Folders of images with ground truth: pairs, and what becomes of every other file."""

import io
import os
import shutil
import zipfile
from collections import Counter

import fsspec
import numpy as np
import pytest
from PIL import Image

from pipeline.data_sets import DataSet, read_data_set
from pipeline.errors import SourceError
from pipeline.records import Drop, Geometry, Member

RNG = np.random.default_rng(0)


def photo(width=8, height=6, *, orientation=1) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def depth(width=8, height=6, *, millimetres=1500) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width), millimetres, np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def palette(width=8, height=6) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((height, width), np.uint8)).convert("P").save(buffer, "PNG")
    return buffer.getvalue()


def fill(folder, files):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def read_pairs(uri, truth):
    return read_data_set(DataSet(uri=uri, layout="pairs", truth=truth))


def outcome(item) -> str:
    return item.reason if isinstance(item, Drop) else "member"


def test_pairs_come_with_their_truth_in_the_order_of_names(tmp_path):
    fill(
        tmp_path,
        {
            "b_rgb.jpg": photo(),
            "b_depth.png": depth(millimetres=2500),
            "a_rgb.jpg": (first := photo()),
            "a_depth.png": depth(millimetres=1500),
        },
    )
    items = list(read_pairs(str(tmp_path), "png-mm"))
    assert [item.path for item in items] == ["a_rgb.jpg", "b_rgb.jpg"]
    assert items[0].data == first
    assert items[0].uri == str(tmp_path / "a_rgb.jpg")
    assert items[0].offset == 0
    assert [item.truth.values_HW[0, 0] for item in items] == [1.5, 2.5]
    assert {item.truth.geometry for item in items} == {Geometry.DEPTH_METRIC}


def test_every_file_is_accounted_for(tmp_path):
    good = {"good_rgb.jpg": photo(), "good_depth.png": depth()}
    drops = {
        "alone_rgb.jpg": (photo(), "no_truth"),
        "depth/lost.png": (depth(), "no_image"),
        "._good_depth.png": (b"\0\5\x16\7", "apple_double"),
        "notes.txt": (b"hello", "other_file"),
        "good_depth.npy": (b"\x93NUMPY", "other_truth"),
        "two.png": (photo(), "ambiguous_pair"),
        "two_rgb.png": (photo(), "ambiguous_pair"),
        "two_depth.png": (depth(), "ambiguous_pair"),
    }
    # The truth of these is spent on its image, which is what gets dropped.
    spent = {
        "coloured": (palette(), "not_a_depth_map"),
        "broken": (depth()[:-20], "corrupt_truth"),
        "blank": (depth(millimetres=0), "empty_truth"),
        "cropped": (depth(width=7), "truth_size_mismatch"),
    }
    fill(tmp_path, good | {path: data for path, (data, _) in drops.items()})
    for name, (data, _) in spent.items():
        fill(tmp_path, {f"{name}_rgb.jpg": photo(), f"{name}_depth.png": data})
    items = list(read_pairs(str(tmp_path), "png-mm"))
    expected = {"good_rgb.jpg": "member"} | {path: reason for path, (_, reason) in drops.items()}
    expected |= {f"{name}_rgb.jpg": reason for name, (_, reason) in spent.items()}
    assert {item.path: outcome(item) for item in items} == expected
    assert len(items) == len(expected)


def test_links_are_not_followed(tmp_path):
    fill(tmp_path, {"a_rgb.jpg": photo(), "a_depth.png": depth()})
    os.symlink(tmp_path / "a_depth.png", tmp_path / "b_depth.png")
    items = {item.path: outcome(item) for item in read_pairs(str(tmp_path), "png-mm")}
    assert items == {"a_rgb.jpg": "member", "b_depth.png": "not_a_file"}


@pytest.mark.parametrize(
    ("size", "kept"),
    [((800, 600), True), ((400, 300), True), ((1242, 375), False), ((608, 448), False)],
)
def test_truth_keeps_its_own_size_if_the_shape_is_the_image(tmp_path, size, kept):
    fill(
        tmp_path,
        {
            "a_rgb.jpg": photo(640, 480),
            "a_depth.png": depth(*size),
            "b_rgb.jpg": photo(),
            "b_depth.png": depth(),
        },
    )
    first = next(iter(read_pairs(str(tmp_path), "png-mm")))
    assert isinstance(first, Member) is kept
    if kept:
        assert first.truth.values_HW.shape == size[::-1]
    else:
        assert f"{size[0]} x {size[1]}, the image is 640 x 480" in first.detail


def test_an_image_that_exif_turns_is_dropped(tmp_path):
    fill(tmp_path, {"a_rgb.jpg": photo(orientation=3), "a_depth.png": depth()})
    (item,) = read_pairs(str(tmp_path), "png-mm")
    assert outcome(item) == "truth_orientation"


def test_a_broken_image_is_left_to_those_who_judge_images(tmp_path):
    fill(tmp_path, {"a_rgb.jpg": b"no picture", "a_depth.png": depth()})
    (item,) = read_pairs(str(tmp_path), "png-mm")
    assert item.data == b"no picture"


def test_a_source_without_one_pair_says_what_was_looked_for(tmp_path):
    fill(tmp_path, {"a.jpg": photo(), "b.jpg": photo(), "c_depth.npy": b"", "d_depth.png": depth()})
    looked = r"a_rgb\.png \+ a_depth\.png.*2 images \(a\.jpg …\) and 1 \.png files.*d_depth"
    with pytest.raises(SourceError, match=looked):
        read_pairs(str(tmp_path), "png-mm")


def test_errors_come_before_anything_is_read(tmp_path):
    with pytest.raises(SourceError, match=r"needs --truth, one of png-mm, png-256"):
        read_pairs(str(tmp_path), None)
    with pytest.raises(SourceError, match=r"--truth png-feet is unknown; there are png-mm"):
        read_pairs(str(tmp_path), "png-feet")
    with pytest.raises(SourceError, match="nowhere"):
        read_pairs(str(tmp_path / "nowhere"), "png-mm")
    fill(tmp_path, {"a.zip": b""})
    with pytest.raises(SourceError, match=r"a\.zip has no image with its depth"):
        read_pairs(str(tmp_path / "a.zip"), "png-mm")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_pairs_in_archives_are_those_of_the_folder(tmp_path, kind):
    files = {"rgb/1.jpg": photo(), "depth/1.png": depth(), "notes.txt": b"x", "rgb/2.jpg": photo()}
    fill(tmp_path / "all", files)
    shutil.make_archive(str(tmp_path / "x"), kind, tmp_path / "all")
    expected = {item.path: outcome(item) for item in read_pairs(str(tmp_path / "all"), "png-mm")}
    assert expected == {"rgb/1.jpg": "member", "notes.txt": "other_file", "rgb/2.jpg": "no_truth"}
    packed = list(read_pairs(str(tmp_path / f"x.{kind}"), "png-mm"))
    assert {item.path: outcome(item) for item in packed} == expected


def test_images_and_depth_in_two_zips_of_a_folder(tmp_path):
    (tmp_path / "sets").mkdir()
    for name, data in (("rgb", photo()), ("depth", depth())):
        suffix = {"rgb": "jpg", "depth": "png"}[name]
        with zipfile.ZipFile(tmp_path / "sets" / f"{name}.zip", "w") as archive:
            archive.writestr(f"{name}/1.{suffix}", data)
    outcomes = {item.path: outcome(item) for item in read_pairs(str(tmp_path / "sets"), "png-mm")}
    assert outcomes == {"rgb.zip/rgb/1.jpg": "member"}


def test_a_packed_tar_of_pairs_is_refused_by_name(tmp_path):
    fill(tmp_path / "all", {"a_rgb.jpg": photo(), "a_depth.png": depth()})
    shutil.make_archive(str(tmp_path / "all" / "x"), "gztar", tmp_path / "all")
    outcomes = {item.path: outcome(item) for item in read_pairs(str(tmp_path / "all"), "png-mm")}
    assert outcomes == {"a_rgb.jpg": "member", "x.tar.gz": "unsupported_archive"}


def test_any_fsspec_url():
    memory = fsspec.filesystem("memory")
    memory.pipe({"/pairs/rgb/1.jpg": photo(), "/pairs/depth/1.png": depth()})
    try:
        (item,) = read_pairs("memory://pairs", "png-mm")
    finally:
        memory.rm("/pairs", recursive=True)
    assert item.path == "rgb/1.jpg"
    assert item.uri == "memory://pairs/rgb/1.jpg"
    assert (item.truth.values_HW == 1.5).all()


def test_a_real_collection(shared_data):
    """One folder of many data sets: what reads as 16-bit PNG beside what does not."""
    items = list(read_pairs(str(shared_data / "depth"), "png-relative"))
    by_path = {item.path: item for item in items}
    assert len(by_path) == len(items)
    counts = Counter(outcome(item) for item in items)
    assert counts["member"] == 13
    assert counts["apple_double"] == 1
    assert outcome(by_path["middlebury_png8/cone_rgb.png"]) == "not_a_depth_map"
    assert outcome(by_path["decoy_visualisations/irs_disparity_vis.png"]) == "no_truth"
    assert outcome(by_path["seven_scenes/stairs_seq01_000000.depth.png"]) == "no_image"
    files = sum(len(names) for _, _, names in os.walk(shared_data / "depth"))
    truths_of_images = 13 + counts["not_a_depth_map"]
    assert len(items) == files - truths_of_images


def test_half_size_depth_of_a_real_camera(shared_data):
    (item,) = (
        item
        for item in read_pairs(str(shared_data / "depth/phoxi_npy"), "npy-m")
        if isinstance(item, Member)
    )
    with Image.open(io.BytesIO(item.data)) as image:
        assert (image.width, image.height) == (1032, 772)
    assert item.truth.values_HW.shape == (386, 516)


def test_a_decoy_beside_its_photograph(shared_data, tmp_path):
    decoys = shared_data / "depth/decoy_visualisations"
    fill(
        tmp_path,
        {
            "1_rgb.png": (decoys / "irs_left.png").read_bytes(),
            "1_depth.png": (decoys / "irs_disparity_vis.png").read_bytes(),
        },
    )
    for encoding in ("png-mm", "png8-disparity"):
        (item,) = read_pairs(str(tmp_path), encoding)
        assert outcome(item) == "not_a_depth_map"
        assert "palette" in item.detail

"""Every labelled set and benchmark in its native layout: what is found, read and left out."""

import io
import tarfile
from collections import Counter

import h5py
import numpy as np
import py7zr
import pytest
from PIL import Image

from pipeline.data_sets import DataSet, find_items, is_native, read_item
from pipeline.errors import SourceError
from pipeline.presets import presets
from pipeline.records import Drop, Ignored, Member, Role
from pipeline.sources import load
from tests.native_data_sets import (
    DEPTH,
    KNOWN,
    NATIVE,
    PIXELS,
    PNG,
    ddad,
    diode,
    eth3d,
    kitti,
    picture,
    png16,
    write,
    zipped,
)


def everything(uri: str, layout: str, **options) -> list[Member | Drop | Ignored]:
    data_set = DataSet(uri=uri, layout=layout, **options)
    found = []
    for item in find_items(data_set):
        some = [item] if isinstance(item, Drop | Ignored) else read_item(item, data_set)
        found += [
            each if isinstance(each, Member | Drop | Ignored) else load(each) for each in some
        ]
    return found


def members(found) -> dict[str, Member]:
    made = [item for item in found if isinstance(item, Member)]
    assert len({member.path for member in made}) == len(made)
    return {member.path: member for member in made}


def tarred(files: dict[str, bytes], path) -> None:
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def counted(found) -> dict[str, int]:
    return dict(Counter(item.what for item in found if isinstance(item, Ignored)))


def drops(found) -> dict[str, str]:
    return {item.path: item.reason for item in found if isinstance(item, Drop)}


def test_every_preset_with_truth_is_tried():
    known = presets().values()
    assert set(NATIVE) == {preset.name for preset in known if preset.role != Role.UNLABELLED}


# Where a file has to be read to know what belongs together, nothing can be streamed.
PACKED = [
    (name, packing)
    for name in NATIVE
    for packing in ("folder", "zip", "tar", "tar.gz")
    if packing != "tar.gz" or not presets()[name].index
]


@pytest.mark.parametrize(("name", "packing"), PACKED)
def test_the_native_layout_is_read(name, packing, tmp_path):
    native = NATIVE[name](tmp_path)
    where = tmp_path / "set"
    if packing == "folder":
        write(native.files, where)
    elif packing == "zip":
        zipped(native.files, where / "set.zip")
    else:
        tarred(native.files, where / f"set.{packing}")
    found = everything(str(where), name)
    assert drops(found) == {}
    assert counted(found) == native.ignored
    prefix = "" if packing == "folder" else f"set.{packing}/"
    made = members(found)
    assert set(made) == {prefix + path for path in native.truths}
    for path, wanted in native.truths.items():
        member = made[prefix + path]
        Image.open(io.BytesIO(member.data)).load()
        if wanted is None:
            assert member.truth is None and member.points == ((2, 3, 0, 1, 1),)
            continue
        assert member.truth.geometry is native.geometry
        assert member.truth.values_HW.dtype == np.float32
        np.testing.assert_allclose(member.truth.values_HW, wanted, rtol=3e-3, equal_nan=True)


def test_eth3d_is_read_from_its_two_archives_per_scene(tmp_path):
    native = eth3d(tmp_path)
    where = tmp_path / "set"
    where.mkdir()
    for part, end in (("office_dslr_jpg.7z", "/images/"), ("office_dslr_depth.7z", "/ground")):
        with py7zr.SevenZipFile(where / part, "w") as archive:
            for path, data in native.files.items():
                if end in path:
                    archive.writestr(data, path)
    found = everything(str(where), "eth3d")
    made = members(found)
    assert drops(found) == {} and len(made) == 1
    (wanted,) = native.truths.values()
    np.testing.assert_array_equal(next(iter(made.values())).truth.values_HW, wanted)


@pytest.mark.parametrize("name", ["tartanair", "vkitti2"])
def test_what_is_far_is_sky(name, tmp_path):
    native = NATIVE[name](tmp_path)
    made = members(everything(write(native.files, tmp_path / "set"), name))
    skies = [member.truth.sky_HW.sum() for member in made.values()]
    assert max(skies) == 1 and made[min(made)].truth.sky_HW[0, 0]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("kitti", ("2011_09_26_drive_0002_sync.zip", "data_depth_annotated.zip")),
        ("sintel", ("MPI-Sintel-complete.zip", "MPI-Sintel-depth-training-20150305.zip")),
        ("tartanair", ("image_left.zip", "depth_left.zip")),
        ("vkitti2", ("vkitti_2.0.3_rgb.zip", "vkitti_2.0.3_depth.zip")),
    ],
)
def test_images_and_truth_of_different_archives_are_joined(name, parts, tmp_path):
    native = NATIVE[name](tmp_path)
    images = {path: data for path, data in native.files.items() if path in native.truths}
    others = {path: data for path, data in native.files.items() if path not in native.truths}
    for part, files in zip(parts, (images, others), strict=True):
        zipped(files, tmp_path / "set" / part)
    found = everything(str(tmp_path / "set"), name)
    assert set(members(found)) == {f"{parts[0]}/{path}" for path in native.truths}
    assert drops(found) == {}


def test_blendedmvs_in_two_resolutions_is_two_sets_of_scenes(tmp_path):
    files = NATIVE["blendedmvs"](tmp_path).files
    for name in ("low.zip", "high.zip"):
        zipped(files, tmp_path / "set" / name)
    found = everything(str(tmp_path / "set"), "blendedmvs")
    assert len(members(found)) == 2 and drops(found) == {}


def test_the_full_diml_has_other_names_than_its_samples(tmp_path):
    inside, outside = "2/16.02.02/1", "160319_C1/A"
    indoor = {
        f"{inside}/col/in_k_01_c.png": PNG,
        f"{inside}/up_png/in_k_01_ud.png": png16(DEPTH, 1000),
        f"{inside}/raw_png/in_k_01_d.png": png16(DEPTH, 1000),
        f"{inside}/warp_png/in_k_01_wd.png": png16(DEPTH, 1000),
    }
    outdoor = {
        f"{outside}/left/out_01_left.png": PNG,
        f"{outside}/right/out_01_right.png": PNG,
        f"{outside}/depth/out_01_depth.png": png16(DEPTH, 1000),
        f"{outside}/conf/out_01_conf.png": PNG,
        "160319_C1/out_zed_160319_C1_campara.mat": b"MATLAB",
    }
    for name, files, ignored in (
        ("diml-indoor", indoor, {"other picture": 2}),
        ("diml-outdoor", outdoor, {"other picture": 2, "camera": 1}),
    ):
        found = everything(write(files, tmp_path / name), name)
        assert drops(found) == {} and counted(found) == ignored
        (member,) = members(found).values()
        np.testing.assert_allclose(member.truth.values_HW, KNOWN, rtol=1e-3)


def test_an_error_says_what_was_expected_of_the_first_and_what_the_list_left_out(tmp_path):
    files = NATIVE["kitti"](tmp_path).files
    images = {path: data for path, data in files.items() if "proj_depth" not in path}
    with pytest.raises(SourceError, match=r"no_truth: .*<drive>/proj_depth/.*<frame>\.png"):
        everything(write(images, tmp_path / "raw"), "kitti")
    names = tmp_path / "names.txt"
    names.write_text("kitti/2011_09_26/0000000069.png\n")
    data_set = DataSet(uri=write(files, tmp_path / "whole"), layout="kitti", split=str(names))
    with pytest.raises(SourceError, match=r"not on the list, such as .*/data/0000000069\.png"):
        list(find_items(data_set))


def test_what_native_code_opens_is_said(tmp_path):
    opened = {}
    for name, make in NATIVE.items():
        where = tmp_path / name
        where.mkdir()
        data_set = DataSet(uri=write(make(where).files, where / "set"), layout=name)
        items = [item for item in find_items(data_set) if not isinstance(item, Drop | Ignored)]
        opened[name] = {is_native(item, data_set) for item in items}
    native = {name for name, answers in opened.items() if answers == {True}}
    assert native == {
        "irs", "megadepth", "hypersim", "nyu-v2", "nyu-v2-raw", "nyu-v2-h5",
    }  # fmt: skip
    assert all(len(answers) == 1 for answers in opened.values())


def test_the_lines_of_a_list_without_ground_truth_give_no_image(tmp_path):
    """KITTI's list of 697 has 45 such lines, so that 652 are scored."""
    native = kitti(tmp_path)
    image = next(iter(native.truths))
    bare = image.replace("0000000069", "0000000001")
    left_out = image.replace("0000000069", "0000000002")
    files = native.files | {bare: PNG, left_out: PNG}
    lines = f"{image} {image} 721.5377\n{bare} None 721.5377\n"
    split = tmp_path / "eigen_test_files_with_gt.txt"
    split.write_text(lines)
    found = everything(write(files, tmp_path / "set"), "kitti", split=str(split))
    assert list(members(found)) == [image]
    assert drops(found) == {bare: "no_truth"}
    assert counted(found)["not in split"] == 1


def test_metres_of_kitti_are_not_thousandths(tmp_path):
    native = kitti(tmp_path)
    (member,) = members(everything(write(native.files, tmp_path / "set"), "kitti")).values()
    assert np.nanmax(member.truth.values_HW) == 24.0


def test_colour_pictures_in_the_place_of_depth_are_refused(tmp_path):
    native = kitti(tmp_path)
    truth = next(path for path in native.files if "groundtruth" in path)
    found = everything(write(native.files | {truth: PNG}, tmp_path / "set"), "kitti")
    assert list(drops(found).values()) == ["not_a_depth_map"]


def test_diode_without_a_mask_and_other_spellings_are_refused(tmp_path):
    native = diode(tmp_path)
    files = dict(native.files)
    for path, data in native.files.items():
        files[path.replace("_outdoor_", "_outdoors_")] = data
        if "_indoors_" in path and "_mask" not in path:
            files[path.replace("scan_00012/00001_00012", "scan_00013/00001_00013")] = data
    found = everything(write(files, tmp_path / "set"), "diode")
    assert set(members(found)) == set(native.truths)
    reasons = Counter(drops(found).values())
    assert reasons == {"no_mask": 1, "other_file": 3}


def test_eth3d_depth_of_another_size_than_its_image_is_refused(tmp_path):
    native = eth3d(tmp_path)
    image = next(iter(native.truths))
    small = picture(PIXELS[:, :3], "JPEG")
    found = everything(write(native.files | {image: small}, tmp_path / "set"), "eth3d")
    assert drops(found) == {image: "corrupt_truth"}


def test_a_sweep_that_is_lost_costs_its_pictures_and_no_others(tmp_path):
    native = ddad(tmp_path)
    files = dict(native.files)
    del files["000150/point_cloud/LIDAR/100.npz"]
    other = {f"{path.replace('000150', '000151')}": data for path, data in native.files.items()}
    found = everything(write(files | other, tmp_path / "set"), "ddad")
    assert set(drops(found).values()) == {"no_truth"} and len(drops(found)) == 2
    assert set(members(found)) == {path.replace("000150", "000151") for path in native.truths}


SAMPLES = {
    "blendedmvs": ("containers/blendedmvs", "rendered_depth_maps/00000000.pfm"),
    "diml-indoor": ("containers/diml_indoor", "in_1_depth_filled.png"),
    "hrwsi": ("containers/hrwsi", "gts/000001.png"),
    "megadepth": ("containers/megadepth", "depths/a.h5"),
    "vkitti2": ("containers/vkitti2", "depth_00000.png"),
    "nyu-v2": ("containers/nyu_labeled", "nyu_depth_v2_labeled_mini.mat"),
    "nyu-v2-h5": ("containers/nyu_h5", "00001.h5"),
    "sintel": ("containers/sintel", "frame_0001.dpt"),
    "ddad-png": ("containers/ddad_projected", "gt_depth/15569195938415230.png"),
    "eth3d": ("containers/eth3d_mvs", "ground_truth_depth/dslr_images/DSC_0001.JPG"),
    "eth3d-two-view": ("containers/eth3d_two_view", "disp0GT.pfm"),
    "diode": ("containers/diode", "_010_depth.npy"),
    "tartanair": ("depth/tartanair", "P0/depth_left/000050_left_depth.npy"),
    "irs": ("containers/irs", "d_00001.exr"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_have_the_figures_of_the_manifest(name, shared_data):
    folder, end = SAMPLES[name]
    manifest = (shared_data / "MANIFEST.md").read_text(encoding="utf-8").splitlines()
    (row,) = (
        line for line in manifest if line.startswith(f"| {folder}/") and f"{end} |" in line[:160]
    )
    words = row.split("decoded ")[-1].replace("%", "").split()
    size = [int(number) for number in words[0].split("x")]
    valid, low, middle, high = (
        float(words[words.index(word) + 1].strip(",")) for word in ("valid", "min", "med", "max")
    )
    if name == "irs":  # the manifest gives pixels, this gives metres of a camera of 480 px, 0.1 m
        low, middle, high = 48 / high, 48 / middle, 48 / low
    (member,) = members(everything(str(shared_data / folder), name)).values()
    values = member.truth.values_HW
    assert values.shape == (size[1], size[0])
    assert 100 * np.isfinite(values).mean() == pytest.approx(valid, abs=0.06)
    figures = [np.nanmin(values), np.nanmedian(values), np.nanmax(values)]
    np.testing.assert_allclose(figures, [low, middle, high], rtol=6e-3)


def test_the_hypersim_sample_is_a_distance_along_rays(shared_data, tmp_path):
    """The file is real; its picture is not there, so that a grey one stands for it."""
    depth = shared_data / "depth/hypersim/ai_037_002_frame.0000.depth_meters.hdf5"
    images = "ai_037_002/images/scene_cam_00"
    image = f"{images}_final_preview/frame.0000.tonemap.jpg"
    files = {
        image: picture(np.zeros((768, 1024, 3), np.uint8), "JPEG"),
        f"{images}_geometry_hdf5/frame.0000.depth_meters.hdf5": depth.read_bytes(),
    }
    (member,) = members(everything(write(files, tmp_path / "set"), "hypersim")).values()
    with h5py.File(depth) as file:
        rays = file["dataset"][:].astype(np.float64)
    share = member.truth.values_HW / rays
    assert np.allclose(share[383:385, 511:513], 1, atol=1e-3), "straight ahead they are the same"
    corner = 1 / np.sqrt(1 + np.tan(np.radians(30)) ** 2 * (1 + 0.75**2))
    assert share[0, 0] == pytest.approx(corner, abs=1e-3)
    np.testing.assert_allclose([rays.min(), rays.max()], [2.96, 13.2], rtol=3e-3)


@pytest.mark.parametrize(("frame", "figures"), [(5, [5.33, 13.8, 84.9]), (50, [5.2, 13.4, 83.2])])
def test_real_frames_of_kitti_in_their_places(frame, figures, shared_data, tmp_path):
    drive = "2011_09_26_drive_0002_sync"
    name = f"{frame:010}"
    real = shared_data / "depth/kitti"
    files = {
        f"2011_09_26/{drive}/image_02/data/{name}.png": (real / f"{name}_rgb.png").read_bytes(),
        f"train/{drive}/proj_depth/groundtruth/image_02/{name}.png": (
            real / f"{name}_depth.png"
        ).read_bytes(),
    }
    (member,) = members(everything(write(files, tmp_path / "set"), "kitti")).values()
    values = member.truth.values_HW
    assert values.shape == (375, 1242) and 0.19 < np.isfinite(values).mean() < 0.21
    found = [np.nanmin(values), np.nanmedian(values), np.nanmax(values)]
    np.testing.assert_allclose(found, figures, rtol=6e-3)


def test_the_real_scene_of_ddad_gives_nine_pictures(shared_data):
    found = everything(str(shared_data / "depth/ddad_dgp"), "ddad")
    made = members(found)
    assert len(made) == 9 and drops(found) == {}
    for member in made.values():
        values = member.truth.values_HW
        assert values.shape == (1216, 1936)
        assert 0.001 < np.isfinite(values).mean() < 0.01
        assert np.nanmin(values) > 1 and np.nanmax(values) < 240


def test_the_sample_of_da_2k_has_its_pairs(shared_data):
    made = members(everything(str(shared_data / "containers/da2k"), "da-2k"))
    assert {path: len(member.points) for path, member in made.items()} == {
        "images/indoor/a.jpg": 10,
        "images/outdoor/b.jpg": 10,
    }

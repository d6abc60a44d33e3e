"""Data sets become items that can be read by themselves; in whatever packing, the same samples."""

import io
import os
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from pipeline.data_sets import DataSet, find_items, is_native, read_data_set, read_item
from pipeline.errors import SourceError
from pipeline.parts import Sample
from pipeline.raw_files import FoundFile
from pipeline.records import Drop, Ignored, Member
from pipeline.sources import load
from pipeline.streamed_joins import Bundle
from tests.archives import tar, zipped

Files = dict[str, bytes]


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def jpg(seed: int, size: tuple[int, int] = (6, 8)) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def depth(value: int) -> bytes:
    return png(np.full((6, 8), value, np.uint16))


def vkitti(scene: int, frame: int) -> Files:
    at = f"Scene{scene:02d}/clone/frames"
    return {
        f"{at}/rgb/Camera_0/rgb_{frame:05d}.jpg": jpg(100 * scene + frame),
        f"{at}/depth/Camera_0/depth_{frame:05d}.png": depth(100 * frame + 100),
    }


VKITTI = {path: data for frame in range(3) for path, data in vkitti(1, frame).items()}


def written(root: Path, files: Files) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def seven(files: Files) -> bytes:
    py7zr = pytest.importorskip("py7zr")
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(data, name)
    return buffer.getvalue()


def packings(files: Files) -> dict[str, bytes]:
    return {
        "x.tar": tar(files),
        "x.zip": zipped(files),
        "stored.zip": zipped(files, zipfile.ZIP_STORED),
        "x.tar.gz": tar(files, "w:gz"),
        "nested.zip": zipped({"inner.tar": tar(files)}),
        "tars.tar": tar({"inner.tar": tar(files)}),
    }


def outcomes(uri: Path | str, layout: str, **options) -> dict[str, str]:
    found = read_data_set(DataSet(uri=str(uri), layout=layout, **options))
    return {item.path: outcome(item) for item in found}


def outcome(item: Member | Drop | Ignored) -> str:
    if isinstance(item, Member):
        return "image" if item.truth is None else f"{np.nanmax(item.truth.values_HW):.2f} m"
    return item.reason if isinstance(item, Drop) else f"({item.what})"


EXPECTED = {
    f"Scene01/clone/frames/rgb/Camera_0/rgb_{frame:05d}.jpg": f"{frame + 1:.2f} m"
    for frame in range(3)
}


@pytest.mark.parametrize("name", sorted(packings({})))
def test_the_same_samples_in_every_packing(tmp_path, name):
    (tmp_path / name).write_bytes(packings(VKITTI)[name])
    inside = "inner.tar/" if name in ("nested.zip", "tars.tar") else ""
    assert outcomes(tmp_path / name, "vkitti2") == {
        inside + path: told for path, told in EXPECTED.items()
    }
    assert outcomes(tmp_path, "vkitti2") == {
        f"{name}/{inside}{path}": told for path, told in EXPECTED.items()
    }


def test_the_same_samples_in_a_7z(tmp_path):
    (tmp_path / "x.7z").write_bytes(seven(VKITTI))
    assert outcomes(tmp_path / "x.7z", "vkitti2") == EXPECTED


def test_a_folder(tmp_path):
    files = VKITTI | {"Scene01/clone/frames/rgb/Camera_0/._rgb_00000.jpg": b"\0\5\x16\7"}
    written(tmp_path, files | {"readme.txt": b"", "stray.jpg": jpg(1), "disc.iso": b""})
    assert outcomes(tmp_path, "vkitti2") == EXPECTED | {
        "Scene01/clone/frames/rgb/Camera_0/._rgb_00000.jpg": "apple_double",
        "readme.txt": "(text)",
        "stray.jpg": "other_file",
        "disc.iso": "unsupported_archive",
    }


@pytest.mark.parametrize("packer", [tar, zipped, lambda files: tar(files, "w:gz"), seven])
def test_images_in_one_archive_and_truth_in_another(tmp_path, packer):
    names = {tar: "tar", zipped: "zip", seven: "7z"}
    suffix = names.get(packer, "tar.gz")
    for kind in ("rgb", "depth"):
        files = {path: data for path, data in VKITTI.items() if f"/{kind}/" in path}
        (tmp_path / f"vkitti_{kind}.{suffix}").write_bytes(packer(files))
    assert outcomes(tmp_path, "vkitti2") == {
        f"vkitti_rgb.{suffix}/{path}": told for path, told in EXPECTED.items()
    }


def test_kitti_drives_and_their_depth_in_archives_of_their_own(tmp_path):
    drive = "2011_09_26_drive_0002_sync"
    raw = {f"2011_09_26/{drive}/image_02/data/{n:010d}.png": png(np.full((6, 8, 3), n, np.uint8))
           for n in (5, 6)}  # fmt: skip
    raw |= {f"2011_09_26/{drive}/image_00/data/0000000005.png": depth(1)}
    truth = {f"train/{drive}/proj_depth/groundtruth/image_02/{n:010d}.png": depth(256 * n)
             for n in (5, 7)}  # fmt: skip
    (tmp_path / f"{drive}.zip").write_bytes(zipped(raw))
    (tmp_path / "data_depth_annotated.zip").write_bytes(zipped(truth))
    at = f"{drive}.zip/2011_09_26/{drive}"
    assert outcomes(tmp_path, "kitti") == {
        f"{at}/image_02/data/0000000005.png": "5.00 m",
        f"{at}/image_02/data/0000000006.png": "no_truth",
        f"{at}/image_00/data/0000000005.png": "(grey camera)",
        f"data_depth_annotated.zip/train/{drive}/proj_depth/groundtruth/image_02/0000000007.png":
        "no_image",
    }  # fmt: skip
    (tmp_path / "eigen.txt").write_text(
        f"2011_09_26/{drive}/image_02/data/0000000005.png x.png 721.5\n"
        f"2011_09_26/{drive}/image_02/data/0000000009.png None 721.5\n"
    )
    found = outcomes(tmp_path, "kitti", split=str(tmp_path / "eigen.txt"))
    assert found[f"{at}/image_02/data/0000000005.png"] == "5.00 m"
    assert found[f"{at}/image_02/data/0000000006.png"] == "(not in split)"
    assert found[f"2011_09_26/{drive}/image_02/data/0000000009.png"] == "missing"


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "folder"])
def test_a_list_of_images_without_ground_truth(tmp_path, name):
    files = {f"{kind}/{n}.jpg": jpg(n) for kind in "ab" for n in (1, 2)}
    if name == "folder":
        written(tmp_path / name, files)
    else:
        (tmp_path / name).write_bytes(packings(files)[name])
    (tmp_path / "list.txt").write_text("b/1.jpg\nb/3.jpg\n")
    found = outcomes(tmp_path / name, "auto", split=str(tmp_path / "list.txt"))
    assert found == {
        "a/1.jpg": "(not in split)",
        "a/2.jpg": "(not in split)",
        "b/1.jpg": "image",
        "b/2.jpg": "(not in split)",
        "b/3.jpg": "missing",
    }


def test_what_is_ignored_in_archives_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "sa_000000.tar").write_bytes(tar({"sa_1.jpg": jpg(1), "sa_1.json": b"{" * 9999}))
    from pipeline.archives import Entry

    read = Entry.read
    opened = []
    monkeypatch.setattr(Entry, "read", lambda entry: (opened.append(entry.name), read(entry))[1])
    found = outcomes(tmp_path, "sa-1b")
    assert found == {
        "sa_000000.tar/sa_1.jpg": "image",
        "sa_000000.tar/sa_1.json": "(annotations)",
    }
    assert opened == ["sa_1.jpg"]


def test_nothing_of_the_data_set_is_said_with_what_was_expected(tmp_path):
    written(tmp_path, {"a.jpg": jpg(1)})
    with pytest.raises(SourceError, match=r"no image of vkitti2 .* expected .*a\.jpg \(other_file"):
        find_items(DataSet(uri=str(tmp_path), layout="vkitti2"))
    with pytest.raises(SourceError, match="there is nothing at"):
        find_items(DataSet(uri=str(tmp_path / "gone"), layout="vkitti2"))


def test_items_travel_and_know_when_they_change(tmp_path):
    written(tmp_path / "all", VKITTI)
    (tmp_path / "all" / "more.zip").write_bytes(zipped(vkitti(2, 0)))
    (tmp_path / "all" / "more.tar.gz").write_bytes(tar(vkitti(3, 0), "w:gz"))
    data_set = DataSet(uri=str(tmp_path / "all"), layout="vkitti2")
    items = list(find_items(data_set))
    assert [type(item) for item in items] == [Sample] * 4 + [Bundle]
    assert pickle.loads(pickle.dumps((data_set, items))) == (data_set, items)
    assert all(item.version and item.bytes and item.path for item in items)
    assert list(find_items(data_set)) == items
    os.utime(tmp_path / "all" / "more.zip", ns=(1, 1))
    changed = [old.path for old, new in zip(items, find_items(data_set), strict=True) if old != new]
    assert changed == ["more.zip/Scene02/clone/frames/rgb/Camera_0/rgb_00000.jpg"]


def test_members_that_lie_as_they_are_say_where(tmp_path):
    (tmp_path / "x.tar").write_bytes(tar(VKITTI))
    (tmp_path / "x.tar.gz").write_bytes(tar(vkitti(2, 0), "w:gz"))
    found = list(read_data_set(DataSet(uri=str(tmp_path), layout="vkitti2")))
    for member in found[:3]:
        whole = Path(member.uri).read_bytes()
        assert whole[member.offset :].startswith(member.data)
    assert found[3].offset is None


def test_a_file_that_is_gone_or_damaged_since_it_was_listed(tmp_path):
    written(tmp_path, VKITTI)
    data_set = DataSet(uri=str(tmp_path), layout="vkitti2")
    first, second, third = find_items(data_set)
    Path(first.truth[0].uri).unlink()
    Path(second.truth[0].uri).write_bytes(b"no PNG" + bytes(second.truth[0].size - 6))
    found = [load(each) for item in (first, second, third) for each in read_item(item, data_set)]
    assert [outcome(item) for item in found] == ["unreadable", "corrupt_truth", "3.00 m"]
    assert "depth_00001.png" in found[1].detail


def test_what_native_code_opens():
    def native(path: str, layout: str = "auto") -> bool:
        return is_native(FoundFile(path, f"/d/{path}", 1), DataSet(uri="/d", layout=layout))

    assert native("a.parquet") and native("a.mp4") and native("a.7z")
    assert not native("a.jpg") and not native("a.tar") and not native("data.mdb")
    assert native("videos.zip", "bdd100k-videos") and not native("images.zip", "bdd100k")
    assert native("00001.h5", "nyu-v2-h5")


def test_the_same_images_loose_and_in_a_folder_of_archives(tmp_path):
    """Paths in archives that were named begin inside of them."""
    files = {f"{n}.jpg": jpg(n) for n in range(3)}
    written(tmp_path / "a", files)
    shutil.make_archive(str(tmp_path / "b"), "tar", tmp_path / "a")
    loose = outcomes(tmp_path / "a", "auto")
    assert loose == dict.fromkeys(files, "image")
    assert {path: told for path, told in outcomes(tmp_path / "b.tar", "auto").items()} == loose


@pytest.mark.parametrize("n", [1, 50, 130])
def test_procedural_scenes_come_in_runs(n, monkeypatch):
    from pipeline import synthetic

    monkeypatch.setattr(synthetic, "synthetic_member", lambda kind, index, **options: index)
    data_set = DataSet(uri=f"synthetic://mixed?n={n}&seed=3&width=64&height=64")
    items = list(find_items(data_set))
    assert [index for item in items for index in read_item(item, data_set)] == list(range(n))
    assert len(items) == -(-n // 50) and len({item.path for item in items}) == len(items)
    assert not any(is_native(item, data_set) for item in items)


@pytest.mark.parametrize(
    ("layout", "library"), [("irs", "OpenEXR"), ("nyu-v2", "h5py"), ("bdd100k-videos", "av")]
)
def test_a_library_that_is_missing_is_told_before_anything_is_read(
    tmp_path, monkeypatch, layout, library
):
    monkeypatch.setitem(sys.modules, library, None)
    told = rf"{library}, .*pip install 'pseudo-label-factory\[sources\]'"
    with pytest.raises(SourceError, match=told):
        find_items(DataSet(uri=str(tmp_path), layout=layout))


def test_a_7z_of_a_known_set_needs_its_library(tmp_path, monkeypatch):
    (tmp_path / "x.7z").write_bytes(b"7z")
    monkeypatch.setitem(sys.modules, "py7zr", None)
    with pytest.raises(SourceError, match=r"py7zr, .*pip install"):
        find_items(DataSet(uri=str(tmp_path), layout="eth3d"))
    (tmp_path / "a.jpg").write_bytes(jpg(1))
    assert outcomes(tmp_path, "auto") == {"a.jpg": "image", "x.7z": "missing_library"}


@pytest.mark.parametrize("name", ["x.tar.gz", "x.zip"])
def test_a_list_and_streamed_archives(tmp_path, name):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / name).write_bytes(packings(VKITTI)[name])
    first, last = (f"Scene01/clone/frames/rgb/Camera_0/rgb_0000{n}.jpg" for n in (0, 9))
    (tmp_path / "list.txt").write_text(f"{first}\n{last}\n")
    split = str(tmp_path / "list.txt")
    found = outcomes(tmp_path / "all", "vkitti2", split=split)
    told = sorted(found.values())
    assert told == ["(not in split)"] * 4 + ["1.00 m", "missing"]  # two images and their depth
    assert found[last] == "missing" and found[f"{name}/{first}"] == "1.00 m"


def test_what_is_missing_is_told_only_where_one_reader_sees_all(tmp_path):
    written(tmp_path / "all", vkitti(1, 0))
    (tmp_path / "all" / "more.tar.gz").write_bytes(tar(vkitti(2, 0), "w:gz"))
    (tmp_path / "list.txt").write_text("".join(
        f"Scene{scene:02d}/clone/frames/rgb/Camera_0/rgb_00000.jpg\n" for scene in (1, 2)
    ))  # fmt: skip
    found = outcomes(tmp_path / "all", "vkitti2", split=str(tmp_path / "list.txt"))
    assert sorted(found.values()) == ["1.00 m", "1.00 m"]


def test_a_list_of_pairs(tmp_path):
    files = {"rgb/1.jpg": jpg(1), "depth/1.png": depth(500), "rgb/2.jpg": jpg(2),
             "depth/2.png": depth(500), "rgb/3.jpg": jpg(3), "depth/4.png": depth(1)}  # fmt: skip
    written(tmp_path / "all", files)
    (tmp_path / "list.txt").write_text("rgb/1.jpg\nrgb/5.jpg\n")
    options = {"truth": "png-mm", "split": str(tmp_path / "list.txt")}
    assert outcomes(tmp_path / "all", "pairs", **options) == {
        "rgb/1.jpg": "0.50 m",
        "rgb/2.jpg": "(not in split)",
        "rgb/3.jpg": "(not in split)",
        "depth/4.png": "no_image",
        "rgb/5.jpg": "missing",
    }


def test_a_known_data_set_in_a_bucket():
    memory = fsspec.filesystem("memory")
    depths = {path: data for path, data in VKITTI.items() if "/depth/" in path}
    images = {path: data for path, data in VKITTI.items() if "/rgb/" in path}
    memory.pipe({"/known/rgb.tar": tar(images), "/known/depth.zip": zipped(depths)})
    memory.pipe({"/known/more.tar.gz": tar(vkitti(2, 0), "w:gz")})
    try:
        found = list(read_data_set(DataSet(uri="memory://known", layout="vkitti2")))
    finally:
        memory.rm("/known", recursive=True)
    told = {item.path: outcome(item) for item in found}
    assert told == {f"rgb.tar/{path}": expected for path, expected in EXPECTED.items()} | {
        "more.tar.gz/Scene02/clone/frames/rgb/Camera_0/rgb_00000.jpg": "1.00 m"
    }
    assert found[0].uri == "memory://known/rgb.tar" and found[0].offset is not None


def test_links_are_not_followed_and_hostile_names_stay_inside(tmp_path):
    written(tmp_path / "all", vkitti(1, 0))
    secret = tmp_path / "secret.png"
    secret.write_bytes(depth(900))
    folder = tmp_path / "all" / "Scene01/clone/frames"
    (folder / "rgb/Camera_0/rgb_00001.jpg").symlink_to(secret)
    (folder / "depth/Camera_0/depth_00001.png").symlink_to(secret)
    climbing = {f"../../../{path}": data for path, data in vkitti(2, 0).items()}
    (tmp_path / "all" / "x.tar").write_bytes(tar(climbing))
    (tmp_path / "all" / "y.tar.gz").write_bytes(tar(climbing | vkitti(3, 0), "w:gz"))
    told = outcomes(tmp_path / "all", "vkitti2")
    assert sorted(told.values()) == ["1.00 m"] * 4 + ["not_a_file"] * 2
    assert not any(".." in path for path in told)

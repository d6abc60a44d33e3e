"""The unlabelled sets in their native archives: what is found, read, ignored and dropped."""

import gzip
import hashlib
import io
import shutil
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import fsspec
import lmdb
import numpy as np
import pytest
from PIL import Image

from pipeline import remote_files, sources
from pipeline.data_sets import DataSet, find_items, read_item
from pipeline.filters import ImageLimits, Refusal, examine
from pipeline.records import Drop, Ignored, Member
from pipeline.sources import load
from tests.archives import tar, zipped

LIMITS = ImageLimits()


def picture(number: int, format_: str = "JPEG", mode: str = "RGB") -> bytes:
    """No two of them are alike."""
    pixels = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format_)
    return buffer.getvalue()


def lsun(folder: Path, values: dict[str, bytes]) -> bytes:
    with lmdb.open(str(folder), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for key, data in values.items():
            transaction.put(key.encode(), data)
    return (folder / "data.mdb").read_bytes()


def everything(uri: Path | str, layout: str, **options) -> list[Member | Drop | Ignored]:
    data_set = DataSet(uri=str(uri), layout=layout, **options)
    found = []
    for item in find_items(data_set):
        whole = [item] if isinstance(item, Drop | Ignored) else read_item(item, data_set)
        found += [each if isinstance(each, Ignored) else load(each) for each in whole]
    return found


def members(found) -> dict[str, bytes]:
    named = {item.path: item.data for item in found if isinstance(item, Member)}
    assert len(named) == sum(isinstance(item, Member) for item in found), "paths are unique"
    return named


def others(found) -> Counter[str]:
    """What was not read, by drop reason or what it was ignored as."""
    kinds = [item for item in found if not isinstance(item, Member)]
    return Counter(item.reason if isinstance(item, Drop) else item.what for item in kinds)


# What the sample archives hold, and how many of it are images.
SAMPLES = {
    "bdd100k": ("bdd100k", 3, {}),
    "google-landmarks-v2": ("gldv2", 3, {}),
    "imagenet-21k": ("imagenet21k", 4, {}),
    "lsun": ("lsun", 4, {"lock": 1}),
    "objects365": ("objects365", 3, {}),
    "open-images-v7": ("openimages", 3, {}),
    "places365": ("places365", 3, {}),
    "sa-1b": ("sa1b", 4, {"annotations": 4}),
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("is_named", [False, True], ids=["folder", "archive"])
def test_the_sample_archives(shared_data, name, is_named):
    folder, count, rest = SAMPLES[name]
    uri = shared_data / "containers" / "unlabelled" / folder
    if is_named:
        (uri,) = uri.iterdir()
    found = everything(uri, name)
    images = members(found)
    assert len(images) == count and others(found) == rest
    for path, data in images.items():
        assert not isinstance(examine(data, limits=LIMITS), Refusal), path


def test_bdd100k_takes_both_sets_of_images_the_one_is_no_part_of_the_other(tmp_path):
    name = "bd94bd57-2f7cb6ad.jpg"
    large, small = picture(1), picture(2)
    (tmp_path / "bdd100k_images_100k.zip").write_bytes(
        zipped({f"bdd100k/images/100k/train/{name}": large, "bdd100k/labels/a.json": b"{}"})
    )
    (tmp_path / "bdd100k_images_10k.zip").write_bytes(
        zipped({f"bdd100k/images/10k/train/{name}": small, "bdd100k/images/10k/notes.txt": b""})
    )
    found = everything(tmp_path, "bdd100k")
    assert members(found) == {
        f"bdd100k_images_100k.zip/bdd100k/images/100k/train/{name}": large,
        f"bdd100k_images_10k.zip/bdd100k/images/10k/train/{name}": small,
    }
    assert others(found) == {"annotations": 1, "other_file": 1}


def test_landmarks_are_named_by_whole_ids_not_by_their_short_folders(tmp_path):
    files = {f"0/0/{digit}/00{digit}0a08541a4821e.jpg": picture(digit) for digit in range(3)}
    (tmp_path / "images_000.tar").write_bytes(tar(files))
    (tmp_path / "train_attribution.csv").write_text("id,url,author,license,title\n")
    found = everything(tmp_path, "google-landmarks-v2")
    assert members(found) == {f"images_000.tar/{path}": data for path, data in files.items()}
    assert others(found) == {"table": 1}


def test_imagenet_is_a_tar_of_tars_with_other_formats_named_jpeg(tmp_path):
    """A PNG and an image in CMYK were seen among the .JPEG files; both are images."""
    inner = {
        "n00000001_1.JPEG": picture(1),
        "n00000001_2.JPEG": picture(2, "PNG"),
        "n00000001_3.JPEG": picture(3, mode="CMYK"),
    }
    second = {"n00000002_1.JPEG": picture(4), "README": b"stray"}
    (tmp_path / "fall11_whole.tar").write_bytes(
        tar({"n00000001.tar": tar(inner), "n00000002.tar": tar(second)})
    )
    found = everything(tmp_path, "imagenet-21k")
    images = members(found)
    assert sorted(images) == [
        *(f"fall11_whole.tar/n00000001.tar/{name}" for name in sorted(inner)),
        "fall11_whole.tar/n00000002.tar/n00000002_1.JPEG",
    ]
    assert others(found) == {"other_file": 1}
    headers = [examine(data, limits=LIMITS) for data in images.values()]
    assert not any(isinstance(header, Refusal) for header in headers)
    assert Counter(header.format for header in headers) == {"JPEG": 3, "PNG": 1}
    for item in found:  # in place, whatever it is inside of
        if isinstance(item, Member):
            assert item.offset is not None
            whole = Path(item.uri).read_bytes()
            assert whole[item.offset : item.offset + len(item.data)] == item.data


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, None])
def test_lsun_from_a_zip_or_the_folder_in_it_keeps_keys_and_bytes(tmp_path, packing, monkeypatch):
    """The README says JPEG, the tools write WebP: both come as they are."""
    formats = {0: "WEBP", 1: "JPEG", 2: "WEBP"}
    values = {
        hashlib.sha1(bytes([number])).hexdigest(): picture(number, format_)
        for number, format_ in formats.items()
    }
    (tmp_path / "made").mkdir()
    data = lsun(tmp_path / "made", values)
    folder = tmp_path / "set"
    folder.mkdir()
    if packing is None:
        shutil.move(tmp_path / "made", folder / "bedroom_val_lmdb")
        prefix = "bedroom_val_lmdb/data.mdb"
    else:
        files = {"bedroom_val_lmdb/data.mdb": data, "bedroom_val_lmdb/lock.mdb": bytes(8192)}
        (folder / "bedroom_val_lmdb.zip").write_bytes(zipped(files, packing))
        prefix = "bedroom_val_lmdb.zip/bedroom_val_lmdb/data.mdb"
    copied = []
    copy = sources.random_access
    monkeypatch.setattr(sources, "random_access", lambda stream: copied.append(1) or copy(stream))
    found = everything(folder, "lsun")
    assert members(found) == {f"{prefix}/{key}": value for key, value in values.items()}
    assert len(copied) == (packing == zipfile.ZIP_DEFLATED)
    assert others(found) == {"lock": 1}
    headers = [examine(value, limits=LIMITS) for value in members(found).values()]
    assert {header.format for header in headers} == {"WEBP", "JPEG"}


def test_lsun_from_elsewhere_is_copied_once_and_not_asked_for_value_by_value(tmp_path, monkeypatch):
    values = {f"{number:040x}": picture(number, "WEBP") for number in range(40)}
    bucket = fsspec.filesystem("memory")
    bucket.pipe_file("/lsun/tower_val_lmdb/data.mdb", lsun(tmp_path, values))
    asked = []
    fetch = remote_files.exact_reads

    def counted(file):
        read = fetch(file)
        return lambda start, end: asked.append(start) or read(start, end)

    monkeypatch.setattr("pipeline.remote_files.exact_reads", counted)
    found = members(everything("memory://lsun", "lsun"))
    bucket.rm("/lsun", recursive=True)
    assert {path.rpartition("/")[2]: data for path, data in found.items()} == values
    assert len(asked) < 5


def test_objects365_in_patches_of_packed_tars(tmp_path):
    for number in range(2):
        name = f"patch{number}/objects365_v1_{number:08d}.jpg"
        packed = gzip.compress(tar({name: picture(number)}))
        (tmp_path / f"patch{number}.tar.gz").write_bytes(packed)
    (tmp_path / "zhiyuan_objv2_train.json").write_bytes(b"not even json")
    found = everything(tmp_path, "objects365")
    assert list(members(found)) == [
        "patch0.tar.gz/patch0/objects365_v1_00000000.jpg",
        "patch1.tar.gz/patch1/objects365_v1_00000001.jpg",
    ]
    assert others(found) == {"annotations": 1}


def test_open_images_with_pages_of_dead_links_named_jpg(tmp_path):
    page = b"<!DOCTYPE html><html><body>This photo is no longer available</body></html>"
    files = {"train_0/8aca555dbea7c209.jpg": picture(1), "train_0/09ee36708e79bd56.jpg": page}
    (tmp_path / "train_0.tar.gz").write_bytes(gzip.compress(tar(files)))
    (tmp_path / "train-images-boxable-with-rotation.csv").write_text("ImageID\n")
    found = everything(tmp_path, "open-images-v7")
    images = members(found)
    assert len(images) == 2 and others(found) == {"table": 1}
    refused = examine(images["train_0.tar.gz/train_0/09ee36708e79bd56.jpg"], limits=LIMITS)
    assert isinstance(refused, Refusal) and refused.reason == "not_an_image"


def test_places_has_the_same_names_in_every_class(tmp_path):
    files = {
        f"data_large/{place}/00000001.jpg": picture(number)
        for number, place in enumerate(["a/airfield", "b/bedroom", "a/apartment_building/outdoor"])
    }
    (tmp_path / "train_large_places365standard.tar").write_bytes(tar(files))
    found = everything(tmp_path, "places365")
    prefix = "train_large_places365standard.tar/"
    assert members(found) == {prefix + path: data for path, data in files.items()}
    assert not others(found)


def test_masks_of_sa_1b_are_passed_over(tmp_path):
    """They may be larger than the image: no memory is spent on them, whatever is in them."""
    masks = b"[" * (24 << 20)  # no JSON that could be parsed
    files: dict[str, bytes] = {}
    for number in (1, 2):
        files |= {f"./sa_{number}.jpg": picture(number), f"./sa_{number}.json": masks}
    (tmp_path / "sa_000000.tar").write_bytes(tar(files))
    tracemalloc.start()
    found = everything(tmp_path, "sa-1b")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert members(found) == {
        "sa_000000.tar/sa_1.jpg": files["./sa_1.jpg"],
        "sa_000000.tar/sa_2.jpg": files["./sa_2.jpg"],
    }
    assert others(found) == {"annotations": 2}
    assert peak < 8 << 20


def test_loose_files_of_a_preset_are_told_by_their_names_too(tmp_path):
    (tmp_path / "sa_1.jpg").write_bytes(picture(1))
    (tmp_path / "sa_1.json").write_bytes(b"{}")
    (tmp_path / "holiday.jpg").write_bytes(picture(2))
    (tmp_path / "._sa_1.jpg").write_bytes(b"\0\5\x16\7")
    found = everything(tmp_path, "sa-1b")
    assert list(members(found)) == ["sa_1.jpg"]
    assert others(found) == {"annotations": 1, "other_file": 1, "apple_double": 1}


def clip(frames: int = 25) -> bytes:
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mov") as container:
        track = container.add_stream("mpeg4", rate=30)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            pixels = np.full((48, 64, 3), number * 9, np.uint8)
            container.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(track.encode())
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["loose", "stored", "deflated"])
def test_every_tenth_frame_of_bdd100k_videos(tmp_path, kind):
    name = "bdd100k/videos/train/0000f77c-6257be58.mov"
    if kind == "loose":
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(clip())
        (tmp_path / "notes.mov").write_bytes(clip(2))
        prefix = name
    else:
        packing = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
        (tmp_path / "part_00.zip").write_bytes(zipped({name: clip(), "notes.mov": b""}, packing))
        prefix = f"part_00.zip/{name}"
    found = everything(tmp_path, "bdd100k-videos")
    assert list(members(found)) == [f"{prefix}/frame_{number:06d}.jpg" for number in (0, 10, 20)]
    assert others(found) == {"other_file": 1}
    rare = everything(tmp_path, "bdd100k-videos", every=24)
    assert list(members(rare)) == [f"{prefix}/frame_{number:06d}.jpg" for number in (0, 24)]


def test_a_broken_clip_is_one_drop_and_the_next_is_read(tmp_path):
    folder = tmp_path / "videos" / "train"
    folder.mkdir(parents=True)
    (folder / "0000f77c-00000001.mov").write_bytes(b"no video at all")
    (folder / "0000f77c-00000002.mov").write_bytes(clip())
    found = everything(tmp_path, "bdd100k-videos")
    assert len(members(found)) == 3
    (drop,) = [item for item in found if isinstance(item, Drop)]
    assert drop.path == "videos/train/0000f77c-00000001.mov" and "QuickTime" in drop.detail

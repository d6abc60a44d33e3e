"""Images and ground truth by their names, over everything that was listed."""

import tracemalloc
from collections.abc import Iterable
from dataclasses import replace

import pytest

from pipeline.choices import Refused
from pipeline.joins import Anything, Joined, Names, join
from pipeline.parts import Part
from pipeline.presets import Preset, Terms, presets
from pipeline.records import Drop, Ignored, Role
from pipeline.splits import Split

TERMS = Terms(
    title="t", homepage="h", citation="c", licence="l", rehost="unknown", commercial="unknown"
)
PLAIN = Preset(
    name="plain",
    help="",
    role=Role.LABELLED,
    terms=TERMS,
    image=r"(?P<scene>s\d+)/rgb/(?P<frame>\d+)\.jpg",
    ignored={r"cams/.+": "camera"},
    truth=r"(?P<scene>s\d+)/depth/(?P<frame>\d+)\.png",
    encoding="png-mm",
)
MASKED = replace(
    PLAIN,
    name="masked",
    masks=(r"(?P<scene>s\d+)/mask/(?P<frame>\d+)\.png", r"(?P<scene>s\d+)/camera\.json"),
)


def parts(paths: Iterable[str]) -> list[Part]:
    return [Part(path, f"/data/{path}", 0, 10, 10) for path in paths]


def told(preset: Preset, paths: Iterable[str], split: Split | None = None) -> dict[str, object]:
    """By the path of each result: the truth of a sample, the reason, or what is ignored."""
    names = Names(preset, split)
    found: dict[str, object] = {}
    for item in join(parts(paths), names):
        if isinstance(item, Joined):
            found[item.image.path] = [part.path for part in item.truth]
        else:
            found[item.path] = item.reason if isinstance(item, Drop) else (item.what,)
    return found


def test_what_becomes_of_every_file():
    assert told(
        PLAIN,
        [
            "s1/rgb/1.jpg",
            "s1/rgb/2.jpg",
            "s1/depth/1.png",
            "s1/depth/3.png",
            "s1/cams/1.txt",
            "s1/rgb/._1.jpg",
            "s1/notes.txt",
            "xs1/rgb/9.jpg",
        ],
    ) == {
        "s1/rgb/1.jpg": ["s1/depth/1.png"],
        "s1/rgb/2.jpg": "no_truth",
        "s1/depth/3.png": "no_image",
        "s1/cams/1.txt": ("camera",),
        "s1/rgb/._1.jpg": "apple_double",
        "s1/notes.txt": "other_file",
        "xs1/rgb/9.jpg": "other_file",  # a name is matched from its beginning
    }


def test_it_does_not_matter_where_files_lie_or_in_which_order():
    paths = ["z.zip/a/s1/depth/1.png", "b.tar/s1/rgb/1.jpg", "b.tar/s2/rgb/1.jpg", "s2/depth/1.png"]
    expected = {
        "b.tar/s1/rgb/1.jpg": ["z.zip/a/s1/depth/1.png"],
        "b.tar/s2/rgb/1.jpg": ["s2/depth/1.png"],
    }
    assert told(PLAIN, paths) == told(PLAIN, paths[::-1]) == expected


def test_two_files_for_one_place_are_ambiguous():
    paths = ["s1/rgb/1.jpg", "copy/s1/rgb/1.jpg", "s1/depth/1.png"]
    assert told(PLAIN, paths) == {paths[0]: "ambiguous_pair", paths[1]: "ambiguous_pair"}
    paths = ["s1/rgb/1.jpg", "s1/depth/1.png", "copy/s1/depth/1.png"]
    assert set(told(PLAIN, paths).values()) == {"ambiguous_pair"}
    names = Names(PLAIN)
    (first, *_) = [item for item in join(parts(paths), names) if isinstance(item, Drop)]
    assert "s1/depth/1.png, copy/s1/depth/1.png" in first.detail


def test_masks_and_files_that_several_images_share():
    paths = ["s1/rgb/1.jpg", "s1/rgb/2.jpg", "s1/depth/1.png", "s1/depth/2.png", "s1/mask/1.png"]
    found = told(MASKED, [*paths, "s1/camera.json", "s2/camera.json"])
    assert found == {
        "s1/rgb/1.jpg": ["s1/depth/1.png", "s1/mask/1.png", "s1/camera.json"],
        "s1/rgb/2.jpg": "no_mask",
        "s2/camera.json": "no_image",
    }


def test_a_list_of_images():
    split = Split(["s1/rgb/1.jpg", "s1/rgb/7.jpg"])
    paths = ["s1/rgb/1.jpg", "s1/depth/1.png", "s1/rgb/2.jpg", "s1/depth/2.png", "s1/depth/3.png"]
    names = Names(PLAIN, split)
    items = {item.path: item for item in join(parts(paths), names) if not isinstance(item, Joined)}
    assert items["s1/rgb/2.jpg"] == Ignored("s1/rgb/2.jpg", "not in split")
    assert items["s1/depth/2.png"] == Ignored("s1/depth/2.png", "not in split")
    assert items["s1/depth/3.png"].reason == "no_image"
    assert [drop.path for drop in names.missing("x")] == ["s1/rgb/7.jpg"]


@pytest.mark.parametrize(
    ("preset", "path", "expected"),
    [
        ("blendedmvs", f"{'0' * 24}/blended_images/00000001_masked.jpg", "masked twin"),
        ("sa-1b", "sa_000001.tar/sa_1.json", "annotations"),
        ("google-landmarks-v2", "train.csv", "table"),
    ],
)
def test_what_is_ignored_is_asked_first(preset, path, expected):
    assert Names(presets()[preset]).choose(path) == Ignored(path, expected)


def test_choosing_by_a_preset():
    names = Names(presets()["bdd100k-videos"])
    clip = "b1c66a42-6f7d68ca"
    assert names.choose(f"train.zip/{clip}.mov") == "video"
    assert names.choose(f"train.zip/{clip}.mov/frame_000010.jpg") is None
    assert names.choose("train.zip") == "zip"
    assert isinstance(names.choose("other.mov"), Refused)
    assert isinstance(names.choose("cat.jpg"), Refused)
    still = Names(presets()["bdd100k"])
    assert isinstance(still.choose(f"{clip}.mov"), Refused)


def test_same_names_in_other_folders_stay_apart():
    """Places365 calls the first image of every class 00000001.jpg; DIODE has two spellings."""
    names = Names(presets()["places365"])
    for path in ("data_large/a/airfield/00000001.jpg", "data_large/b/bar/00000001.jpg"):
        assert names.choose(path) is None
    kinds = ("indoors", "outdoor")
    paths = [
        f"val/{kind}/scene_00019/scan_00183/00019_00183_{kind}_000_000{end}"
        for kind in kinds
        for end in (".png", "_depth.npy", "_depth_mask.npy")
    ]
    found = told(presets()["diode"], paths)
    assert found == {paths[0]: paths[1:3], paths[3]: paths[4:6]}


def test_anything_without_a_preset():
    listed = Anything(Split(["a/1.jpg"]), opens=lambda path: "tar" if path == "x.tar" else None)
    assert listed.choose("x.tar") == "tar"
    assert listed.choose("x.tar/a/1.jpg") is None
    assert listed.choose("b/1.jpg") == Ignored("b/1.jpg", "not in split")
    assert not list(listed.missing(""))


def test_a_million_paths_take_less_than_a_kilobyte_each():
    count = 20_000
    tracemalloc.start()
    listed = (
        Part(f"s{n % 100}/{kind}/{n:08d}.{end}", "/data/x.zip", n, n, n, "deflate", n, "1")
        for n in range(count)
        for kind, end in (("rgb", "jpg"), ("depth", "png"))
    )
    joined = join(listed, Names(PLAIN))
    kept = [next(joined)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(kept[0], Joined)
    assert peak / (2 * count) < 1024


def test_an_index_that_went_away_costs_its_images_and_is_named():
    image = "0/rgb/CAMERA_01/1.png"
    found = told(presets()["ddad"], ["0/scene_0a.json", image])
    assert found == {"0/scene_0a.json": "unreadable", image: "no_truth"}

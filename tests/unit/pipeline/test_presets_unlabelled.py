"""What the presets of the unlabelled sets take, ignore and leave, by the paths people have."""

import pytest

from pipeline.presets import ignored_as, match_end, presets

IMAGES = {
    "bdd100k": [
        "bdd100k_images_100k.zip/bdd100k/images/100k/train/bd94bd57-2f7cb6ad.jpg",
        "images/10k/test/f095581e-07cbd815.jpg",
        "bdd100k/bdd100k/images/100k/train/trainA/bd94bd57-2f7cb6ad.jpg",
        "train/bd94bd57-2f7cb6ad.jpg",
    ],
    "bdd100k-videos": ["part_00.zip/bdd100k/videos/train/0000f77c-6257be58.mov/frame_000010.jpg"],
    "google-landmarks-v2": ["images_000.tar/0/0/0/0000a08541a4821e.jpg"],
    "imagenet-21k": [
        "fall11_whole.tar/n00000001.tar/n00000001_1.JPEG",
        "winter21_whole.tar.gz/winter21_whole/n00000001.tar/n00000001_10026.JPEG",
        "n00000001/n00000001_1.JPEG",
        "n00000001_1.JPEG",  # the tar of one synset, given by itself
    ],
    "lsun": [
        "bedroom_val_lmdb.zip/bedroom_val_lmdb/data.mdb/0cec033b1b2c3d4e5f60718293a4b5c6d7e8f901",
        "0cec033b1b2c3d4e5f60718293a4b5c6d7e8f901",
        "bedroom/0/c/e/c/0/3/0cec033b1b2c3d4e5f60718293a4b5c6d7e8f901.webp",
    ],
    "objects365": [
        "patch0.tar.gz/patch0/objects365_v1_00000000.jpg",
        "val/images/v2/patch16/objects365_v2_00908726.jpg",
    ],
    "open-images-v7": [
        "train_0.tar.gz/train_0/8aca555dbea7c209.jpg",
        "train/8aca555dbea7c209.jpg",
    ],
    "places365": [
        "train_large_places365standard.tar/data_large/a/airfield/00000001.jpg",
        "data_256/a/apartment_building/outdoor/00000001.jpg",
        "data_large_challenge/b/bedroom/00004711.jpg",
        "val_large.tar/val_large/Places365_val_00000001.jpg",
        "places365standard_easyformat.tar/places365_standard/train/airfield/00000001.jpg",
        "places365_standard/val/airfield/Places365_val_00000435.jpg",
        "a/apartment_building/outdoor/00000001.jpg",
    ],
    "sa-1b": ["sa_000000.tar/sa_1.jpg", "sa_223750.jpg"],
}
IGNORED = {
    "bdd100k": {"bdd100k/labels/bdd100k_labels_images_train.json": "annotations"},
    "bdd100k-videos": {"bdd100k/info/100k/train/0000f77c-6257be58.json": "annotations"},
    "google-landmarks-v2": {"train_attribution.csv": "table", "train.csv": "table"},
    "imagenet-21k": {},
    "lsun": {"bedroom_val_lmdb.zip/bedroom_val_lmdb/lock.mdb": "lock"},
    "objects365": {"zhiyuan_objv2_train.json": "annotations"},
    "open-images-v7": {"train-images-boxable-with-rotation.csv": "table"},
    "places365": {"places365_train_standard.txt": "table"},
    "sa-1b": {"sa_000000.tar/sa_1.json": "annotations", "links.tsv": "table"},
}
NEITHER = {
    "bdd100k": ["bdd100k/images/100k/train/notes.jpg", "seg/color_labels/train/a_train_color.png"],
    "bdd100k-videos": ["videos/train/README.md"],
    "google-landmarks-v2": ["images_000.tar/0000a08541a4821e.jpg"],
    "imagenet-21k": ["n00000001.tar/README"],
    "lsun": ["bedroom_val_lmdb/notes"],
    "objects365": ["patch0/thumbnail.jpg"],
    "open-images-v7": ["train_0/8aca555dbea7c209_m.jpg"],
    "places365": ["data_large/a/airfield/airfield.jpg", "places365_standard/val/00000001.jpg"],
    "sa-1b": ["sa_000000.tar/visa_1.jpg"],
}
NAMES = sorted(IMAGES)


@pytest.mark.parametrize("name", NAMES)
def test_images_are_found_by_their_paths(name):
    preset = presets()[name]
    for path in IMAGES[name]:
        assert match_end(preset.image, path), path
        assert ignored_as(preset, path) is None, path


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_beside_them_is_ignored_by_name(name):
    preset = presets()[name]
    assert {path: ignored_as(preset, path) for path in IGNORED[name]} == IGNORED[name]


@pytest.mark.parametrize("name", NAMES)
def test_strays_are_neither(name):
    preset = presets()[name]
    for path in NEITHER[name]:
        assert not match_end(preset.image, path) and ignored_as(preset, path) is None, path


def test_the_key_of_a_landmark_is_its_whole_name_not_its_folders():
    match = match_end(presets()["google-landmarks-v2"].image, IMAGES["google-landmarks-v2"][0])
    assert match and match["id"] == "0000a08541a4821e"


def test_a_clip_is_a_video_and_its_frames_are_the_images():
    preset = presets()["bdd100k-videos"]
    assert preset.video and match_end(preset.video, "videos/val/0000f77c-6257be58.mov")
    assert not match_end(preset.image, "videos/val/0000f77c-6257be58.mov")
    assert preset.every == 10

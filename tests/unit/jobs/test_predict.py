from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobs import predict as predict_module
from jobs.config import PredictConfig
from jobs.errors import ConfigError, JobError
from jobs.predict import find_targets, predict
from model.depth_model import load_depth_model
from model.errors import CheckpointError
from model.student import TrainableDepth, build_network

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    TrainableDepth(build_network("scratch:tiny", size=70)).save(folder, side=70)
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for number, name in enumerate(("b.jpg", "a.png", "deep/c.webp")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(
            0, 256, (40, 50 + number, 3), dtype=np.uint8
        )
        Image.fromarray(pixels).save(path)
    (folder / "notes.txt").write_text("no image")
    return folder


def run(student, out, *images, **options):
    return predict(
        PredictConfig(
            model=str(student),
            images=tuple(map(str, images)),
            out=str(out),
            store=str(Path(out).parent / "store"),
            **options,
        )
    )


def read_depth(path):
    """The 16-bit PNG as its text says: float64, NaN where there is no value."""
    with Image.open(path) as image:
        assert image.mode.startswith("I;16")
        codes, text = np.asarray(image).astype(np.float64), image.text
    values = float(text["offset"]) + float(text["scale"]) * codes
    return np.where(codes == 0, np.nan, values), text


def test_three_files_per_image_that_say_the_same(student, photos, tmp_path):
    summary = run(student, tmp_path / "out", photos)
    stems = ("a", "b", "deep/c")
    expected = {f"{stem}{end}" for stem in stems for end in (".npy", ".png", "_colour.png")}
    found = {str(Path(p).relative_to(tmp_path / "out")) for p in summary["written"]}
    assert found == expected
    assert all(Path(path).is_file() for path in summary["written"])
    assert summary["skipped"] == []
    model = load_depth_model(str(student), device="cpu")
    for stem, width in zip(stems, (51, 50, 52), strict=True):
        values = np.load(tmp_path / "out" / f"{stem}.npy")
        assert values.dtype == np.float32
        assert values.shape == (40, width)
        decoded, text = read_depth(tmp_path / "out" / f"{stem}.png")
        assert np.abs(decoded - values).max() <= float(text["scale"]) / 2 * 1.001
        assert float(text["scale"]) <= np.ptp(values) / 65000
        assert text["geometry"] == "disparity_affine_invariant"
        assert text["model_sha256"] == model.sha256
        colour = np.asarray(Image.open(tmp_path / "out" / f"{stem}_colour.png"))
        assert colour.shape == (40, width, 3)
        near = np.unravel_index(values.argmax(), values.shape)
        far = np.unravel_index(values.argmin(), values.shape)
        assert colour[near].sum() > colour[far].sum()
    pixels = np.asarray(Image.open(photos / "a.png"))
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.npy"), model.predict(pixels))


def test_size_is_passed_on(student, photos, tmp_path):
    run(student, tmp_path / "out", photos / "a.png", size=98)
    model = load_depth_model(str(student), device="cpu", side=98)
    pixels = np.asarray(Image.open(photos / "a.png"))
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.npy"), model.predict(pixels))


@pytest.mark.parametrize("how", ["bilinear", "bilinear_corners", "bicubic"])
def test_upsampling_is_passed_on_and_written_beside_the_map(student, photos, tmp_path, how):
    run(student, tmp_path / "out", photos / "a.png", upsampling=how)
    pixels = np.asarray(Image.open(photos / "a.png"))
    expected = load_depth_model(str(student), device="cpu").predict(pixels, upsampling=how)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.npy"), expected)
    assert read_depth(tmp_path / "out" / "a.png")[1]["upsampling"] == how


def test_no_store_is_made_for_a_look(student, photos, tmp_path):
    run(student, tmp_path / "out", photos / "a.png")
    assert not (tmp_path / "store").exists()


def test_missing_files_are_refused_before_the_model_loads(student, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_module, "load_depth_model", None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as caught:
        run(student, tmp_path / "out", photos, tmp_path / "nothing.jpg", tmp_path / "empty")
    assert len(caught.value.problems) == 2
    assert "nothing.jpg: there is no such file" in caught.value.problems[0]
    assert "empty: holds no images" in caught.value.problems[1]
    assert not (tmp_path / "out").exists()


def test_broken_images_are_named_and_the_others_are_predicted(student, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    summary = run(student, tmp_path / "out", photos)
    assert len(summary["written"]) == 9
    assert [Path(skipped["image"]).name for skipped in summary["skipped"]] == ["broken.jpg"]
    assert summary["skipped"][0]["reason"]


def test_an_image_too_long_for_the_network_is_named(student, photos, tmp_path):
    Image.new("RGB", (20_000, 1)).save(photos / "strip.png")
    summary = run(student, tmp_path / "out", photos)
    assert [Path(skipped["image"]).name for skipped in summary["skipped"]] == ["strip.png"]
    assert "more than" in summary["skipped"][0]["reason"]


def test_nothing_readable_is_a_failure(student, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(JobError, match="not one of 1 images"):
        run(student, tmp_path / "out", tmp_path / "broken.jpg")


def test_a_model_that_is_not_there_is_refused(photos, tmp_path):
    with pytest.raises(CheckpointError, match="no-such-model"):
        run("no-such-model", tmp_path / "out", photos)


def test_images_that_share_a_name_keep_their_endings(tmp_path):
    for name in ("x.jpg", "x.png", "y.jpg"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    stems = [target.stem.name for target in find_targets([str(tmp_path / "in")], tmp_path / "out")]
    assert stems == ["x.jpg", "x.png", "y"]


def test_results_never_overwrite_what_is_read(photos, tmp_path):
    with pytest.raises(ConfigError, match="is an image to predict"):
        find_targets([str(photos / "a.png")], photos)
    with pytest.raises(ConfigError, match="results must go into another folder"):
        find_targets([str(photos)], photos)


def test_results_never_overwrite_each_other(photos, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.jpg").touch()
    with pytest.raises(ConfigError, match="would both write"):
        find_targets([str(photos / "b.jpg"), str(other / "b.jpg")], tmp_path / "out")


def test_results_inside_the_folder_are_not_read_the_next_time(student, photos):
    first = run(student, photos / "depth", photos)
    second = run(student, photos / "depth", photos)
    assert first == second

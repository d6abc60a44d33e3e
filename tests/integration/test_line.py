"""The whole line through the command line, as a new user runs it, on real photographs."""

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import pipeline as hf_pipeline

from jobs.config import IngestConfig
from jobs.evaluate import evaluate
from jobs.evaluate_config import EvaluateConfig
from jobs.ingest import ingest
from tests.factories import tiny_teacher

pytestmark = pytest.mark.integration

FACTORY = Path(sys.executable).parent / "factory"
# Of the pairs in the sample data, those whose encoding says metres, and one of each other kind.
BENCHMARKS = {
    "kitti": "png-256",
    "nyu_sync": "png-mm",
    "tum_rgbd": "png-5000",
    "pgm16_rgbd": "pgm-mm",
    "sunrgbd": "png-sunrgbd",
    "fastdepth_nyu": "npy-m",
    "middlebury14_npz": "npz-disparity",
    "sceneflow_pfm": "pfm-disparity",
}


class Shell:
    """Runs `factory … --json` on one store and checks that stdout is one JSON object."""

    def __init__(self, store: Path) -> None:
        self.store = store

    def __call__(self, *words: str, status: int = 0) -> dict[str, Any]:
        command = [str(FACTORY), *words, "--store", str(self.store), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == status, done.stderr
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("line") / "store")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_teacher(tmp_path_factory.mktemp("models") / "tiny", size=70)


def test_a_folder_a_tar_and_a_zip_of_the_same_photographs_agree(
    factory: Shell, shared_data: Path, tmp_path: Path
) -> None:
    photos = shared_data / "photos"
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(photos, arcname="photos")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted(photos.rglob("*")):
            archive.write(path, path.relative_to(photos))
    uris = {"folder": photos, "tar": tmp_path / "photos.tar", "zip": tmp_path / "photos.zip"}
    made = {
        name: factory("ingest", str(uri), "--source", f"photos-{name}")
        for name, uri in uris.items()
    }
    count = sum(path.is_file() for path in photos.rglob("*"))
    for summary in made.values():
        assert summary["samples_in"] == summary["kept"] + sum(summary["dropped"].values()) == count
    assert len({summary["kept"] for summary in made.values()}) == 1


def test_photographs_are_labelled_looked_at_and_traced(
    factory: Shell, shared_data: Path, teacher: Path, tmp_path: Path
) -> None:
    factory("ingest", str(shared_data / "photos" / "indoor"), "--source", "indoor")
    summary = factory("label", "indoor", "--teacher", str(teacher), "--label-set", "by-tiny")
    assert summary["labelled"] == 11
    assert summary["quarantined"] == {}
    page = tmp_path / "by-tiny.html"
    factory("report", "by-tiny", "--out", str(page))
    assert page.read_text().count("data:image/") >= 22
    lineage = factory("catalog", "lineage", "by-tiny")
    assert "indoor" in json.dumps(lineage)


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_real_pairs_become_benchmarks_and_are_scored(
    factory: Shell, shared_data: Path, teacher: Path, name: str
) -> None:
    where = {"store": str(factory.store)}
    pairs = ingest(
        IngestConfig(
            uri=str(shared_data / "depth" / name),
            source=name,
            role="benchmark",
            layout="pairs",
            truth=BENCHMARKS[name],
            **where,
        )
    )
    assert pairs["kept"] >= 1
    config = EvaluateConfig(models=(str(teacher),), benchmark=(f"relative@1={name}",), **where)
    (result,) = evaluate(config)["results"]
    assert (result["protocol"], result["version"]) == ("relative", 1)
    assert result["images"] == pairs["kept"]
    assert result["metrics"]["disparity"]["rmse"] > 0
    if not BENCHMARKS[name].endswith("disparity"):
        assert 0 <= result["metrics"]["depth"]["delta1"] <= 1


def test_predict_says_what_transformers_says(factory: Shell, teacher: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "square.png")
    out = tmp_path / "out"
    summary = factory("predict", str(teacher), str(tmp_path / "square.png"), "--out", str(out))
    assert len(summary["written"]) == 3
    ours = np.load(out / "square.npy")
    theirs = hf_pipeline("depth-estimation", model=str(teacher))(str(tmp_path / "square.png"))
    np.testing.assert_allclose(ours, theirs["predicted_depth"].numpy().squeeze(), rtol=1e-3)


def test_wrong_use_has_a_status_of_its_own(factory: Shell, tmp_path: Path) -> None:
    uri = "synthetic://clutter?n=2&seed=0&width=64&height=48"
    assert factory("ingest", uri, "--source", "something")["kept"] == 2
    wrong = factory("label", "nothing", "--teacher", str(tmp_path), status=2)
    assert "nothing" in wrong["error"]
    wrong = factory("ingest", str(tmp_path / "missing"), "--source", "missing", status=2)
    assert "missing" in wrong["error"]

"""Images that give no prediction are skipped with a reason; the others keep their score."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.evaluate import _image_score
from model.depth_model import DepthModel, load_depth_model
from model.protocols import protocol
from pipeline.identity import sha256_hex
from tests.factories import image_record, png, tiny_teacher


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DepthModel:
    folder = tiny_teacher(tmp_path_factory.mktemp("models") / "teacher")
    return load_depth_model(str(folder), device="cpu", precision="fp32")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(1)[:800], "truncated"),
        (png(1, width=1, height=100_000), "too_large_for_network"),
    ],
)
def test_what_cannot_be_predicted_is_skipped(model: DepthModel, data: bytes, reason: str) -> None:
    record = replace(image_record(1, truth=True), data=data, sha256=sha256_hex(data))
    assert _image_score(model, protocol("relative@1"), record).skipped == reason


def test_what_can_be_is_scored(model: DepthModel, tmp_path: Path) -> None:
    record = image_record(1, truth=True)
    assert _image_score(model, protocol("relative@1"), record).skipped is None
    file = tmp_path / "it.png"
    file.write_bytes(png(1))
    referred = replace(record, data=None, uri=str(file))
    assert _image_score(model, protocol("relative@1"), referred).skipped is None

"""Joined archives and lists of images, through `ingest`: counted, known again, on record."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from jobs.config import IngestConfig
from jobs.console import SilentReporter
from jobs.ingest import ingest
from jobs.workspace import open_workspace
from pipeline.shards import read_image_rows
from pipeline.splits import split_sha256

pytestmark = pytest.mark.integration


def picture(values) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def scene(number: int, frames: int = 3) -> dict[str, bytes]:
    """Files of Virtual KITTI 2; the depth of a frame is its number and one, in metres."""
    rng = np.random.default_rng(number)
    files = {}
    for frame in range(frames):
        at = f"Scene{number:02d}/clone/frames"
        image = io.BytesIO()
        pixels = rng.integers(0, 256, (36, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(image, "JPEG")
        files[f"{at}/rgb/Camera_0/rgb_{frame:05d}.jpg"] = image.getvalue()
        depth = np.full((36, 48), 100 * frame + 100, np.uint16)
        files[f"{at}/depth/Camera_0/depth_{frame:05d}.png"] = picture(depth)
    return files


def write_tar(path, files, mode) -> None:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def data_set(tmp_path):
    """Two scenes in two zips, images in one and depth in the other; a third streamed."""
    folder = tmp_path / "set"
    folder.mkdir()
    for kind in ("rgb", "depth"):
        with zipfile.ZipFile(folder / f"{kind}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in (scene(1) | scene(2)).items():
                if f"/{kind}/" in name:
                    archive.writestr(name, data)
    write_tar(folder / "more.tar.gz", scene(3), "w:gz")
    (folder / "readme.txt").write_text("read me")
    return folder


def config(tmp_path, data_set, **options) -> IngestConfig:
    return IngestConfig(
        uri=str(data_set),
        source="vk",
        layout="vkitti2",
        store=str(tmp_path / "store"),
        actors=0,
        **options,
    )


def test_archives_are_joined_counted_and_known_again(tmp_path, data_set):
    first = ingest(config(tmp_path, data_set), reporter=SilentReporter())
    assert (first["samples_in"], first["kept"], first["dropped"]) == (9, 9, {})
    assert first["ignored"] == {"text": 1}
    with open_workspace(config(tmp_path, data_set)) as workspace:
        shards = workspace.catalog.image_shards("vk")
        rows = [row for shard in shards for row in read_image_rows(workspace.store, shard.key)]
    for row in rows:
        frame = int(row.path[-9:-4])
        assert (row.truth.values_HW == frame + 1).all()
    assert {row.path.partition("/")[0] for row in rows} == {"rgb.zip", "more.tar.gz"}
    again = ingest(config(tmp_path, data_set), reporter=SilentReporter())
    assert again["already_present"] == again["kept"] == 9 and again["shards_written"] == 0
    assert again["pieces_known"] == first["pieces"]


def test_a_list_of_images_is_on_record(tmp_path, data_set):
    (tmp_path / "list.txt").write_text(
        "Scene01/clone/frames/rgb/Camera_0/rgb_00001.jpg x\n"
        "Scene03/clone/frames/rgb/Camera_0/rgb_00002.jpg x\n"
    )
    listed = config(tmp_path, data_set, split=str(tmp_path / "list.txt"))
    summary = ingest(listed, reporter=SilentReporter())
    assert summary["kept"] == 2 and summary["dropped"] == {}
    assert summary["ignored"] == {"not in split": 14, "text": 1}
    with open_workspace(listed) as workspace:
        journals = [workspace.store.get(key) for key in workspace.store.list("sources/vk")
                    if key.endswith(("json", "jsonl"))]  # fmt: skip
    assert any(split_sha256(listed.split).encode() in journal for journal in journals)

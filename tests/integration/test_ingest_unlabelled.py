"""Unlabelled sets from their native archives to rows of shards, with whose each image is."""

import io
import tarfile
import zipfile
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

from jobs.config import IngestConfig
from jobs.console import SilentReporter
from jobs.errors import ConfigError
from jobs.ingest import ingest
from jobs.workspace import open_workspace
from pipeline.shards import load_bytes, read_image_rows

pytestmark = pytest.mark.integration

KEY = "0000a08541a4821e"


def picture(number: int, format_: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_)
    return buffer.getvalue()


def tar(file: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(file, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def ingested(uri: Path, tmp_path: Path, **options):
    """The summary, the source and all its rows."""
    config = IngestConfig(uri=str(uri), source="some", store=str(tmp_path / "store"), **options)
    summary = ingest(config, reporter=SilentReporter())
    with open_workspace(config) as workspace:
        shards = workspace.catalog.image_shards("some")
        rows = [row for shard in shards for row in read_image_rows(workspace.store, shard.key)]
        return summary, workspace.catalog.source("some"), rows


@pytest.mark.parametrize(
    ("name", "folder", "kept", "ignored"),
    [
        ("bdd100k", "bdd100k", 3, {}),
        ("imagenet-21k", "imagenet21k", 4, {}),
        ("lsun", "lsun", 4, {"lock": 1}),
        ("objects365", "objects365", 3, {}),
        ("places365", "places365", 3, {}),
        ("sa-1b", "sa1b", 4, {"annotations": 4}),
    ],
)
def test_the_sample_archives(shared_data, tmp_path, name, folder, kept, ignored):
    uri = shared_data / "containers" / "unlabelled" / folder
    summary, source, rows = ingested(uri, tmp_path, layout=name, actors=0)
    assert summary["kept"] == summary["samples_in"] == len(rows) == kept
    assert summary["ignored"] == ignored and summary["dropped"] == {}
    assert source.role == "unlabelled" and source.preset == name
    assert all(row.licence for row in rows)


def test_landmarks_are_not_taken_without_their_authors(tmp_path):
    folder = tmp_path / "gldv2"
    folder.mkdir()
    tar(folder / "images_000.tar", {f"0/0/0/{KEY}.jpg": picture(1)})
    with pytest.raises(ConfigError, match=r"train_attribution\.csv"):
        ingested(folder, tmp_path, layout="google-landmarks-v2")
    assert not (tmp_path / "store").exists()


def test_every_landmark_has_its_author(tmp_path):
    folder = tmp_path / "gldv2"
    folder.mkdir()
    other = "000e9c9462493b23"
    files = {f"0/0/0/{key}.jpg": picture(number) for number, key in enumerate([KEY, other])}
    tar(folder / "images_000.tar", files)
    (folder / "train_attribution.csv").write_text(
        "id,url,author,license,title\n"
        f"{KEY},https://x.org/1,Ann,https://creativecommons.org/licenses/by/2.0/,Tower\n"
    )
    summary, source, rows = ingested(folder, tmp_path, layout="google-landmarks-v2", actors=0)
    assert summary["kept"] == 2 and summary["ignored"] == {"table": 1}
    by_path = {row.path: (row.licence, row.attribution) for row in rows}
    assert by_path == {
        f"images_000.tar/0/0/0/{KEY}.jpg": (
            "https://creativecommons.org/licenses/by/2.0/",
            '"Tower" by Ann, https://x.org/1',
        ),
        f"images_000.tar/0/0/0/{other}.jpg": (source.licence, None),
    }


def test_dead_links_of_open_images_are_dropped_by_reason(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    page = b"<!DOCTYPE html><html><body>This photo is no longer available</body></html>"
    tar(folder / "validation.tar", {"validation/00000000000000aa.jpg": page,
                                    "validation/00000000000000ab.jpg": picture(1)})  # fmt: skip
    (folder / "validation-images-with-rotation.csv").write_text(
        "ImageID,License,Author,Title,OriginalLandingURL\n00000000000000ab,CC,Ann,,\n"
    )
    summary, _, (row,) = ingested(folder, tmp_path, layout="open-images-v7", actors=0)
    assert summary["dropped"] == {"not_an_image": 1}
    assert (row.licence, row.attribution) == ("CC", "by Ann")


def test_lsun_by_reference_is_read_from_inside_the_zip(tmp_path):
    made, folder = tmp_path / "made", tmp_path / "lsun"
    made.mkdir()
    folder.mkdir()
    values = {f"{number:040x}": picture(number, "WEBP") for number in range(3)}
    with lmdb.open(str(made), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for key, data in values.items():
            transaction.put(key.encode(), data)
    # Stored, so that its pages lie in the zip as they are.
    with zipfile.ZipFile(folder / "tower_val_lmdb.zip", "w") as archive:
        archive.write(made / "data.mdb", "tower_val_lmdb/data.mdb")
    uri = folder / "tower_val_lmdb.zip"
    summary, _, rows = ingested(uri, tmp_path, layout="lsun", by_reference=True, actors=0)
    assert {row.path.rpartition("/")[2]: load_bytes(row) for row in rows} == values
    assert summary["by_reference"] == 3 and all(row.data is None for row in rows)


@pytest.mark.usefixtures("ray_session")
def test_videos_are_opened_by_a_process_of_their_own(tmp_path):
    av = pytest.importorskip("av")
    folder = tmp_path / "videos"
    folder.mkdir()
    with av.open(str(folder / "0000f77c-6257be58.mov"), "w") as container:
        track = container.add_stream("mpeg4", rate=30)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for number in range(25):
            pixels = np.full((48, 64, 3), number * 9, np.uint8)
            container.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(track.encode())
    (folder / "0000f77c-00000000.mov").write_bytes(b"no video")
    summary, _, rows = ingested(folder, tmp_path, layout="bdd100k-videos", actors=1)
    names = [f"0000f77c-6257be58.mov/frame_{number:06d}.jpg" for number in (0, 10, 20)]
    assert [row.path for row in rows] == names
    assert summary["dropped"] == {"corrupt_archive": 1}


@pytest.mark.usefixtures("ray_session")
def test_a_saved_data_set_brings_its_licence(tmp_path):
    import datasets

    datasets.disable_progress_bars()
    (tmp_path / "1.png").write_bytes(picture(1, "PNG"))
    info = datasets.DatasetInfo(
        license="CC-BY-4.0", features=datasets.Features({"image": datasets.Image()})
    )
    made = datasets.Dataset.from_dict({"image": [str(tmp_path / "1.png")]}, info=info)
    made.save_to_disk(str(tmp_path / "saved"))
    summary, source, (row,) = ingested(tmp_path / "saved", tmp_path, layout="arrow", actors=1)
    assert source.licence == row.licence == "CC-BY-4.0"
    assert row.data == picture(1, "PNG") and summary["ignored"] == {"table": 2}

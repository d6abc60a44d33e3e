"""WebDataset tars, what img2dataset wrote and saved Hugging Face data sets, from end to end."""

import io
import json
import tarfile
from collections import Counter

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import config
from pipeline.archives import archive_kind
from pipeline.arrow_images import stated_licence
from pipeline.data_sets import DataSet, find_items, is_native, read_data_set
from pipeline.layouts import LAYOUTS, choose_in
from pipeline.raw_files import FoundFile
from pipeline.records import Drop, Ignored, Member


def picture(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 50, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def tar(file, files: dict[str, bytes]) -> None:
    with tarfile.open(file, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def read(uri, layout: str):
    found = list(read_data_set(DataSet(uri=str(uri), layout=layout)))
    images = {item.path: item for item in found if isinstance(item, Member)}
    rest = Counter(
        item.what if isinstance(item, Ignored) else item.reason
        for item in found
        if not isinstance(item, Member)
    )
    return images, rest


@pytest.fixture
def downloaded(tmp_path):
    """The output of img2dataset in its format ``webdataset``: two shards, one image failed."""
    for shard in range(2):
        files, rows = {}, []
        for number in range(2):
            key = f"{shard:05d}{number:04d}"
            row = {"url": f"https://x.org/{key}.jpg", "key": key, "status": "success",
                   "license": "CC0-1.0" if number else None}  # fmt: skip
            rows.append(row)
            files[f"{key}.jpg"] = picture(10 * shard + number)
            files[f"{key}.json"] = json.dumps(row).encode()
            files[f"{key}.txt"] = b"a caption"
        rows.append({"url": "https://gone.org", "key": "x", "status": "failed", "license": None})
        tar(tmp_path / f"{shard:05d}.tar", files)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{shard:05d}.parquet")
        (tmp_path / f"{shard:05d}_stats.json").write_text("{}")
    return tmp_path


def test_the_command_line_and_the_data_plane_know_the_same_layouts():
    assert config.LAYOUTS == LAYOUTS


def test_what_is_not_known_opens_archives():
    assert choose_in("auto")("a.tar") == "tar" and choose_in("images")("a.tar") is None


def test_img2dataset_in_tars(downloaded):
    images, rest = read(downloaded, "img2dataset")
    assert {path: (item.licence, item.attribution) for path, item in images.items()} == {
        "00000.tar/000000000.jpg": (None, "https://x.org/000000000.jpg"),
        "00000.tar/000000001.jpg": ("CC0-1.0", "https://x.org/000000001.jpg"),
        "00001.tar/000010000.jpg": (None, "https://x.org/000010000.jpg"),
        "00001.tar/000010001.jpg": ("CC0-1.0", "https://x.org/000010001.jpg"),
    }
    assert [item.data for item in images.values()] == [picture(level) for level in (0, 1, 10, 11)]
    assert rest == {"sidecar": 8, "table": 4}


def test_tables_about_images_are_not_opened(downloaded):
    data_set = DataSet(uri=str(downloaded), layout="img2dataset")
    items = [item for item in find_items(data_set) if not isinstance(item, Drop | Ignored)]
    assert [item.path for item in items] == ["00000.tar", "00001.tar"]
    assert not any(is_native(item, data_set) for item in items)


def test_img2dataset_in_parquet(tmp_path):
    table = pa.table(
        {
            "key": ["000000000", "000000001"],
            "url": ["https://x.org/a", "https://x.org/b"],
            "status": ["success", "failed_to_download"],
            "jpg": [picture(1), None],
        }
    )
    pq.write_table(table, tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text("{}")
    images, rest = read(tmp_path, "img2dataset")
    assert list(images) == ["00000.parquet/000000000"]
    assert images["00000.parquet/000000000"].attribution == "https://x.org/a"
    assert rest == {"empty": 1, "table": 1}
    assert list(read(tmp_path / "00000.parquet", "img2dataset")[0]) == ["000000000"]


def test_a_table_without_images_says_so(tmp_path):
    pq.write_table(pa.table({"url": ["https://x.org"]}), tmp_path / "urls.parquet")
    images, rest = read(tmp_path, "auto")
    assert not images and rest == {"not_an_image": 1}


def test_webdataset_of_classes(tmp_path):
    files = {}
    for number in range(3):
        files[f"train/{number:04d}.png"] = picture(number)
        files[f"train/{number:04d}.cls"] = b"7"
    tar(tmp_path / "shard-000000.tar", files)
    images, rest = read(tmp_path, "webdataset")
    assert list(images) == [f"shard-000000.tar/train/{number:04d}.png" for number in range(3)]
    assert rest == {"sidecar": 3}
    assert read(tmp_path / "shard-000000.tar", "webdataset")[1] == {"sidecar": 3}
    assert read(tmp_path, "auto")[1] == {}, "there, every file is taken for an image"


def test_images_of_a_webdataset_stay_where_they_are(downloaded):
    for item in read(downloaded, "webdataset")[0].values():
        assert item.offset is not None
        with open(item.uri, "rb") as file:
            file.seek(item.offset)
            assert file.read(len(item.data)) == item.data


def test_a_saved_hugging_face_data_set(tmp_path):
    datasets.disable_progress_bars()
    (tmp_path / "raw").mkdir()
    for level in range(3):
        (tmp_path / "raw" / f"{level}.png").write_bytes(picture(level))
    features = datasets.Features({"image": datasets.Image()})
    info = datasets.DatasetInfo(license="CC-BY-4.0", features=features)
    paths = [str(tmp_path / "raw" / f"{level}.png") for level in range(3)]
    whole = datasets.Dataset.from_dict({"image": paths}, info=info)
    saved = tmp_path / "saved"
    datasets.DatasetDict(train=whole, test=whole.select([0])).save_to_disk(str(saved))
    (saved / "train" / "cache-0123456789abcdef.arrow").write_bytes(b"the library's own")
    images, rest = read(saved, "arrow")
    assert {path: item.data for path, item in images.items()} == {
        "test/data-00000-of-00001.arrow/0.png": picture(0),
        **{f"train/data-00000-of-00001.arrow/{level}.png": picture(level) for level in range(3)},
    }
    assert rest == {"table": 5, "cache": 1}
    assert stated_licence(str(saved)) == stated_licence(str(saved / "train")) == "CC-BY-4.0"


def test_arrow_files_are_opened_by_native_code(tmp_path):
    file = FoundFile("data-00000-of-00001.arrow", str(tmp_path / "x"), 1)
    assert archive_kind(file.path) == "arrow"
    assert is_native(file, DataSet(uri=str(tmp_path), layout="arrow"))

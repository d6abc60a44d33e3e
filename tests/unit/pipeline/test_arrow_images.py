"""Hugging Face data sets on disk, as the library itself writes them."""

import io
import json

import datasets
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.archives import ARCHIVE_FAULTS
from pipeline.arrow_images import arrow_entries, stated_licence
from pipeline.image_rows import NoImagesError

datasets.disable_progress_bars()


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 50, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def read(data: bytes) -> dict[str, bytes]:
    return {entry.name: entry.read() for entry in arrow_entries(io.BytesIO(data))}


def arrow(batches: list[dict[str, list]], *, is_file: bool = False) -> bytes:
    made = [pa.RecordBatch.from_pydict(batch) for batch in batches]
    sink = io.BytesIO()
    new = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with new(sink, made[0].schema) as writer:
        for batch in made:
            writer.write_batch(batch)
    return sink.getvalue()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Five images from files, saved as two splits, the first in two files."""
    folder = tmp_path_factory.mktemp("hf")
    paths = []
    for level in range(5):
        paths.append(str(folder / f"{level}.png"))
        (folder / f"{level}.png").write_bytes(png(level))
    info = datasets.DatasetInfo(
        license="CC-BY-4.0",
        citation="Somebody, 2020",
        features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")}),
    )
    whole = datasets.Dataset.from_dict({"image": paths, "label": list(range(5))}, info=info)
    splits = datasets.DatasetDict(train=whole.select(range(4)), test=whole.select(range(4, 5)))
    splits.save_to_disk(str(folder / "saved"), num_shards={"train": 2, "test": 1})
    for level in range(5):
        (folder / f"{level}.png").unlink()
    return folder / "saved"


def test_what_the_library_saved_is_all_there(saved):
    found = {
        file.relative_to(saved).as_posix(): list(read(file.read_bytes()).items())
        for file in sorted(saved.rglob("*.arrow"))
    }
    assert found == {
        "test/data-00000-of-00001.arrow": [("4.png", png(4))],
        "train/data-00000-of-00002.arrow": [("0.png", png(0)), ("1.png", png(1))],
        "train/data-00001-of-00002.arrow": [("2.png", png(2)), ("3.png", png(3))],
    }


def test_the_licence_stands_beside_the_file(saved):
    assert stated_licence(str(saved / "train" / "data-00000-of-00002.arrow")) == "CC-BY-4.0"


@pytest.mark.parametrize("text", [None, "", "no json", "[]", '{"license": ""}', '{"license": 7}'])
def test_no_licence_is_none(tmp_path, text):
    if text is not None:
        (tmp_path / "dataset_info.json").write_text(text)
    assert stated_licence(str(tmp_path / "data.arrow")) is None


@pytest.mark.parametrize("is_file", [False, True])
def test_streams_and_files_of_several_batches(is_file):
    data = arrow([{"image": [b"a", b"b"]}, {"image": [b"c", None]}], is_file=is_file)
    entries = list(arrow_entries(io.BytesIO(data)))
    assert [entry.name for entry in entries] == [f"{row:09d}" for row in range(4)]
    assert [entry.read() for entry in entries[:3]] == [b"a", b"b", b"c"]
    assert entries[3].refusal is not None and entries[3].refusal[0] == "empty"


def test_a_table_of_something_else():
    with pytest.raises(NoImagesError, match="label"):
        read(arrow([{"label": [1, 2]}]))


def test_a_stream_that_is_cut_off_gives_what_came_before():
    data = arrow([{"image": [bytes([batch]) * 900]} for batch in range(8)])
    found = []
    with pytest.raises(ARCHIVE_FAULTS):
        for entry in arrow_entries(io.BytesIO(data[: len(data) // 2])):
            found.append(entry.read())
    assert 1 < len(found) < 8


def test_offsets_that_lead_outside_are_faults():
    """Unchecked, they would be read from whatever lies there in memory."""
    data = arrow([{"image": [b"a" * 100, b"b" * 100]}])
    place = data.index(np.array([0, 100, 200], np.int32).tobytes())
    broken = data[: place + 8] + np.int32(1 << 30).tobytes() + data[place + 12 :]
    with pytest.raises(ARCHIVE_FAULTS):
        read(broken)


def test_json_of_the_info_file_is_what_the_library_writes(saved):
    info = json.loads((saved / "test" / "dataset_info.json").read_text())
    assert info["license"] == "CC-BY-4.0" and info["citation"] == "Somebody, 2020"

"""A tar of tars is read in stretches, which give what the whole gives."""

import pickle
from pathlib import Path

import pytest

from pipeline import tar_stretches
from pipeline.data_sets import DataSet, find_items, read_data_set
from pipeline.raw_files import FoundFile
from pipeline.tar_stretches import Stretch
from tests.archives import tar

Files = dict[str, bytes]


def jpg(number: int) -> bytes:
    return b"\xff\xd8\xff" + bytes([number]) * 900


FILES = {f"n{n:08d}.tar": {f"n{n:08d}_{k}.JPEG": jpg(9 * n + k) for k in (1, 2)} for n in (1, 2, 3)}


def tar_of_tars(root: Path) -> Path:
    inner = {name: tar(files) for name, files in FILES.items()}
    (root / "fall11_whole.tar").write_bytes(tar(inner))
    return root / "fall11_whole.tar"


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("layout", ["auto", "imagenet-21k"])
def test_stretches_give_what_the_whole_gives(tmp_path, monkeypatch, layout, is_named):
    uri = tar_of_tars(tmp_path)
    data_set = DataSet(uri=str(uri if is_named else tmp_path), layout=layout)
    whole = list(read_data_set(data_set))
    assert len(whole) == 6
    monkeypatch.setattr(tar_stretches, "STRETCH_BYTES", 12_000)
    items = list(find_items(data_set))
    assert [type(item) for item in items] == [Stretch] * len(items) and len(items) > 1
    assert list(read_data_set(data_set)) == whole
    assert pickle.loads(pickle.dumps(items)) == items
    assert len({item.path for item in items}) == len(items)
    assert all(item.version for item in items)


def test_other_tars_stay_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_stretches, "STRETCH_BYTES", 1000)
    inner = tar(FILES["n00000001.tar"])
    for name, data in {
        "images.tar": inner,
        "mixed.tar": tar({"a.tar": inner, "b.jpg": jpg(1)}),
        "packed.tar.gz": tar({"a.tar": inner, "b.tar": inner}, "w:gz"),
    }.items():
        (tmp_path / name).write_bytes(data)
    items = list(find_items(DataSet(uri=str(tmp_path))))
    assert [type(item) for item in items] == [FoundFile] * 3

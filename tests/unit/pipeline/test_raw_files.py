"""Listing and reading the files of data sets, on a disk and on an fsspec file system."""

import os
import tracemalloc
import uuid
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile

from pipeline import remote_files
from pipeline.errors import StorageError
from pipeline.raw_files import (
    found_file,
    is_folder,
    open_uri,
    read_range,
    read_uri,
    walk_folder,
)


def test_faults_while_reading_are_storage_errors(tmp_path):
    class Failing(MemoryFile):
        def read(self, size=-1):
            raise OSError(5, "input/output error")

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/faulty/k", b"x" * 10)
    file = memory.store["/faulty/k"]
    file.__class__ = Failing
    with (
        open_uri("memory://faulty/k") as reading,
        pytest.raises(StorageError, match="input/output"),
    ):
        reading.read()


@pytest.mark.parametrize("address", ["s3://me:pa55@photos/a", "zip://b.jpg::s3://pa55@photos/a"])
def test_s3_has_no_credentials_in_its_address_and_none_in_its_errors(address):
    with pytest.raises(StorageError, match="from the environment") as refused:
        read_uri(address)
    assert "me:pa55" not in str(refused.value)


def test_walk_is_sorted_and_does_not_follow_links(tmp_path):
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(b"o")
    root = tmp_path / "root"
    (root / "b").mkdir(parents=True)
    (root / "b" / "2.jpg").write_bytes(b"22")
    (root / "b" / "10.jpg").write_bytes(b"1")
    (root / "a.jpg").write_bytes(b"a")
    (root / "link.jpg").symlink_to(outside)
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "pipe.jpg")
    found = list(walk_folder(str(root)))
    assert [(file.path, file.kind) for file in found] == [
        ("a.jpg", "file"),
        ("b/10.jpg", "file"),
        ("b/2.jpg", "file"),
        ("link.jpg", "link"),
        ("loop", "link"),
        ("pipe.jpg", "other"),
    ]
    assert found[2].bytes == 2 and Path(found[2].uri) == root / "b" / "2.jpg"


def test_a_large_folder_costs_its_names(tmp_path):
    for number in range(2000):
        (tmp_path / f"{number:06d}.jpg").touch()
    tracemalloc.start()
    assert sum(1 for _ in walk_folder(str(tmp_path))) == 2000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / 2000 < 200


def test_walk_of_an_fsspec_folder_equals_the_local_one(tmp_path):
    name = uuid.uuid4().hex
    memory = fsspec.filesystem("memory")
    for path in ("a.jpg", "b/10.jpg", "b/2.jpg"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
        memory.pipe_file(f"/{name}/{path}", path.encode())
    local = [(file.path, file.bytes) for file in walk_folder(str(tmp_path))]
    remote = list(walk_folder(f"memory://{name}"))
    assert [(file.path, file.bytes) for file in remote] == local
    assert [read_uri(file.uri) for file in remote] == [file.path.encode() for file in remote]


def test_ranges_and_kinds(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files.time, "sleep", lambda _: pytest.fail("nothing broke off"))
    (tmp_path / "f").write_bytes(b"0123456789")
    fsspec.filesystem("memory").pipe_file("/ranges/f", b"0123456789")
    for uri in (str(tmp_path / "f"), "memory://ranges/f"):
        assert read_range(uri, 3, 4) == b"3456"
        assert read_range(uri, 8, 4) == b"89"
        assert read_range(uri, 10, 4) == read_range(uri, 99, 4) == read_range(uri, 3, 0) == b""
        assert not is_folder(uri) and is_folder(uri.rpartition("/")[0])
    with pytest.raises(FileNotFoundError, match="gone"):
        is_folder(str(tmp_path / "gone"))


def test_two_colons_in_the_name_of_a_local_file_are_no_chain_of_file_systems(tmp_path):
    (tmp_path / "zip::y.jpg").write_bytes(b"y")
    (found,) = walk_folder(str(tmp_path))
    assert read_uri(found.uri) == b"y" and read_range(found.uri, 0, 1) == b"y"
    with open_uri(found.uri) as stream:
        assert stream.read() == b"y"


def test_what_might_never_end_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="pipes and devices"):
            found_file(str(path), "")

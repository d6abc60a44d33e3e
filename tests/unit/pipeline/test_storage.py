"""The store behaves the same on a folder and on an fsspec file system, and hides vendors."""

import errno
import os
import pickle
import shutil
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import StorageError, StoreFullError
from pipeline.filesystems import public_uri
from pipeline.storage import (
    Store,
    dropped_key,
    image_shard_key,
    label_shard_key,
    model_prefix,
    run_prefix,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "store"))
    return Store(f"memory://{uuid.uuid4().hex}")


def test_put_and_get_give_the_same_bytes(store):
    store.put("a/b.bin", b"\0\xffxyz")
    assert store.get("a/b.bin") == b"\0\xffxyz"
    assert store.size("a/b.bin") == 5
    assert store.exists("a/b.bin") and store.is_file("a/b.bin")
    assert store.exists("a") and not store.is_file("a")


def test_put_replaces_but_exclusive_put_does_not(store):
    store.put("k", b"one")
    store.put("k", b"two")
    with pytest.raises(FileExistsError, match="k in"):
        store.put("k", b"three", exclusive=True)
    assert store.get("k") == b"two"
    store.put("new", b"mine", exclusive=True)
    assert store.get("new") == b"mine"


def test_exclusive_put_has_one_winner_among_threads(tmp_path):
    store, won = Store(str(tmp_path)), []

    def claim(name: bytes) -> None:
        try:
            store.put("claim", name * 1000, exclusive=True)
        except FileExistsError:
            return
        won.append(name)

    threads = [threading.Thread(target=claim, args=(bytes([65 + i]),)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("claim") == won[0] * 1000


def test_missing_objects_are_file_not_found(store):
    for ask in (store.get, store.size, store.open):
        with pytest.raises(FileNotFoundError, match="gone in"):
            ask("gone")
    assert not store.exists("gone") and not store.is_file("gone")
    store.delete("gone")


def test_open_reads_anywhere(store):
    data = os.urandom(5000)
    store.put("k", data)
    with store.open("k") as file:
        file.seek(-100, os.SEEK_END)
        assert file.read() == data[-100:]
        file.seek(17)
        assert file.read(40) == data[17:57]


def test_list_is_sorted_recursive_and_below_a_folder_only(store):
    for key in ("b/2", "b/1/x", "bb/3", "a", "b/10"):
        store.put(key, b"")
    assert list(store.list("b")) == ["b/1/x", "b/10", "b/2"]
    assert list(store.list()) == ["a", "b/1/x", "b/10", "b/2", "bb/3"]
    assert list(store.list("nothing")) == []
    assert list(store.list("a")) == []


def test_delete_removes_one_object(store):
    store.put("a/1", b"")
    store.put("a/2", b"")
    store.delete("a/1")
    assert list(store.list()) == ["a/2"]


@pytest.mark.parametrize(
    "key", ["", "/abs", "../up", "a/../b", "a//b", "./a", "a\\b", "a\0b", "a/"]
)
def test_keys_cannot_leave_the_store(store, key):
    for ask in (store.get, store.exists, store.delete, store.local_path if key else store.get):
        with pytest.raises(ValueError, match="no key"):
            ask(key)
    with pytest.raises(ValueError, match="no key"):
        store.put(key, b"")


def test_folders_travel_both_ways(store, tmp_path):
    source = tmp_path / "model"
    (source / "sub").mkdir(parents=True)
    (source / "config.json").write_bytes(b"{}")
    (source / "sub" / "weights").write_bytes(b"\1" * 3000)
    store.put_folder(source, "models/m")
    assert list(store.list("models/m")) == ["models/m/config.json", "models/m/sub/weights"]
    store.get_folder("models/m", tmp_path / "back")
    assert (tmp_path / "back" / "sub" / "weights").read_bytes() == b"\1" * 3000
    with pytest.raises(FileNotFoundError, match="models/none"):
        store.get_folder("models/none", tmp_path / "none")


def test_an_interrupted_put_leaves_nothing(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    store.put("k", b"old")

    def power_cut(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", power_cut)
    with pytest.raises(KeyboardInterrupt):
        store.put("k", b"new")
    assert store.get("k") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


def test_temporary_names_of_a_killed_writer_are_not_listed(tmp_path):
    (tmp_path / ".tmp-0123").write_bytes(b"half")
    assert list(Store(str(tmp_path)).list()) == []


def test_store_survives_pickling(store):
    store.put("k", b"v")
    again = pickle.loads(pickle.dumps(store))
    assert again.get("k") == b"v" and again == store and again.uri == store.uri


def test_local_path_is_for_local_stores(tmp_path):
    assert Store(str(tmp_path)).local_path("a/b") == tmp_path / "a" / "b"
    assert Store(f"file://{tmp_path}").local_path("") == tmp_path
    assert Store("memory://x").local_path("a") is None


def test_unknown_schemes_are_refused_at_once():
    with pytest.raises(ValueError, match="nosuch"):
        Store("nosuch://bucket")


@pytest.mark.parametrize(
    "uri",
    ["ftp://user:hunter2@host/x", "https://host/a.tar?X-Amz-Signature=hunter2&b=1"],
)
def test_credentials_are_never_shown(uri):
    assert "hunter2" not in Store(uri).uri + repr(Store(uri)) + public_uri(uri)
    assert "host" in public_uri(uri)


class _BrokenFileSystem(fsspec.AbstractFileSystem):
    protocol = "broken"

    def info(self, path, **options):
        raise RuntimeError("GET https://u:hunter2@host/x?sig=hunter2 failed")

    def pipe_file(self, path, value, **options):
        raise PermissionError("https://u:hunter2@host/x")


def test_vendor_errors_become_ours_with_their_cause():
    fsspec.register_implementation("broken", _BrokenFileSystem, clobber=True)
    store = Store("broken://bucket")
    with pytest.raises(StorageError, match="k in broken://bucket: RuntimeError") as caught:
        store.open("k")
    assert "hunter2" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(PermissionError, match="k in") as denied:
        store.put("k", b"")
    assert "hunter2" not in str(denied.value)


def test_keys_of_the_layout():
    assert image_shard_key("src", "s1") == "sources/src/s1.parquet"
    assert dropped_key("src", "s1") == "sources/src/dropped/s1.parquet"
    assert label_shard_key("set", "s1", "3-ab") == "labels/set/s1/3-ab.parquet"
    assert model_prefix("m") == "models/m" and run_prefix("r") == "runs/r"
    with pytest.raises(ValueError, match="no name"):
        image_shard_key("../x", "s1")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["write", "sync", "name"])
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, number, step):
    store = Store(str(tmp_path))
    store.put("a/old", b"old")

    def full(*_, **__):
        raise OSError(number, os.strerror(number))

    def half_written(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        full()

    if step == "write":
        monkeypatch.setattr(Path, "write_bytes", half_written)
    else:
        monkeypatch.setattr(os, {"sync": "fsync", "name": "link"}[step], full)
    with pytest.raises(StoreFullError, match=r"a/new in .*space|a/new in .*[Qq]uota"):
        store.put("a/new", b"x" * 1000, exclusive=True)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "old"]


ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from pipeline.errors import StoreFullError
from pipeline.shards import write_image_shard
from pipeline.storage import Store
from tests.factories import image_record, png
store = Store(sys.argv[1] + "/store")
store.put("a", b"a" * 500_000, exclusive=True)
for write in (
    lambda: store.put("b", b"b" * 3_000_000, exclusive=True),
    lambda: store.put_folder(Path(sys.argv[1] + "/folder"), "c"),
):
    try:
        write()
    except StoreFullError as error:
        print("full:", error)
try:
    write_image_shard(store, [image_record(n, data=png(n, width=900, height=900))
        for n in range(2)], source="s", code_version="test")
except OSError as error:
    print("full:", error)
assert list(store.list()) == ["a"], list(store.list())
names = sorted(path.name for path in Path(sys.argv[1] + "/store").rglob("*") if path.is_file())
assert names == ["a"], names
store.put("b", b"b" * 500_000, exclusive=True)
assert store.get("b") == b"b" * 500_000
"""


def test_a_disk_that_is_really_full(tmp_path):
    """On a file system of 2 MB, mounted in a namespace of its own."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "large").write_bytes(b"c" * 3_000_000)
    script = (
        'mount -t tmpfs -o size=2m none "$1/disk" || exit 99\n'
        'mkdir "$1/disk/folder" && mount --bind "$1/folder" "$1/disk/folder" || exit 99\n'
        'exec "$2" -c "$3" "$1/disk"'
    )
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-r", "--mount"]
    if shutil.which("unshare") is None:
        pytest.skip("no `unshare` here to mount a small disk with")
    arguments = [str(tmp_path), sys.executable, ON_A_SMALL_DISK]
    done = subprocess.run(
        [*command, "sh", "-c", script, "sh", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 99 or "unshare" in done.stderr.partition("\n")[0]:
        pytest.skip(f"this machine lets nobody mount a small disk: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("full:") == 3

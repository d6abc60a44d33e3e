"""Whatever a data set is packed in, the same members come out; nothing is lost or trusted."""

import gzip
import io
import os
import tarfile
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import containers, sources
from pipeline.data_sets import DataSet, find_items, read_data_set, read_item
from pipeline.errors import SourceError, StorageError
from pipeline.identity import sha256_hex
from pipeline.raw_files import FoundFile, read_range
from pipeline.records import Drop, Member
from pipeline.sources import load, weight
from tests.archives import tar

Files = dict[str, bytes]
FILES: Files = {f"{kind}/{number}.jpg": os.urandom(700) for kind in "ab" for number in range(3)}


def tar_gz(files: Files) -> bytes:
    return gzip.compress(tar(files))


def stored_zip(files: Files, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def packed_zip(files: Files) -> bytes:
    return stored_zip(files, zipfile.ZIP_DEFLATED)


def parquet(files: Files) -> bytes:
    buffer = io.BytesIO()
    rows = [{"bytes": data, "path": name} for name, data in files.items()]
    pq.write_table(pa.table({"image": rows}), buffer)
    return buffer.getvalue()


PACKERS: dict[str, Callable[[Files], bytes]] = {
    "x.tar": tar,
    "x.tar.gz": tar_gz,
    "x.tgz": tar_gz,
    "stored.zip": stored_zip,
    "packed.zip": packed_zip,
    "x.parquet": parquet,
}


def written(root: Path, files: Files) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def everything(uri: object, layout: str = "auto", **options: object) -> list[Member | Drop]:
    return list(read_data_set(DataSet(uri=str(uri), layout=layout, **options)))


def members(uri: object, layout: str = "auto") -> Files:
    found = everything(uri, layout)
    assert all(isinstance(item, Member) for item in found), found
    return {item.path: item.data for item in found}


def reasons(found: list[Member | Drop]) -> dict[str, str | None]:
    return {item.path: getattr(item, "reason", None) for item in found}


def test_a_folder(tmp_path):
    found = everything(written(tmp_path, FILES))
    assert [item.path for item in found] == sorted(FILES)
    assert {item.path: item.data for item in found} == FILES
    assert {item.uri for item in found} == {str(tmp_path / name) for name in FILES}
    assert all(item.offset == 0 for item in found)


@pytest.mark.parametrize("name", sorted(PACKERS))
def test_an_archive_has_the_members_of_the_folder(tmp_path, name):
    (tmp_path / name).write_bytes(PACKERS[name](FILES))
    assert members(tmp_path / name) == FILES


@pytest.mark.parametrize("outer", sorted(PACKERS)[:-1])
@pytest.mark.parametrize("inner", sorted(PACKERS))
def test_archives_in_archives_and_folders(tmp_path, outer, inner):
    nested = {"before.jpg": b"b", inner: PACKERS[inner](FILES), "z/after.jpg": b"a"}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / outer).write_bytes(PACKERS[outer](nested))
    expected = {"before.jpg": b"b", "z/after.jpg": b"a"}
    expected |= {f"{inner}/{path}": data for path, data in FILES.items()}
    assert members(tmp_path / "data" / outer) == expected
    assert members(tmp_path / "data") == {
        f"{outer}/{path}": data for path, data in expected.items()
    }


def test_real_photographs_in_every_packing(shared_data, tmp_path):
    folder = shared_data / "photos" / "night"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    expected = sorted(sha256_hex(data) for data in files.values())
    nested = tar({"one.tar": tar(files), "two.tar.gz": tar_gz({})})
    for name, data in [*((name, pack(files)) for name, pack in PACKERS.items()), ("n.tar", nested)]:
        (tmp_path / name).write_bytes(data)
        found = everything(tmp_path / name)
        assert sorted(sha256_hex(item.data) for item in found) == expected, name
    assert sorted(sha256_hex(item.data) for item in everything(folder)) == expected


@pytest.mark.parametrize(
    ("path", "images", "others"),
    [
        ("bdd100k/bdd100k_images_100k.zip", 3, 0),
        ("gldv2/images_000.tar", 3, 0),
        ("imagenet21k/fall11_whole.tar", 4, 0),  # a tar of tars
        ("objects365/patch0.tar.gz", 3, 0),
        ("openimages/train_0.tar.gz", 3, 0),
        ("places365/train_large_places365standard.tar", 3, 0),
        ("sa1b/sa_000000.tar", 4, 4),  # each with its JSON
    ],
)
def test_the_unlabelled_sets_of_the_paper(shared_data, path, images, others):
    found = everything(shared_data / "containers" / "unlabelled" / path)
    pictures = [item for item in found if item.data.startswith(b"\xff\xd8\xff")]
    assert (len(pictures), len(found) - len(pictures)) == (images, others)


def test_lmdb_in_a_zip(shared_data):
    found = everything(shared_data / "containers/unlabelled/lsun/bedroom_val_lmdb.zip")
    values, lock = found[:-1], found[-1]
    assert [item.data[:4] for item in values] == [b"RIFF"] * 4
    assert {len(item.path.rpartition("/")[2]) for item in values} == {40}
    assert lock.path == "bedroom_val_lmdb/lock.mdb"  # a member until somebody looks at it


@pytest.mark.parametrize("name", ["x.tar", "stored.zip"])
def test_members_can_be_read_in_place(tmp_path, name):
    inner = tar(FILES)
    (tmp_path / name).write_bytes(PACKERS[name](FILES | {"inner.tar": inner}))
    (tmp_path / "plain.jpg").write_bytes(b"plain")
    found = everything(tmp_path)
    assert len(found) == 2 * len(FILES) + 1
    for item in found:
        assert read_range(item.uri, item.offset, len(item.data)) == item.data


@pytest.mark.parametrize("name", ["x.tar.gz", "packed.zip", "x.parquet"])
def test_packed_members_have_no_place(tmp_path, name):
    (tmp_path / name).write_bytes(PACKERS[name](FILES))
    assert {item.offset for item in everything(tmp_path / name)} == {None}


def test_the_order_is_the_same_each_time(tmp_path):
    written(tmp_path, FILES | {"m.tar": tar(FILES), "c/z.zip": stored_zip(FILES)})
    first = [item.path for item in everything(tmp_path)]
    assert first == [item.path for item in everything(tmp_path)]
    assert len(set(first)) == len(first) == 3 * len(FILES)


def test_any_fsspec_url(tmp_path):
    memory, name = fsspec.filesystem("memory"), uuid.uuid4().hex
    for path, data in FILES.items():
        memory.pipe_file(f"/{name}/{path}", data)
    for path, pack in PACKERS.items():
        memory.pipe_file(f"/{name}-packed/{path}", pack(FILES))
    assert members(f"memory://{name}") == FILES
    for path in PACKERS:
        assert members(f"memory://{name}-packed/{path}") == FILES
    first = everything(f"memory://{name}")[0]
    assert first.uri == f"memory://{name}/a/0.jpg"
    assert read_range(first.uri, first.offset, len(first.data)) == first.data
    assert len(members(f"memory://{name}-packed")) == len(PACKERS) * len(FILES)


def test_a_single_image(tmp_path):
    (tmp_path / "one.jpg").write_bytes(b"\xff\xd8\xffpixels")
    (item,) = everything(tmp_path / "one.jpg")
    assert (item.path, item.data, item.offset) == ("one.jpg", b"\xff\xd8\xffpixels", 0)


def test_files_that_are_no_images_are_members_too(tmp_path):
    """Whether they are images is for `examine` to say; here nothing may be lost."""
    files = {"notes.txt": b"text", "empty.jpg": b"", ".DS_Store": b"x", "._a.zip": b"AppleDouble"}
    assert members(written(tmp_path, files)) == files


HOSTILE = [
    "/etc/passwd",
    "../../up.jpg",
    "a/../../b.jpg",
    "C:\\w\\x.jpg",
    "..\\..\\y.jpg",
    "./c.jpg",
]


@pytest.mark.parametrize("name", ["x.tar", "stored.zip", "x.parquet"])
def test_names_are_never_trusted(tmp_path, name):
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    (inside / name).write_bytes(PACKERS[name]({path: path.encode() for path in HOSTILE}))
    before = sorted(tmp_path.rglob("*"))
    found = members(inside / name)
    assert sorted(tmp_path.rglob("*")) == before
    assert set(found) == {"etc/passwd", "up.jpg", "a/b.jpg", "C:/w/x.jpg", "y.jpg", "c.jpg"}


def test_the_same_name_twice_is_two_members(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("a.jpg", "a.jpg#2", "./a.jpg", "x/../a.jpg", "b.jpg", "a.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))
    (tmp_path / "x.tar").write_bytes(buffer.getvalue())
    paths = [item.path for item in everything(tmp_path / "x.tar")]
    assert paths == ["a.jpg", "a.jpg#2", "a.jpg#3", "x/a.jpg", "b.jpg", "a.jpg#4"]


def test_links_and_pipes_in_a_folder_are_dropped(tmp_path):
    root = written(tmp_path / "root", {"a.jpg": b"a"})
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "pipe.jpg")
    assert reasons(everything(root)) == {
        "a.jpg": None,
        "link.jpg": "not_a_file",
        "loop": "not_a_file",
        "pipe.jpg": "not_a_file",
    }


def test_large_files_are_dropped_unread(tmp_path):
    files = {"large.jpg": b"x" * 2000, "small.jpg": b"x" * 1000}
    written(tmp_path / "folder", files)
    for name, pack in PACKERS.items():
        (tmp_path / name).write_bytes(pack(files))
    for place in ["folder", *PACKERS, "folder/large.jpg"]:
        found = reasons(everything(tmp_path / place, max_bytes=1000))
        assert found.pop("large.jpg") == "too_many_bytes", place
        assert set(found.values()) <= {None}


def test_a_broken_archive_among_good_ones(tmp_path):
    good = {f"{letter}.tar": tar({"x.jpg": b"x"}) for letter in "ac"}
    written(tmp_path, good | {"b.tar": b"this is no tar at all" * 99, "d.zip": b"PK\3\4 broken"})
    assert reasons(everything(tmp_path)) == {
        "a.tar/x.jpg": None,
        "b.tar": "corrupt_archive",
        "c.tar/x.jpg": None,
        "d.zip": "corrupt_archive",
    }


@pytest.mark.parametrize("inner", ["x.tar", "x.tar.gz", "stored.zip", "x.parquet"])
@pytest.mark.parametrize("outer", ["x.tar", "x.tgz", "packed.zip"])
def test_a_broken_archive_inside_an_archive(tmp_path, outer, inner):
    whole = PACKERS[inner](FILES)
    files = {"before.jpg": b"b", inner: whole[: len(whole) * 2 // 3], "z.jpg": b"a"}
    (tmp_path / outer).write_bytes(PACKERS[outer](files))
    found = reasons(everything(tmp_path / outer))
    assert found["before.jpg"] is None and found["z.jpg"] is None
    assert found[inner] == "corrupt_archive"


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_a_truncated_archive_gives_what_it_has(tmp_path, name):
    whole = PACKERS[name]({f"{n}.jpg": os.urandom(5000) for n in range(20)})
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    *good, last = everything(tmp_path / name)
    assert 5 < len(good) < 15 and all(isinstance(item, Member) for item in good)
    assert (last.path, last.reason) == (name, "corrupt_archive")


@pytest.mark.parametrize("name", sorted(PACKERS))
def test_a_named_archive_that_gives_nothing_is_an_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing of the kind " * 50)
    with pytest.raises(SourceError, match=f"{name} cannot be read as"):
        everything(tmp_path / name)


def test_what_is_not_there_is_an_error_at_once(tmp_path):
    for uri in (tmp_path / "gone", "memory://gone/gone.tar"):
        with pytest.raises(SourceError, match="there is nothing at"):
            find_items(DataSet(uri=str(uri)))
    (tmp_path / "x.rar").write_bytes(b"Rar!")
    with pytest.raises(SourceError, match="unpack it first"):
        find_items(DataSet(uri=str(tmp_path / "x.rar")))
    with pytest.raises(ValueError, match="layout"):
        find_items(DataSet(uri=str(tmp_path), layout="heap"))


def test_an_empty_folder_or_archive_has_no_members(tmp_path):
    (tmp_path / "empty.tar").write_bytes(tar({}))
    assert everything(tmp_path / "empty.tar") == everything(tmp_path) == []


def test_archives_are_opened_only_so_deep(tmp_path):
    data = tar({"x.jpg": b"x"})
    for _ in range(sources.MAX_NESTING + 1):
        data = tar({"n.tar": data, "y.jpg": b"y"})
    (tmp_path / "deep.tar").write_bytes(data)
    found = everything(tmp_path / "deep.tar")
    assert [item.reason for item in found if isinstance(item, Drop)] == ["nested_too_deep"]
    assert sum(isinstance(item, Member) for item in found) == sources.MAX_NESTING + 1


def test_a_zip_in_a_packed_tar_is_copied_only_up_to_a_limit(tmp_path, monkeypatch):
    files = {"in.zip": stored_zip(FILES), "a.jpg": b"a"}
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(tar(files)))
    (tmp_path / "x.tar").write_bytes(tar(files))
    monkeypatch.setattr(containers, "MAX_COPY_BYTES", 100)
    packed = reasons(everything(tmp_path / "x.tar.gz"))
    assert packed == {"in.zip": "too_many_bytes", "a.jpg": None}
    assert len(everything(tmp_path / "x.tar")) == len(FILES) + 1, "there it is read in place"


def test_layouts(tmp_path):
    written(tmp_path, {"a.jpg": b"a", "b.tar": tar({"x.jpg": b"x"})})
    assert set(members(tmp_path)) == {"a.jpg", "b.tar/x.jpg"}
    assert set(members(tmp_path, "images")) == {"a.jpg", "b.tar"}
    (tmp_path / "shard-000").write_bytes(stored_zip(FILES))
    assert members(tmp_path / "shard-000", "zip") == FILES
    assert members(tmp_path / "shard-000") == FILES  # known by its first bytes
    with pytest.raises(SourceError, match="cannot be read as tar"):
        everything(tmp_path / "shard-000", "tar")


def test_names_may_be_wrong_about_compression(tmp_path):
    (tmp_path / "x.tar.gz").write_bytes(tar(FILES))
    (tmp_path / "x.tar").write_bytes(tar_gz(FILES))
    assert members(tmp_path / "x.tar.gz") == members(tmp_path / "x.tar") == FILES


def test_a_file_that_may_not_be_read_is_dropped(tmp_path, monkeypatch):
    written(tmp_path, {"a.jpg": b"a", "b.jpg": b"b", "c.tar": tar({"x.jpg": b"x"})})
    allowed = sources.read_uri

    def guarded(uri: str) -> bytes:
        if uri.endswith("b.jpg"):
            raise PermissionError("not yours")
        return allowed(uri)

    monkeypatch.setattr(sources, "read_uri", guarded)
    found = reasons(everything(tmp_path))
    assert found == {"a.jpg": None, "b.jpg": "unreadable", "c.tar/x.jpg": None}


def test_a_lost_connection_is_not_a_broken_archive(tmp_path, monkeypatch):
    """Else half a data set would be taken for all of it."""
    for name in ("x.tar", "x.tar.gz", "stored.zip", "x.parquet"):
        files = {f"{n}.jpg": os.urandom(300_000) for n in range(20)}
        (tmp_path / name).write_bytes(PACKERS[name](files))

    class Failing(io.FileIO):
        def readinto(self, buffer):
            if self.tell() > 2_000_000:
                raise OSError(5, "connection lost")
            return super().readinto(buffer)

    real_open = Path.open

    def flaky(self, mode="r", *args, **options):
        return Failing(self) if mode == "rb" else real_open(self, mode, *args, **options)

    monkeypatch.setattr(Path, "open", flaky)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(StorageError, match="connection lost"):
            everything(path)


def test_plain_files_are_handed_out_unread(tmp_path):
    written(tmp_path, {"a.jpg": b"abc", "b.tar": tar({"x.jpg": b"x"})})
    data_set = DataSet(uri=str(tmp_path))
    first, second = (found for item in find_items(data_set) for found in read_item(item, data_set))
    assert isinstance(first, FoundFile) and isinstance(second, Member)
    assert weight(first) == 3 and weight(second) == 1
    assert load(first) == Member("a.jpg", str(tmp_path / "a.jpg"), b"abc", offset=0)
    assert load(second) is second


def test_synthetic_sources_are_delegated():
    found = everything("synthetic://rooms?n=2&seed=1&width=64&height=48")
    assert len(found) == 2 and all(item.truth is not None for item in found)

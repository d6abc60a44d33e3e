"""What can be read at will: listed without its data, read in one range, checked against lies."""

import io
import os
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import fsspec
import pytest

from pipeline.archives import EntryError
from pipeline.parts import NotAtWillError, Part, list_archive, list_entries, loose_part, read_part
from pipeline.raw_files import FoundFile
from pipeline.records import Drop
from tests.archives import tar, zipped

FILES = {f"{kind}/{number}.bin": os.urandom(500) + b"x" * 500 for kind in "ab" for number in (1, 2)}


def found(tmp_path: Path, name: str, data: bytes) -> FoundFile:
    (tmp_path / name).write_bytes(data)
    return FoundFile(name, str(tmp_path / name), len(data), version="7")


def read_all(file: FoundFile) -> dict[str, bytes]:
    parts = list(list_archive(file))
    assert all(isinstance(part, Part) for part in parts), parts
    return {part.path: read_part(part).data for part in parts}


PACKED = {
    "x.tar": tar(FILES),
    "pax.tar": tar({f"{'long' * 60}/{name}": data for name, data in FILES.items()}),
    "stored.zip": zipped(FILES, zipfile.ZIP_STORED),
    "packed.zip": zipped(FILES),
}


@pytest.mark.parametrize("name", sorted(PACKED))
def test_the_parts_of_an_archive_are_its_files(tmp_path, name):
    read = read_all(found(tmp_path, name, PACKED[name]))
    assert {path.removeprefix(f"{name}/").rpartition("long/")[2]: data for path, data in
            read.items()} == FILES  # fmt: skip


@pytest.mark.parametrize("inner", ["x.tar", "stored.zip", "packed.zip"])
@pytest.mark.parametrize("outer", ["o.tar", "o.zip"])
def test_archives_that_lie_in_archives_as_they_are(tmp_path, outer, inner):
    files = {inner: PACKED[inner], "plain": b"plain"}
    data = tar(files) if outer == "o.tar" else zipped(files, zipfile.ZIP_STORED)
    read = read_all(found(tmp_path, outer, data))
    assert read == {f"{outer}/{inner}/{name}": data for name, data in FILES.items()} | {
        f"{outer}/plain": b"plain"
    }


def test_where_bytes_lie(tmp_path):
    for name, is_in_place in {"x.tar": True, "stored.zip": True, "packed.zip": False}.items():
        file = found(tmp_path, name, PACKED[name])
        for part in list_archive(file):
            placed = read_part(pickle.loads(pickle.dumps(part)))
            assert (placed.offset is not None) is is_in_place
            if placed.offset is not None:
                whole = Path(file.uri).read_bytes()
                assert whole[placed.offset :].startswith(placed.data)


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
def test_what_can_only_be_streamed_says_so_before_anything_is_given(tmp_path, suffix):
    packed = tar(FILES, f"w:{suffix}")
    with pytest.raises(NotAtWillError):
        list_archive(found(tmp_path, f"x.tar.{suffix}", packed))
    for name, data in {"a.tar": tar({"f": b"f", f"i.tar.{suffix}": packed}),
                       "b.zip": zipped({"f": b"f", "i.tar": tar(FILES)})}.items():  # fmt: skip
        with pytest.raises(NotAtWillError):
            list_archive(found(tmp_path, name, data))


def test_a_packed_archive_that_is_not_to_be_opened_is_a_file(tmp_path):
    file = found(tmp_path, "x.zip", zipped({"labels.tar.gz": tar(FILES, "w:gz")}))
    (part,) = list_archive(file, skip=lambda path: "labels" in path)
    assert part.path == "x.zip/labels.tar.gz"


def test_names_never_lead_outside_and_links_are_dropped(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("/etc/passwd", "../../up.jpg", "a/../b.jpg"):
            info = tarfile.TarInfo(name)
            archive.addfile(info, io.BytesIO(b""))
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/shadow"
            archive.addfile(info)
    items = list(list_archive(found(tmp_path, "x.tar", buffer.getvalue())))
    paths = [item.path for item in items if isinstance(item, Part)]
    assert paths == ["x.tar/etc/passwd", "x.tar/up.jpg", "x.tar/a/b.jpg"]
    drops = {item.path: item.reason for item in items if isinstance(item, Drop)}
    assert drops == {"x.tar/soft": "not_a_file", "x.tar/hard": "not_a_file"}


def test_other_packings_and_passwords_are_drops(tmp_path):
    data = bytearray(zipped({"lzma": b"x" * 50}, zipfile.ZIP_LZMA))
    (item,) = list_archive(found(tmp_path, "x.zip", bytes(data)))
    assert item.reason == "unsupported_packing" and "method 14" in item.detail
    data = bytearray(zipped({"secret": b"x" * 50}))
    data[data.index(b"PK\1\2") + 8] |= 1
    (item,) = list_archive(found(tmp_path, "y.zip", bytes(data)))
    assert item.reason == "encrypted"


def test_a_declared_size_that_lies_is_never_unpacked(tmp_path):
    data = bytearray(zipped({"bomb": b"\0" * 50_000_000}))
    at = data.index(b"PK\1\2")
    struct.pack_into("<I", data, at + 24, 1000)
    (part,) = list_archive(found(tmp_path, "x.zip", bytes(data)))
    tracemalloc.start()
    with pytest.raises(EntryError, match=r"x\.zip/bomb: 1,001 bytes came of 1,000"):
        read_part(part)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_large_entries_are_dropped_unread(tmp_path):
    file = found(tmp_path, "x.zip", zipped({"big": b"\0" * 2000, "small": b"1"}))
    items = {item.path: item for item in list_archive(file, max_bytes=1000)}
    assert items["x.zip/big"].reason == "too_many_bytes"
    assert items["x.zip/big"].bytes == 2000
    assert isinstance(items["x.zip/small"], Part)


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_flipped_bits_are_noticed(tmp_path, packing):
    data = bytearray(zipped({"a": os.urandom(1000)}, packing))
    (part,) = list_archive(found(tmp_path, "x.zip", bytes(data)))
    data[100] ^= 1
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(EntryError):
        read_part(part)


def test_a_file_that_shrank_or_went_after_it_was_listed(tmp_path):
    file = found(tmp_path, "x.tar", PACKED["x.tar"])
    parts = list(list_archive(file))
    os.truncate(file.uri, 2000)
    with pytest.raises(EntryError, match="the file ends after"):
        read_part(parts[-1])
    Path(file.uri).unlink()
    with pytest.raises(FileNotFoundError):
        read_part(parts[0])


@pytest.mark.parametrize("cut", [600, 1800, len(PACKED["x.tar"]) - 9000])
def test_a_tar_that_breaks_off_gives_what_it_has(tmp_path, cut):
    items = list(list_archive(found(tmp_path, "x.tar", PACKED["x.tar"][:cut])))
    assert [item.reason for item in items if isinstance(item, Drop)] == ["corrupt_archive"]
    for part in items[:-1]:
        assert read_part(part).data == FILES[part.path.removeprefix("x.tar/")]


def test_hostile_tar_headers(tmp_path):
    """A name of 1 GB, and an entry of negative size that would go round for ever."""
    long_name = tarfile.TarInfo("x")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    negative = tarfile.TarInfo("x").tobuf()
    size = struct.pack(">B3xq", 0xFF, -1024)
    negative = negative[:124] + size + negative[136:]
    checksum = sum(negative[:148] + b" " * 8 + negative[156:])
    negative = negative[:148] + b"%06o\0 " % checksum + negative[156:]
    for head in (long_name.tobuf(tarfile.GNU_FORMAT), negative):
        items = list(list_archive(found(tmp_path, "x.tar", head + b"\0" * 4096)))
        assert [item.reason for item in items] == ["corrupt_archive"]


def test_random_damage_gives_parts_or_drops_and_right_bytes(tmp_path):
    import random

    chance = random.Random(5)
    for name in ("x.tar", "packed.zip", "stored.zip"):
        for _ in range(60):
            data = bytearray(PACKED[name])
            for _ in range(chance.randrange(1, 4)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            for item in list_archive(found(tmp_path, name, bytes(data))):
                if isinstance(item, Part):
                    try:
                        read = read_part(item)
                    except EntryError:
                        continue
                    assert len(read.data) == item.size
                    assert item.checksum in (None, zlib.crc32(read.data))


def test_loose_files_and_far_archives():
    memory = fsspec.filesystem("memory")
    memory.pipe({"/parts/a.bin": b"loose", "/parts/x.zip": PACKED["packed.zip"],
                 "/parts/x.tar": PACKED["x.tar"]})  # fmt: skip
    try:
        part = loose_part(FoundFile("a.bin", "memory://parts/a.bin", 5))
        assert read_part(part).data == b"loose" and read_part(part).offset == 0
        for name in ("x.zip", "x.tar"):
            size = memory.size(f"/parts/{name}")
            read = read_all(FoundFile(name, f"memory://parts/{name}", size))
            assert read == {f"{name}/{path}": data for path, data in FILES.items()}
    finally:
        memory.rm("/parts", recursive=True)


def test_listing_leaves_archives_inside_unopened(tmp_path):
    file = found(tmp_path, "x.tar", tar({"a.tar": PACKED["x.tar"], "b.tar.gz": b"?"}))
    assert [part.path for part in list_entries(file)] == ["x.tar/a.tar", "x.tar/b.tar.gz"]

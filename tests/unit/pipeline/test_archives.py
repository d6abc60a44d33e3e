"""Archives are read entry by entry, and cannot make us read more than we want."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile

import pytest

from pipeline.archives import (
    ARCHIVE_FAULTS,
    EntryError,
    archive_kind,
    is_other_archive,
    random_access,
    sniff_archive,
    tar_entries,
    zip_entries,
)
from pipeline.errors import StorageError
from tests.archives import tar

FILES = {f"d/{index}.jpg": bytes([index]) * (400 + 113 * index) for index in range(5)}


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def contents(entries) -> dict[str, bytes]:
    return {entry.name: entry.read() for entry in entries}


class OnlyForward(io.RawIOBase):
    """A stream as it comes from a socket or out of another archive."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._data.readinto(buffer)


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_tars_of_all_kinds(format_, pack):
    data = pack(tar(FILES, format_=format_))
    entries = list(tar_entries(io.BytesIO(data)))
    assert [entry.name for entry in entries] == list(FILES)
    assert contents(tar_entries(OnlyForward(data))) == FILES


def test_offsets_in_a_plain_tar_are_where_the_bytes_are():
    data = tar({"long" * 60 + ".jpg": b"after a long name", **FILES})
    for entry in tar_entries(io.BytesIO(data)):
        assert data[entry.offset : entry.offset + entry.size] == entry.read()
    packed = list(tar_entries(io.BytesIO(gzip.compress(data))))
    assert [entry.offset for entry in packed] == [None] * len(packed)


def test_entries_need_not_be_read():
    names = [entry.name for entry in tar_entries(OnlyForward(tar(FILES)))]
    assert names == list(FILES)


def test_entries_that_are_no_files_are_refused():
    buffer = io.BytesIO()
    kinds = {
        "soft": tarfile.SYMTYPE,
        "hard": tarfile.LNKTYPE,
        "device": tarfile.CHRTYPE,
        "pipe": tarfile.FIFOTYPE,
        "folder": tarfile.DIRTYPE,
    }
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    entries = list(tar_entries(io.BytesIO(buffer.getvalue())))
    assert [entry.name for entry in entries] == ["soft", "hard", "device", "pipe"]
    assert all(entry.refusal[0] == "not_a_file" for entry in entries)
    assert "/etc/passwd" in entries[0].refusal[1]


def test_a_tar_that_ends_inside_an_entry():
    data = tar(FILES)
    entries = tar_entries(io.BytesIO(data[: data.index(b"\2\2\2") + 100]))
    assert [next(entries).read() for _ in range(2)] == list(FILES.values())[:2]
    broken = next(entries)
    with pytest.raises(EOFError, match=r"ends inside 'd/2\.jpg'"):
        broken.read()
    with pytest.raises(tarfile.ReadError):
        next(entries)


def test_a_tar_without_its_end_mark_is_noticed():
    """Cut between two entries it looks complete to `tarfile`, which ends silently."""
    data = tar(FILES)
    second = 512 + 512  # header and one block of the first entry
    with tarfile.open(fileobj=io.BytesIO(data[:second])) as archive:
        assert len(archive.getnames()) == 1
    entries = tar_entries(io.BytesIO(data[:second]))
    assert next(entries).name == "d/0.jpg"
    with pytest.raises(tarfile.ReadError, match="no end mark"):
        next(entries)


def test_a_broken_header_in_the_middle_is_noticed():
    data = bytearray(tar(FILES))
    data[1024 + 20] ^= 0xFF
    entries = tar_entries(io.BytesIO(bytes(data)))
    next(entries)
    with pytest.raises(tarfile.ReadError, match="no end mark"):
        next(entries)


def test_headers_of_any_size_are_not_read_into_memory():
    """A PAX header that declares 500 MB, packed to nothing by gzip."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 500 << 20
    head = info.tobuf(tarfile.USTAR_FORMAT)
    bomb = gzip.compress(head) + gzip.compress(b"\0" * (32 << 20)) * 16
    tracemalloc.start()
    with pytest.raises(tarfile.ReadError, match="a header of 524288000 bytes"):
        list(tar_entries(io.BytesIO(bomb)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_a_size_below_zero_does_not_loop():
    info = tarfile.TarInfo("a.jpg")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xf0\x00"  # base 256: -4096
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(tarfile.ReadError):
        list(tar_entries(io.BytesIO(bytes(header) * 4)))


def test_a_chain_of_headers_does_not_exhaust_the_stack():
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4
    link = info.tobuf(tarfile.GNU_FORMAT) + b"name".ljust(512, b"\0")
    with pytest.raises(ARCHIVE_FAULTS):
        list(tar_entries(io.BytesIO(link * 5000)))


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_zips_of_all_kinds(compression):
    data = zipped(FILES, compression)
    assert contents(zip_entries(io.BytesIO(data))) == FILES
    for entry in zip_entries(io.BytesIO(data)):
        if compression == zipfile.ZIP_STORED:
            assert data[entry.offset : entry.offset + entry.size] == FILES[entry.name]
        else:
            assert entry.offset is None


def test_offsets_in_a_zip_after_something_else():
    data = b"a program that unpacks itself" + zipped(FILES)
    for entry in zip_entries(io.BytesIO(data)):
        assert data[entry.offset : entry.offset + entry.size] == FILES[entry.name]


def test_zip_entries_that_are_no_files_are_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("folder/", "")
        archive.writestr("file", "x")
    entries = list(zip_entries(io.BytesIO(buffer.getvalue())))
    assert [(entry.name, entry.refusal and entry.refusal[0]) for entry in entries] == [
        ("link", "not_a_file"),
        ("file", None),
    ]


def test_encrypted_entries_are_refused():
    data = bytearray(zipped(FILES))
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        position = data.index(signature)
        data[position + flags] |= 1
    first, second, *_ = zip_entries(io.BytesIO(bytes(data)))
    assert first.refusal[0] == "encrypted" and second.refusal is None


def test_one_broken_entry_does_not_spoil_a_zip():
    data = bytearray(zipped(FILES))
    data[data.index(b"\1\1\1\1") + 5] ^= 0xFF
    results = []
    for entry in zip_entries(io.BytesIO(bytes(data))):
        try:
            results.append(entry.read())
        except EntryError as error:
            results.append(error.reason)
    whole = list(FILES.values())
    assert results == [whole[0], "corrupt_member", *whole[2:]]


def test_a_zip_entry_that_lies_about_its_size_is_broken():
    data = bytearray(zipped(FILES, zipfile.ZIP_DEFLATED))
    directory = data.index(b"PK\1\2")
    data[directory + 24 : directory + 28] = struct.pack("<I", 100)
    first = next(zip_entries(io.BytesIO(bytes(data))))
    assert first.size == 100
    with pytest.raises(EntryError):
        first.read()


def test_random_access_copies():
    with random_access(OnlyForward(b"0123456789")) as copy:
        copy.seek(7)
        assert copy.read() == b"789"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.tar", "tar"),
        ("a.TAR.GZ", "tar"),
        ("a.tgz", "tar"),
        ("a.tar.bz2", "tar"),
        ("a.txz", "tar"),
        ("b/a.zip", "zip"),
        ("a.Parquet", "parquet"),
        ("data-00000-of-00001.arrow", "arrow"),
        ("bedroom_val_lmdb/data.mdb", "lmdb"),
        ("bedroom_val_lmdb/lock.mdb", None),
        ("a.MOV", "video"),
        ("a.mp4", "video"),
        ("a.7z", "7z"),
        ("a.jpg", None),
        ("tar", None),
        ("zip", None),
        ("a.tar.jpg", None),
        ("a.tar/b.jpg", None),
        ("._a.tar", None),
        ("a.gz", None),
    ],
)
def test_kinds_by_name(name, kind):
    assert archive_kind(name) == kind


@pytest.mark.parametrize("name", ["a.egg", "a.rar", "a.tar.zst", "a.tfrecord", "a.jpg.gz", "a.z01"])
def test_containers_that_are_not_read(name):
    assert is_other_archive(name)
    assert not is_other_archive("a.tar.gz") and not is_other_archive("a.jpg")


def test_kinds_by_first_bytes():
    assert sniff_archive(tar(FILES)[:512]) == "tar"
    assert sniff_archive(gzip.compress(tar(FILES))[:512]) == "tar"
    assert sniff_archive(zipped(FILES)[:512]) == "zip"
    assert sniff_archive(b"PAR1" + b"\0" * 508) == "parquet"
    assert sniff_archive(b"ARROW1" + b"\0" * 506) == "arrow"
    assert sniff_archive(b"7z\xbc\xaf'\x1c" + b"\0" * 506) == "7z"
    assert sniff_archive(b"\xff\xd8\xff") is None


def test_a_copy_that_finds_no_room_is_no_fault_of_the_archive(monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **options: Full())
    with pytest.raises(StorageError, match="TMPDIR"), random_access(io.BytesIO(b"x")):
        pass


def overlapping(count: int) -> bytes:
    """A bomb: every entry of the directory points to the same bytes."""
    whole = zipped({"0.jpg": b"x" * 5000})
    start = whole.index(b"PK\1\2")
    directory, end = whole[start : whole.index(b"PK\5\6")], bytearray(whole[-22:])
    struct.pack_into("<HHI", end, 8, count, count, len(directory) * count)
    return whole[:start] + directory * count + bytes(end)


def test_entries_that_overlap_are_read_no_oftener_than_there_is_room():
    assert len(list(zip_entries(io.BytesIO(overlapping(1))))) == 1
    bomb = overlapping(1000)
    read = 0
    with pytest.raises(zipfile.BadZipFile, match="overlap"):
        for entry in zip_entries(io.BytesIO(bomb)):
            read += len(entry.read())
    assert 0 < read <= len(bomb)

"""WebDataset tars and what img2dataset writes: the image is the sample, the rest tells of it."""

import io
import json
import zipfile

import pytest

from pipeline.archives import tar_entries, zip_entries
from pipeline.raw_files import FoundFile
from pipeline.records import Ignored
from pipeline.sidecars import choose_images, joined, without_tables
from tests.archives import tar

BIG = 1 << 20


def opened_tar(files: dict[str, bytes]) -> io.BytesIO:
    return io.BytesIO(tar(files))


def meta(**said: object) -> bytes:
    return json.dumps(said).encode()


def read(files: dict[str, bytes], max_bytes: int = BIG):
    found = []
    for entry in joined(tar_entries(opened_tar(files)), max_bytes=max_bytes):
        found.append((entry.name, entry.read(), entry.licence, entry.attribution))
    return found


def test_what_the_json_says_of_an_image():
    """The order of img2dataset's writer: by suffix."""
    found = read(
        {
            "000000000.jpg": b"first",
            "000000000.json": meta(url="https://x.org/a.jpg", license="CC0-1.0", caption="c"),
            "000000000.txt": b"c",
            "000000001.jpg": b"second",
            "000000001.json": meta(url="https://x.org/b.jpg", author="Ann", title="Sea"),
            "000000002.jpg": b"third",
        }
    )
    assert [each[0] for each in found] == [
        "000000000.txt", "000000000.jpg", "000000000.json",
        "000000001.jpg", "000000001.json", "000000002.jpg",
    ]  # fmt: skip
    images = {name: rest for name, *rest in found if name.endswith(".jpg")}
    assert images == {
        "000000000.jpg": [b"first", "CC0-1.0", "https://x.org/a.jpg"],
        "000000001.jpg": [b"second", None, '"Sea" by Ann, https://x.org/b.jpg'],
        "000000002.jpg": [b"third", None, None],
    }


def test_the_json_may_come_first_and_names_may_have_folders_and_dots():
    found = read({"a.b/c.json": meta(license="MIT"), "a.b/c.left.png": b"l", "a.b/d.png": b"d"})
    assert [(name, licence) for name, _, licence, _ in found] == [
        ("a.b/c.json", "MIT"),
        ("a.b/c.left.png", "MIT"),
        ("a.b/d.png", None),
    ]


def test_a_place_in_the_archive_stays_known():
    files = {"a.jpg": b"x" * 700, "a.json": meta(license="MIT")}
    plain = {entry.name: entry.offset for entry in tar_entries(opened_tar(files))}
    assert {
        e.name: e.offset for e in joined(tar_entries(opened_tar(files)), max_bytes=BIG)
    } == plain


@pytest.mark.parametrize(
    "said",
    [b"", b"{", b"[1]", b"7", b"[" * 100_000, b'{"url": 7}', b'{"license": " "}', b"\xff\xfe"],
)
def test_json_of_any_other_kind_says_nothing(said):
    found = read({"a.jpg": b"x", "a.json": said})
    assert found[0] == ("a.jpg", b"x", None, None)


def test_memory_is_that_of_one_image_however_many_share_a_name():
    files = {f"a.{number}.jpg": bytes([number]) * 400 for number in range(100)}
    files["a.json"] = meta(license="MIT")
    held = 0
    pulled = 0

    def counted():
        nonlocal held, pulled
        for entry in tar_entries(opened_tar(files)):
            pulled += 1
            yield entry

    given = 0
    for entry in joined(counted(), max_bytes=1000):
        held = max(held, pulled - given)
        assert entry.name == "a.json" or entry.read() == files[entry.name]
        given += 1
    assert given == 101 and held <= 4


def test_what_is_too_large_is_handed_on_unread():
    found = list(
        joined(tar_entries(opened_tar({"a.jpg": b"x" * 2000, "a.txt": b""})), max_bytes=1000)
    )
    assert [(entry.name, entry.size) for entry in found] == [("a.jpg", 2000), ("a.txt", 0)]


def test_a_broken_entry_of_a_zip_is_refused_and_the_others_are_read():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", b"first image")
        archive.writestr("b.jpg", b"second image")
    broken = io.BytesIO(buffer.getvalue().replace(b"first image", b"First image", 1))
    first, second = joined(zip_entries(broken), max_bytes=BIG)
    assert first.refusal and first.refusal[0] == "corrupt_member"
    assert second.refusal is None and second.read() == b"second image"


@pytest.mark.parametrize(
    ("path", "choice"),
    [
        ("00000.tar/000000000.jpg", None),
        ("00000.tar/000000000.PNG", None),
        ("a.left.webp", None),
        ("00000.tar", "tar"),
        ("00000.parquet", "parquet"),
        ("00000.tar/000000000.json", Ignored("00000.tar/000000000.json", "sidecar")),
        ("x/a.cls", Ignored("x/a.cls", "sidecar")),
        ("00000.parquet/000000000", None),
        ("00000_stats.json", Ignored("00000_stats.json", "table")),
        ("._a.jpg", None),
    ],
)
def test_what_is_done_with_each_file(path, choice):
    assert choose_images(path) == choice


def test_a_table_beside_its_tar_is_told_from_images_in_parquet():
    names = ["00000.parquet", "00000.tar", "00000_stats.json", "00001.parquet", "00002.parquet",
             "00002.tar", "00003.parquet"]  # fmt: skip
    files = [FoundFile(name, name, 1) for name in names]
    found = list(without_tables(files))
    assert [item.path for item in found] == names
    assert [item.path for item in found if isinstance(item, Ignored)] == [
        "00000.parquet",
        "00002.parquet",
    ]
    assert list(without_tables([])) == []


@pytest.mark.parametrize(
    "names",
    [
        ["0/7.jpg", "0.parquet", "0_stats.json", "1/8.jpg", "1.parquet"],  # as a folder lists them
        ["0.parquet", "0/7.jpg", "0_stats.json", "1.parquet", "1/8.jpg"],  # as a bucket does
    ],
)
def test_a_table_beside_the_folder_of_its_images(names):
    found = without_tables(FoundFile(name, name, 1) for name in [*names, "2.parquet"])
    ignored = [item.path for item in found if isinstance(item, Ignored)]
    assert ignored == ["0.parquet", "1.parquet"]

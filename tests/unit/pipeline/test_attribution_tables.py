"""Licence and author of each image come from the files that data sets keep beside them."""

import csv
import threading
from dataclasses import replace

import pytest

from pipeline.attribution_tables import Credit, Credits, credit_of, find_tables
from pipeline.errors import SourceError
from pipeline.presets import AttributionTable, presets
from pipeline.raw_files import FoundFile

LANDMARKS = presets()["google-landmarks-v2"]
OPEN_IMAGES = presets()["open-images-v7"]
BY = "https://creativecommons.org/licenses/by/2.0/"
KEY = "0000a08541a4821e"
WHO = AttributionTable(files=r"t\.csv", example="t.csv", key="id", image_key="id", author="who")


def write(file, header, *rows) -> FoundFile:
    with file.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([header, *rows])
    return FoundFile(file.name, str(file), file.stat().st_size)


@pytest.fixture
def landmarks(tmp_path):
    return write(
        tmp_path / "train_attribution.csv",
        ["id", "url", "author", "license", "title"],
        [KEY, "https://x.org/1", 'Ann "A", of\nB', BY, "Où, là"],
        ["00068445f38e7e8f", "", "", BY, ""],
        ["000e9c9462493b23", "https://x.org/3", "Ben", "", "Tower"],
        [KEY, "https://x.org/other", "Somebody else", "none", ""],
    )


def credits_in(preset, *files) -> Credits:
    assert preset.attribution is not None
    return Credits(preset.attribution, files)


def test_the_line_of_each_image(landmarks):
    table = credits_in(LANDMARKS, landmarks)
    assert len(table) == 4
    first = table.find(KEY)
    assert first and first.licence == BY
    assert first.attribution == '"Où, là" by Ann "A", of B, https://x.org/1'
    assert table.find("00068445f38e7e8f").attribution is None
    assert table.find("000e9c9462493b23").licence is None
    assert table.find("ffffffffffffffff") is None


def test_images_are_credited_by_the_name_in_their_path(landmarks):
    def ask(path: str, layout: str = LANDMARKS.name, tables=(landmarks,)) -> Credit:
        return credit_of(path, layout=layout, tables=tables)

    credit = ask(f"images_000.tar/0/0/0/{KEY}.jpg")
    assert credit.licence == BY and credit.attribution and "Ann" in credit.attribution
    for path in ("0/0/0/ffffffffffffffff.jpg", "notes.jpg"):
        assert ask(path) == Credit()
    assert ask(f"0/0/0/{KEY}.jpg", tables=()) == ask(f"0/0/0/{KEY}.jpg", "auto") == Credit()


def test_open_images_has_one_table_per_split(tmp_path):
    header = [
        "ImageID", "Subset", "OriginalURL", "OriginalLandingURL", "License", "AuthorProfileURL",
        "Author", "Title", "OriginalSize", "OriginalMD5", "Thumbnail300KURL", "Rotation",
    ]  # fmt: skip
    row = ["000026e7ee790996", "train", "http://f/o.jpg", "http://f/p", BY, "http://f/ann", "Ann",
           "Sea", "1", "x", "", "0.0"]  # fmt: skip
    write(tmp_path / "train-images-boxable-with-rotation.csv", header, row)
    write(tmp_path / "validation-images-with-rotation.csv", header, ["0001eeaf4aed83f9", *row[1:]])
    write(tmp_path / "train-annotations-bbox.csv", ["ImageID"], ["000026e7ee790996"])
    files = find_tables(str(tmp_path), "open-images-v7")
    assert [file.path for file in files] == [
        "train-images-boxable-with-rotation.csv",
        "validation-images-with-rotation.csv",
    ]
    table = credits_in(OPEN_IMAGES, *files)
    for key in ("000026e7ee790996", "0001eeaf4aed83f9"):
        assert table.find(key).attribution == '"Sea" by Ann, http://f/p'


def test_a_set_that_demands_attribution_is_not_taken_without_the_file(tmp_path):
    (tmp_path / "images_000.tar").write_bytes(b"")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "train_attribution.csv").write_bytes(b"")
    with pytest.raises(SourceError, match=r"train_attribution\.csv there .*github\.com") as caught:
        find_tables(str(tmp_path), LANDMARKS.name)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(SourceError, match=r"put train-images-boxable-with-rotation\.csv"):
        find_tables(str(tmp_path), "open-images-v7")
    assert find_tables(str(tmp_path), "sa-1b") == find_tables(str(tmp_path), "auto") == ()


def test_the_file_lies_in_the_folder_or_beside_the_archive(tmp_path, landmarks):
    (tmp_path / "images_000.tar").write_bytes(b"")
    for uri in (str(tmp_path), f"{tmp_path}/", str(tmp_path / "images_000.tar")):
        (found,) = find_tables(uri, LANDMARKS.name)
        assert found.path == "train_attribution.csv" and found.bytes == landmarks.bytes


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "\0\0\0", "<html>\n</html>\n"])
def test_another_file_of_that_name_says_what_was_expected(tmp_path, text):
    (tmp_path / "train_attribution.csv").write_text(text)
    (file,) = find_tables(str(tmp_path), LANDMARKS.name)
    with pytest.raises(SourceError, match=r"train_attribution\.csv has no column id"):
        credits_in(LANDMARKS, file)


def test_a_field_without_end_is_an_error_not_all_of_memory(tmp_path):
    file = tmp_path / "train_attribution.csv"
    file.write_text('id,url,author,license,title\nx,"' + "y" * (1 << 21))
    with pytest.raises(SourceError, match="no table of authors"):
        credits_in(LANDMARKS, FoundFile(file.name, str(file), 1))


def test_rows_that_are_cut_short_are_passed_over(tmp_path):
    file = write(tmp_path / "t.csv", ["id", "who"], ["a", "Ann"], ["b"], ["c", "Cid"])
    credits = Credits(WHO, [file])
    assert [credits.find(key) is not None for key in "abc"] == [True, False, True]
    assert credits.find("a").licence is None


def test_every_row_of_many_is_found_from_many_threads(tmp_path):
    count = 30_000
    rows = [[f"{row:x}", f"author {row}"] for row in range(count)]
    credits = Credits(WHO, [write(tmp_path / "t.csv", ["id", "who"], *rows)])
    assert len(credits) == count
    wrong = []

    def ask(start: int) -> None:
        for row in range(start, count, 997):
            credit = credits.find(f"{row:x}")
            if credit is None or credit.attribution != f"by author {row}":
                wrong.append(row)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_process_reads_the_files_once_and_again_when_they_changed(landmarks, monkeypatch):
    made = []

    class Counted(Credits):
        def __init__(self, table, files):
            made.append(files)
            super().__init__(table, files)

    monkeypatch.setattr("pipeline.attribution_tables.Credits", Counted)
    newer = replace(landmarks, version="newer")
    for file in (landmarks, landmarks, newer):
        path = f"0/0/0/{KEY}.jpg"
        assert credit_of(path, layout=LANDMARKS.name, tables=(file,)).licence == BY
    assert made in ([(landmarks,), (newer,)], [(newer,)])

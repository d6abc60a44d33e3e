"""Lists of images: the first field of a line, at the end of a path, name by name."""

import pytest

from pipeline.errors import SourceError
from pipeline.splits import Taken, read_split, split_sha256


def taken(tmp_path, text: str) -> Taken:
    (tmp_path / "list.txt").write_text(text)
    return Taken(read_split(str(tmp_path / "list.txt")))


def test_paths_are_matched_at_their_end_by_whole_names(tmp_path):
    images = taken(tmp_path, "b/1.png\n/a/abbey/2.jpg 17\n\n# 3.png\n")
    assert "b/1.png" in images and "root/b/1.png" in images
    assert "x.tar/data_large/a/abbey/2.jpg" in images  # Places365 begins with a slash
    assert "bb/1.png" not in images and "1.png" not in images and "3.png" not in images


@pytest.mark.parametrize(
    "line",
    [
        "d/image_02/data/69.png d/proj_depth/69.png 721.5377",
        "d/image_02/data/69.png None 721.5377",
        "d/image_02/data/69.png\tx",
        '"d/image_02/data/69.png",4,5',
        "./d/image_02/data/69.png",
    ],
)
def test_only_the_first_field_counts(tmp_path, line):
    assert "k/d/image_02/data/69.png" in taken(tmp_path, line)


def test_tabs_and_commas_let_names_have_spaces(tmp_path):
    assert "two words.jpg" in taken(tmp_path, "two words.jpg\t1\n")
    assert "two words.jpg" in taken(tmp_path, "two words.jpg,1\n")


def test_what_never_came_is_missing(tmp_path):
    images = taken(tmp_path, "a.png\nb.png\nc.png\n")
    assert "x/b.png" in images
    assert [(drop.path, drop.reason, drop.uri) for drop in images.missing("here")] == [
        ("a.png", "missing", "here"),
        ("c.png", "missing", "here"),
    ]
    again = Taken(read_split(str(tmp_path / "list.txt")))  # the list is kept, what came is not
    assert len(list(again.missing("here"))) == 3


def test_a_list_that_changed_is_read_again(tmp_path):
    assert "b.png" not in taken(tmp_path, "a.png\n")
    assert "b.png" in taken(tmp_path, "a.png\nb.png\n")


def test_without_a_list_everything_is_taken():
    assert "x" in Taken(None) and not list(Taken(None).missing(""))


def test_what_is_no_list(tmp_path):
    with pytest.raises(SourceError, match="cannot be read"):
        read_split(str(tmp_path / "gone.txt"))
    (tmp_path / "empty.txt").write_text("\n# nothing\n")
    with pytest.raises(SourceError, match="names no image"):
        read_split(str(tmp_path / "empty.txt"))
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(SourceError, match="no text"):
        read_split(str(tmp_path / "x.jpg"))


def test_the_digest_is_that_of_the_file(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert split_sha256(str(tmp_path / "a.txt")) == expected

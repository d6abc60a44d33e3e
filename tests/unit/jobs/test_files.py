"""Files are written whole or not at all, and what prevents it is said in a line."""

import errno
import os
from pathlib import Path

import pytest

from jobs.errors import ConfigError, JobError
from jobs.files import make_folder, written_whole


def test_an_earlier_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "new" / "file.txt"
    with written_whole(str(out)) as scratch:
        scratch.write_text("first")
    with pytest.raises(KeyError), written_whole(str(out)) as scratch:
        scratch.write_text("sec")
        raise KeyError
    assert out.read_text() == "first"
    assert list(out.parent.iterdir()) == [out]


def test_a_full_disk_is_said_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    out = tmp_path / "file.txt"
    with pytest.raises(JobError, match=r"file\.txt: cannot be written"), written_whole(str(out)):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for out in (str(pipe), os.devnull):
        with pytest.raises(ConfigError, match="a device or a pipe"), written_whole(out):
            pass
    assert pipe.is_fifo() and Path(os.devnull).is_char_device()


def test_of_a_link_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "elsewhere" / "file"
    link.symlink_to(file)
    with written_whole(str(link)) as scratch:
        scratch.write_text("text")
    assert link.is_symlink() and file.read_text() == "text"


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = make_folder(str(tmp_path / "a" / "b"))
    assert list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        make_folder(str(tmp_path / "file" / "b"))

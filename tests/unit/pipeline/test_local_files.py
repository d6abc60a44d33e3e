"""Files appear whole or not at all, on one disk and across two."""

import errno
import os
import time
from pathlib import Path

import pytest

from pipeline.local_files import TEMPORARY, copy_whole, keys_below, publish, remove_if_old


@pytest.fixture
def two_disks(monkeypatch, tmp_path) -> Path:
    """As if the folder ``other`` were a link to another disk."""
    (tmp_path / "other").mkdir()

    def guarded(call):
        def within_one_disk(source, target, **options):
            if ("other" in Path(source).parts) != ("other" in Path(target).parts):
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            return call(source, target, **options)

        return within_one_disk

    monkeypatch.setattr(os, "link", guarded(os.link))
    monkeypatch.setattr(os, "replace", guarded(os.replace))
    return tmp_path


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_finished_file_moves_to_its_name(tmp_path, exclusive):
    (tmp_path / "scratch").write_bytes(b"whole")
    publish(tmp_path / "scratch", tmp_path / "a" / "b" / "name", exclusive=exclusive)
    assert (tmp_path / "a" / "b" / "name").read_bytes() == b"whole"
    assert not (tmp_path / "scratch").exists()


def test_exclusive_means_that_nothing_is_replaced(tmp_path):
    (tmp_path / "scratch").write_bytes(b"second")
    (tmp_path / "name").write_bytes(b"first")
    with pytest.raises(FileExistsError):
        publish(tmp_path / "scratch", tmp_path / "name", exclusive=True)
    assert (tmp_path / "name").read_bytes() == b"first"
    assert (tmp_path / "scratch").read_bytes() == b"second"
    publish(tmp_path / "scratch", tmp_path / "name", exclusive=False)
    assert (tmp_path / "name").read_bytes() == b"second"


@pytest.mark.parametrize("exclusive", [False, True])
def test_across_disks(two_disks, exclusive):
    (two_disks / ".tmp-1").write_bytes(b"whole")
    publish(two_disks / ".tmp-1", two_disks / "other" / "name", exclusive=exclusive)
    assert [path.name for path in (two_disks / "other").iterdir()] == ["name"]
    assert (two_disks / "other" / "name").read_bytes() == b"whole"
    (two_disks / ".tmp-2").write_bytes(b"again")
    if exclusive:
        with pytest.raises(FileExistsError):
            publish(two_disks / ".tmp-2", two_disks / "other" / "name", exclusive=True)
        assert [path.name for path in (two_disks / "other").iterdir()] == ["name"]


def test_copies_are_whole_or_not_there(tmp_path, monkeypatch):
    (tmp_path / "source").write_bytes(b"data")
    copy_whole(tmp_path / "source", tmp_path / "deep" / "target")
    assert (tmp_path / "deep" / "target").read_bytes() == b"data"

    def power_cut(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", power_cut)
    with pytest.raises(KeyboardInterrupt):
        copy_whole(tmp_path / "source", tmp_path / "deep" / "second")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["target"]


def test_unfinished_files_are_no_keys(tmp_path):
    for name in ("a/b", "a/c/d", f"a/{TEMPORARY}1", "e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert sorted(keys_below(tmp_path, "")) == ["a/b", "a/c/d", "e"]
    assert sorted(keys_below(tmp_path, "a")) == ["a/b", "a/c/d"]
    assert list(keys_below(tmp_path, "gone")) == []


def test_only_files_that_nobody_writes_to_are_old(tmp_path):
    old, new, renamed = (tmp_path / name for name in ("old", "new", "renamed"))
    for path in (old, new):
        path.touch()
    os.utime(old, (0, time.time() - 100))
    assert remove_if_old(old, older_s=60)
    assert not remove_if_old(new, older_s=60)
    assert not remove_if_old(renamed, older_s=60)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]

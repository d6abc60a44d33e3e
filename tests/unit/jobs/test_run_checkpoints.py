"""Checkpoints: whole or not there, the newest and the best kept, and broken ones passed over."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.run_checkpoints import Checkpoints
from pipeline.errors import ShardCorruptError, StoreFullError
from pipeline.storage import Store

FOLDER = "runs/r/checkpoints"


class RemoteStore(Store):
    """A folder that is treated as if it were a bucket."""

    @property
    def is_local(self) -> bool:
        return False

    def local_path(self, key: str) -> None:
        return None


@pytest.fixture(params=[Store, RemoteStore])
def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoints:
    return Checkpoints(request.param(str(tmp_path)), FOLDER)


def state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((100, 10), float(step)), "names": ["a", "b"]}


def steps(checkpoints: Checkpoints) -> list[int]:
    return [entry.step for entry in checkpoints.entries()]


def objects(checkpoints: Checkpoints) -> set[str]:
    return {key for key in checkpoints.store.list(FOLDER) if key.endswith(".pt")}


def test_what_was_written_comes_back(checkpoints: Checkpoints) -> None:
    assert checkpoints.newest() is None
    entry = checkpoints.write(7, state(7), score=0.5)
    assert entry.bytes == checkpoints.store.size(entry.key)
    assert checkpoints.entries() == [entry]
    found = checkpoints.newest()
    assert found is not None
    assert (found["step"], found["names"]) == (7, ["a", "b"])
    assert torch.equal(found["weights"], torch.full((100, 10), 7.0))


def test_the_newest_and_the_best_are_kept(checkpoints: Checkpoints) -> None:
    for step, score in ((1, 3.0), (2, 0.5), (3, float("nan")), (4, None), (5, 0.5), (6, 2.0)):
        checkpoints.write(step, state(step), score=score)
        checkpoints.keep(2, step=step)
    assert steps(checkpoints) == [2, 5, 6]
    best = checkpoints.best()
    assert best is not None
    assert best.step == 2, "of two that are alike the earlier"
    assert objects(checkpoints) == {entry.key for entry in checkpoints.entries()}


def test_an_upload_that_broke_off_does_not_count(checkpoints: Checkpoints) -> None:
    checkpoints.write(1, state(1))
    checkpoints.store.put(f"{FOLDER}/000000002-dead.pt", b"half a checkpoint")
    found = checkpoints.newest()
    assert found is not None
    assert found["step"] == 1
    checkpoints.write(3, state(3))
    checkpoints.keep(2, step=3)
    assert len(objects(checkpoints)) == 2, "what broke off is removed with the next one"


@pytest.mark.parametrize("damage", ["shorter", "flipped", "gone", "entry"])
def test_one_that_is_broken_is_passed_over(checkpoints: Checkpoints, damage: str) -> None:
    checkpoints.write(1, state(1))
    entry = checkpoints.write(2, state(2))
    data = bytearray(checkpoints.store.get(entry.key))
    data[len(data) // 2] ^= 1
    if damage == "gone":
        checkpoints.store.delete(entry.key)
    elif damage == "entry":
        checkpoints.store.put(f"{FOLDER}/000000002.json", b"{")
    else:
        half = data[: len(data) // 2]
        checkpoints.store.put(entry.key, bytes(half if damage == "shorter" else data))
    notes: list[str] = []
    found = checkpoints.newest(notes.append)
    assert found is not None
    assert found["step"] == 1
    if damage != "entry":
        assert len(notes) == 1
        assert "step 2 is passed over" in notes[0]
        with pytest.raises((ShardCorruptError, FileNotFoundError)):
            checkpoints.load(entry)


def test_those_passed_over_do_not_push_out_the_good(checkpoints: Checkpoints) -> None:
    for step in (10, 20, 30):
        checkpoints.write(step, state(step))
    # it went on from 10, because the others were broken
    checkpoints.write(15, state(15))
    checkpoints.keep(1, step=15)
    assert steps(checkpoints) == [15]


def test_two_writers_of_one_step_do_not_spoil_each_other(checkpoints: Checkpoints) -> None:
    first = checkpoints.write(5, state(5))
    second = checkpoints.write(5, state(5))
    assert first.key != second.key
    checkpoints.store.put(first.key, b"the first one writes on")
    assert checkpoints.entries() == [second]
    assert checkpoints.newest() is not None


class FullStore(Store):
    """Its scratch files are on a disk without room; put in place of the real one by a link."""

    def scratch_file(self) -> Path:
        path = super().scratch_file()
        path.unlink()
        path.symlink_to("/dev/full")
        return path


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_leaves_the_one_before(tmp_path: Path) -> None:
    good = Checkpoints(Store(str(tmp_path)), FOLDER)
    entry = good.write(1, state(1))
    with pytest.raises(StoreFullError, match=r"000000002.*No space left"):
        Checkpoints(FullStore(str(tmp_path)), FOLDER).write(2, state(2))
    assert good.entries() == [entry]
    assert good.newest() is not None
    assert not [path for path in tmp_path.iterdir() if path.name != "runs"], "no scratch file"


def test_a_disk_that_is_full_at_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Checkpoints(Store(str(tmp_path)), FOLDER)
    entry = good.write(1, state(1))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreFullError):
            good.write(2, state(2))
    assert good.entries() == [entry]


def test_nothing_is_unpickled(checkpoints: Checkpoints) -> None:
    entry = checkpoints.write(1, {"path": Path("/etc")})
    with pytest.raises(Exception, match="weights_only"):
        checkpoints.load(entry)


def test_an_entry_says_what_it_is_of(checkpoints: Checkpoints) -> None:
    entry = checkpoints.write(3, state(3), score=0.25)
    said = json.loads(checkpoints.store.get(f"{FOLDER}/000000003.json"))
    assert said == {
        "step": 3,
        "key": entry.key,
        "bytes": entry.bytes,
        "sha256": entry.sha256,
        "score": 0.25,
    }

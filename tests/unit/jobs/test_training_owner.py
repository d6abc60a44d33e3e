"""Whose a run is: seen by its process here, by its heartbeat elsewhere; who lost it stops."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import training_owner
from jobs.owner import current_owner
from jobs.run_files import RunFiles
from jobs.training_owner import heartbeat, is_held, take
from pipeline.errors import LeaseLostError, StorageError
from pipeline.storage import Store

ELSEWHERE = "far-away:0000:17:4711:abcd"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFiles:
    monkeypatch.setattr(training_owner, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(training_owner, "FRESH_S", 0.3)
    monkeypatch.setattr(training_owner, "LOOK_AGAIN_S", 0.05)
    return RunFiles(Store(str(tmp_path)), "teacher-1")


def unheard(_: str) -> None:
    """A note that nobody reads."""


def from_elsewhere(files: RunFiles, *, age_s: float) -> None:
    """Another machine has the run; its clock says that its heart beat so long ago."""
    mine = take(files)
    files.write_json("owner.json", {"owner": ELSEWHERE, "attempt": mine.attempt})
    files.write_json("heartbeat.json", {"attempt": mine.attempt, "time": time.time() - age_s})


def test_a_run_of_this_process_is_held(files: RunFiles) -> None:
    assert not is_held(files, note=unheard)
    take(files)
    assert is_held(files, note=unheard)


def test_a_dead_process_of_this_machine_holds_nothing(files: RunFiles) -> None:
    take(files)
    host, namespace, pid, started, nonce = current_owner().rsplit(":", 4)
    dead = f"{host}:{namespace}:{pid}:{int(started) + 1}:{nonce}"
    files.write_json("owner.json", {"owner": dead, "attempt": "a"})
    assert not is_held(files, note=unheard), "though its heartbeat is fresh"


def test_elsewhere_a_fresh_heartbeat_counts_and_an_old_one_does_not(files: RunFiles) -> None:
    notes: list[str] = []
    from_elsewhere(files, age_s=0.0)
    assert is_held(files, note=notes.append)
    assert notes == []
    from_elsewhere(files, age_s=1000.0)
    assert not is_held(files, note=notes.append)
    assert "process 17 on far-away" in notes[0]


@pytest.mark.parametrize("off_s", [-5000.0, 5000.0])
def test_a_clock_that_is_wrong_deceives_nobody(files: RunFiles, off_s: float) -> None:
    from_elsewhere(files, age_s=off_s)
    beat = {"attempt": "theirs", "time": time.time() - off_s + 1}
    timer = threading.Timer(0.1, files.write_json, ["heartbeat.json", beat])
    timer.start()
    assert is_held(files, note=unheard)
    timer.join()


def test_the_heart_beats_until_the_end(files: RunFiles) -> None:
    mine = take(files)
    before = files.read_json("heartbeat.json")
    with heartbeat(mine):
        wait_for(lambda: files.read_json("heartbeat.json") != before)
    after = files.read_json("heartbeat.json")
    time.sleep(0.2)
    assert files.read_json("heartbeat.json") == after


def test_who_lost_the_run_is_interrupted(files: RunFiles) -> None:
    mine = take(files)
    with pytest.raises(LeaseLostError, match="has taken it over"), heartbeat(mine):
        theirs = take(files)
        time.sleep(10)
    assert files.is_owned()
    assert (theirs.is_owned(), mine.is_owned()) == (True, False)
    heart = files.read_json("heartbeat.json")
    assert heart is not None
    assert heart["attempt"] == theirs.attempt, "the one that was taken over beats no more"


def test_ctrl_c_stays_what_it_is(files: RunFiles) -> None:
    with pytest.raises(KeyboardInterrupt), heartbeat(take(files)):
        os.kill(os.getpid(), 2)
        time.sleep(10)


def test_a_store_that_is_away_stops_no_heart(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = take(files)
    before = files.read_json("heartbeat.json")
    with heartbeat(mine):
        with monkeypatch.context() as patch:
            patch.setattr(Store, "get", unreachable)
            time.sleep(0.2)
        wait_for(lambda: files.read_json("heartbeat.json") != before)


def unreachable(*_: object) -> bytes:
    raise StorageError("the network is gone")


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)

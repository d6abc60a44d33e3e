"""What a training run leaves in the store, and what is found there again."""

from pathlib import Path

import pytest
import torch

from jobs.run_files import RunFiles
from pipeline.errors import LeaseLostError
from pipeline.storage import Store


def run_files(folder: Path) -> RunFiles:
    return RunFiles(Store(str(folder)), "teacher-1")


def test_the_newest_checkpoint_comes_back_and_old_ones_go(tmp_path: Path) -> None:
    files = RunFiles(Store(str(tmp_path)), "teacher-1", keep_checkpoints=1)
    assert files.newest_checkpoint() is None
    assert files.newest_step() == 0
    for step, score in ((9, 0.1), (10, 0.3), (100, 0.2)):
        state = {"step": step, "weights": torch.full((2,), float(step))}
        files.write_checkpoint(step, state, score=score)
    found = files.newest_checkpoint()
    assert found is not None
    assert found["step"] == files.newest_step() == 100
    torch.testing.assert_close(found["weights"], torch.tensor([100.0, 100.0]))
    assert [entry.step for entry in files.checkpoints.entries()] == [9, 100]


def attempt(folder: Path, name: str) -> RunFiles:
    return RunFiles(Store(str(folder)), "teacher-1", attempt=name)


def test_who_lost_the_run_writes_no_checkpoint(tmp_path: Path) -> None:
    first, second = attempt(tmp_path, "first"), attempt(tmp_path, "second")
    first.write_json("owner.json", {"owner": "here", "attempt": "first"})
    first.claim()
    first.write_checkpoint(1, {"step": 1})
    second.write_json("owner.json", {"owner": "there", "attempt": "second"})
    for writing in (first.claim, first.check_owner, first.check_mine):
        with pytest.raises(LeaseLostError, match="there has taken it over"):
            writing()
    with pytest.raises(LeaseLostError):
        first.write_checkpoint(2, {"step": 2})
    assert second.newest_step() == 1
    second.claim()
    second.write_checkpoint(2, {"step": 2})


def test_of_two_workers_of_one_attempt_the_later_writes(tmp_path: Path) -> None:
    zombie, worker = attempt(tmp_path, "only"), attempt(tmp_path, "only")
    zombie.write_json("owner.json", {"owner": "here", "attempt": "only"})
    zombie.claim()
    worker.claim()
    assert zombie.read_json("writer.json") == worker.read_json("writer.json")
    with pytest.raises(LeaseLostError, match="another worker has begun"):
        zombie.write_checkpoint(1, {"step": 1})
    worker.write_checkpoint(1, {"step": 1})


def test_metrics_come_back_in_order_and_those_after_a_step_can_be_forgotten(tmp_path: Path) -> None:
    files = run_files(tmp_path)
    assert files.metrics() == []
    assert files.last_metrics() == {}
    rows = [{"step": step, "loss": 1.0 / step} for step in range(1, 13)]
    for start, end in ((8, 12), (0, 4), (4, 8)):
        files.write_metrics(rows[start:end])
    assert files.metrics() == rows
    assert files.last_metrics() == rows[-1]

    files.forget_metrics_after(8)
    assert files.metrics() == rows[:8]
    files.write_metrics([{"step": 9, "loss": 0.5}])
    assert files.metrics() == [*rows[:8], {"step": 9, "loss": 0.5}]


def test_json_comes_back_and_can_be_forgotten(tmp_path: Path) -> None:
    files = run_files(tmp_path)
    assert files.read_json("result.json") is None
    files.write_json("result.json", {"step": 5})
    assert files.read_json("result.json") == {"step": 5}
    files.forget("result.json")
    files.forget("result.json")
    assert files.read_json("result.json") is None


def test_what_happened_outlasts_attempts_and_stays_short(tmp_path: Path) -> None:
    first, second = attempt(tmp_path, "first"), attempt(tmp_path, "second")
    first.claim()
    first.warn("slow")
    second.claim()
    assert [event["what"] for event in second.history()] == ["began", "warned", "began"]
    assert second.warnings() == []
    for number in range(300):
        second.remember("warned", text=f"{number}")
    events = second.history()
    assert (len(events), events[-1]["text"]) == (200, "299")

"""What a training run leaves in the store, and what is found there again."""

from pathlib import Path

import torch

from jobs.run_files import RunFiles
from pipeline.storage import Store


def run_files(folder: Path) -> RunFiles:
    return RunFiles(Store(str(folder)), "teacher-1")


def test_the_newest_checkpoint_comes_back_and_old_ones_go(tmp_path: Path) -> None:
    files = run_files(tmp_path)
    assert files.newest_checkpoint() is None
    for step in (9, 10, 100):
        files.write_checkpoint(step, {"step": step, "weights": torch.full((2,), float(step))})
    state = files.newest_checkpoint()
    assert state is not None
    assert state["step"] == 100
    torch.testing.assert_close(state["weights"], torch.tensor([100.0, 100.0]))
    kept = sorted(path.name for path in (tmp_path / "runs/teacher-1/checkpoints").iterdir())
    assert kept == ["000000010.pt", "000000100.pt"]


def test_metrics_after_the_checkpoint_are_forgotten_when_going_on(tmp_path: Path) -> None:
    files = run_files(tmp_path)
    for step in (1, 2, 3):
        files.add_metrics({"step": step, "loss": 1.0 / step})
    files.flush_metrics()
    again = run_files(tmp_path)
    again.keep_metrics_until(2)
    again.add_metrics({"step": 3, "loss": 0.5})
    again.flush_metrics()
    assert again.metrics() == [
        {"step": 1, "loss": 1.0},
        {"step": 2, "loss": 0.5},
        {"step": 3, "loss": 0.5},
    ]


def test_json_comes_back_and_can_be_forgotten(tmp_path: Path) -> None:
    files = run_files(tmp_path)
    assert files.read_json("result.json") is None
    files.write_json("result.json", {"step": 5})
    assert files.read_json("result.json") == {"step": 5}
    files.forget("result.json")
    files.forget("result.json")
    assert files.read_json("result.json") is None

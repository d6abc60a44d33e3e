"""Logs of a training run: parts that last, and what an interrupted run leaves of them."""

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jobs.run_files import RunFiles
from jobs.training_log import Logs, MetricLines, TensorBoardLog, forget_after
from pipeline.storage import Store


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(Store(str(tmp_path)), "run-1")


def written(files: RunFiles, steps: range, *, every: int, value: float = 1.0) -> None:
    """An attempt: a value per step, a part every so many steps, and the rest when it ends."""
    log = Logs((MetricLines(files), TensorBoardLog(files)))
    for step in steps:
        log.log(step, {"loss": value * step})
        if step % every == 0:
            log.log(step, {"validation/loss": 0.5})
            log.flush()
    log.close()


def scalars(files: RunFiles, tag: str) -> list[tuple[int, float]]:
    folder = files.store.local_path(files.key("tensorboard"))
    board = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    board.Reload()
    return [(each.step, each.value) for each in board.Scalars(tag)]


def parts(files: RunFiles, folder: str) -> list[str]:
    return [key.rpartition("/")[2] for key in files.store.list(files.key(folder))]


def test_parts_are_put_at_checkpoints_and_read_as_one(files: RunFiles) -> None:
    written(files, range(1, 8), every=3)
    rows = files.metrics()
    assert [(row["step"], row["loss"]) for row in rows] == [(n, float(n)) for n in range(1, 8)]
    assert [row["step"] for row in rows if "validation/loss" in row] == [3, 6]
    assert parts(files, "metrics") == ["000000003.jsonl", "000000006.jsonl", "000000007.jsonl"]
    assert len(parts(files, "tensorboard")) == 3
    assert scalars(files, "training/loss") == [(n, float(n)) for n in range(1, 8)]
    assert scalars(files, "validation/loss") == [(3, 0.5), (6, 0.5)]


def test_who_goes_on_writes_the_steps_after_the_checkpoint_again(files: RunFiles) -> None:
    written(files, range(1, 9), every=3)  # checkpoints at 3 and 6, died after 8
    forget_after(files, 3)  # the one of step 6 was lost
    written(files, range(4, 8), every=2, value=10.0)
    expected = [(n, float(n)) for n in range(1, 4)] + [(n, 10.0 * n) for n in range(4, 8)]
    assert [(row["step"], row["loss"]) for row in files.metrics()] == expected
    assert scalars(files, "training/loss") == expected


def test_nothing_is_put_where_nothing_was_logged(files: RunFiles) -> None:
    log = Logs((MetricLines(files), TensorBoardLog(files)))
    log.flush()
    log.close()
    assert list(files.store.list(files.key("metrics"))) == []
    assert list(files.store.list(files.key("tensorboard"))) == []


def test_pictures_are_on_the_board(files: RunFiles) -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[:, :, 0] = 200
    board = TensorBoardLog(files)
    board.image(5, "previews", picture)
    board.close()
    read = EventAccumulator(str(files.store.local_path(files.key("tensorboard"))))
    read.Reload()
    (event,) = read.Images("previews")
    assert (event.step, event.width, event.height) == (5, 6, 4)


def test_one_log_that_fails_keeps_none_from_closing(files: RunFiles) -> None:
    class Broken(MetricLines):
        def close(self, *, failed: bool = False) -> None:
            raise OSError("gone")

    lines = MetricLines(files)
    log = Logs((Broken(files), lines, Broken(files)))
    log.log(1, {"loss": 2.0})
    with pytest.raises(OSError, match="gone"):
        log.close(failed=True)
    assert files.metrics() == [{"step": 1, "loss": 2.0}]

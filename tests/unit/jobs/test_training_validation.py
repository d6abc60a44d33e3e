"""Scores of a model that trains, against closed forms; and what may be scored on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jobs.errors import ConfigError
from jobs.run_files import RunFiles
from jobs.training_config import TrainTeacherConfig
from jobs.training_examples import Example
from jobs.training_validation import Score, deciding, predictor, score_all, summary
from jobs.training_validation_input import check_validation, validation_shards
from jobs.workspace import Workspace, open_workspace
from pipeline.errors import CatalogMissingError
from tests.catalog_factories import fill_source, label_all, open_label_set

SIDE = 28


def example(geometry: str = "depth_metric", *, seed: int = 0) -> Example:
    rng = np.random.default_rng(seed)
    values = rng.uniform(1, 10, (SIDE, SIDE)).astype(np.float32)
    values[:5] = np.nan
    image = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Example(f"sample-{seed}", image, values, geometry)


def scores(prediction_HW: NDArray[np.float32], shown: Example, *, metric: bool = False) -> Score:
    (score,) = score_all(lambda images: [prediction_HW], [shown], minimum_valid=10, metric=metric)
    return score


def test_a_prediction_that_is_right_up_to_scale_and_shift_is_perfect() -> None:
    shown = example()
    prediction = np.nan_to_num(3 / shown.values_HW + 5).astype(np.float32)
    score = scores(prediction, shown)
    assert score.loss == pytest.approx(0, abs=1e-5)
    assert score.abs_rel == pytest.approx(0, abs=1e-5)


def test_the_scores_of_a_constant_are_those_worked_out_by_hand() -> None:
    shown = example()
    disparity = 1 / shown.values_HW[np.isfinite(shown.values_HW)].astype(np.float64)
    score = scores(np.full((SIDE, SIDE), 7, np.float32), shown)
    assert score.loss == pytest.approx(1, rel=1e-5), "mean |t - median| over itself"
    best = disparity.mean()  # what least squares make of a constant
    assert score.abs_rel == pytest.approx(np.mean(np.abs(best - disparity) / disparity), rel=1e-5)


def test_relative_truth_has_a_loss_and_no_ratio() -> None:
    shown = example("disparity_affine_invariant")
    score = scores(np.nan_to_num(shown.values_HW), shown)
    assert score.loss == pytest.approx(0, abs=1e-5)
    assert score.abs_rel is None


def test_metres_are_compared_as_they_are() -> None:
    shown = example()
    prediction = np.nan_to_num(shown.values_HW * 1.1, nan=1.0).astype(np.float32)
    assert scores(prediction, shown, metric=True) == Score(None, pytest.approx(0.1, rel=1e-4))
    by_disparity = Example("s", shown.image_HWC, 1 / shown.values_HW, "disparity_metric")
    assert scores(prediction, by_disparity, metric=True).abs_rel == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("metric", [False, True])
def test_what_cannot_be_scored_is_not(metric: bool) -> None:
    shown = example()
    empty = Example("s", shown.image_HWC, np.full((SIDE, SIDE), np.nan, np.float32), shown.geometry)
    ones = np.ones((SIDE, SIDE), np.float32)
    assert scores(ones, empty, metric=metric) == Score(None, None)
    assert scores(np.full_like(ones, np.nan), shown, metric=metric).abs_rel is None


def test_means_leave_out_what_is_not_known() -> None:
    means = summary([Score(1.0, None), Score(3.0, 0.5), Score(None, None)])
    assert means == {"validation/loss": 2.0, "validation/abs_rel": 0.5}
    assert deciding(means) == 2.0
    metric = summary([Score(None, 0.25)])
    assert metric == {"validation/abs_rel": 0.25}
    assert deciding(metric) == 0.25
    assert deciding(summary([])) is None


@dataclass
class Output:
    predicted_depth: Tensor


class Brightness(nn.Module):
    """Says how bright a pixel is, and notes how it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, bool, bool]] = []

    def forward(self, pixel_values: Tensor) -> Output:
        self.calls.append((len(pixel_values), self.training, torch.is_grad_enabled()))
        return Output(pixel_values.mean(dim=1))


def test_the_network_is_asked_a_few_images_at_a_time_and_comes_back_as_it_was() -> None:
    images: Sequence[NDArray[np.uint8]] = [
        np.full((14, 14, 3), value, np.uint8) for value in range(6)
    ]
    network = Brightness()
    maps = predictor(network, device="cpu", precision="fp32")(images)
    assert [found.shape for found in maps] == [(14, 14)] * 6
    assert np.all(np.diff([float(found.mean()) for found in maps]) > 0), "in their order"
    assert network.calls == [(4, False, False), (2, False, False)]
    assert network.training


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    config = TrainTeacherConfig(store=str(tmp_path), name="x", encoder="x")
    with open_workspace(config) as workspace:
        fill_source(workspace.catalog, "taught", 1, role="labelled")
        fill_source(workspace.catalog, "spare", 2, role="labelled")
        fill_source(workspace.catalog, "wild", 1)
        fill_source(workspace.catalog, "empty", 0, role="benchmark")
        open_label_set(workspace.catalog, "set")
        label_all(workspace.catalog, "set", ["spare"])
        yield workspace


def test_sources_that_say_nothing_are_refused_together(workspace: Workspace) -> None:
    names = ("taught", "spare", "wild", "empty")
    with pytest.raises(ConfigError) as refused:
        check_validation(names, workspace, labelled=("taught",), pseudo=("set",))
    assert [text.split(":")[0] for text in refused.value.problems] == [
        f"--validation {name}" for name in names
    ]
    check_validation(("spare",), workspace, labelled=("taught",), pseudo=())
    with pytest.raises(CatalogMissingError, match="nowhere"):
        check_validation(("nowhere",), workspace, labelled=(), pseudo=())


def test_a_run_that_goes_on_is_scored_on_what_it_was_scored_on(workspace: Workspace) -> None:
    files = RunFiles(workspace.store, "run-1")
    assert validation_shards((), workspace, files) == ()
    before = validation_shards(("spare",), workspace, files)
    assert [shard.rows for shard in before] == [10, 10]
    fill_more(workspace)
    assert len(validation_shards(("spare",), workspace, RunFiles(workspace.store, "run-2"))) == 3
    assert validation_shards(("spare",), workspace, files) == before


def fill_more(workspace: Workspace) -> None:
    from tests.catalog_factories import begin_ingest, image_shard

    lease = begin_ingest(workspace.catalog, "spare")
    workspace.catalog.commit_image_shard(lease, image_shard("spare", 9), dropped={})
    workspace.catalog.finish_ingest(lease, {})

"""The images on which a model did worst: chosen as a sort by hand would, shown with their truth."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.config import Common
from jobs.report_evaluation_images import Scored, ranked, worst_sections
from jobs.workspace import Workspace, open_workspace
from pipeline.catalog import EvaluationRow
from pipeline.scores import PartScores, ScorePart, ScoreRow, write_scores
from pipeline.shards import read_sample_keys
from tests.report_stores import HOSTILE, fill_store

PROTOCOL = {"name": "relative", "version": 1, "spaces": ["depth"], "metrics": ["rmse", "abs_rel"]}
WAY = {"side": 126, "precision": "fp32", "upsampling": "bilinear", "protocol": PROTOCOL}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("worst") / "store"
    fill_store(folder)
    return folder


@pytest.fixture
def workspace(store):
    with open_workspace(Common(store=str(store))) as opened:
        yield opened


def evaluation(**changes: Any) -> EvaluationRow:
    config = {"protocol": PROTOCOL, "size": 126, "precision": "fp32", "upsampling": "bilinear"}
    values = {
        "model": "student", "model_sha256": "d" * 64, "protocol": "relative", "version": "1",
        "source": "rooms", "source_digest": "x", "images": 3, "valid_pixels": 9, "config": config,
        "metrics": {"depth/rmse": None, "depth/abs_rel": 0.4}, "code_version": "1",
        "created_at": 0.0,
    }  # fmt: skip
    return EvaluationRow(**(values | changes))


def keep(workspace: Workspace, errors: list[float | None], **way: Any) -> list[str]:
    """Scores of the images of `rooms`; returns their sample ids."""
    (shard,) = workspace.catalog.image_shards("rooms")
    names = [name for name, _, _ in read_sample_keys(workspace.store, shard.key)]
    part = ScorePart(
        source="rooms", shard_id=shard.shard_id, image_shard_sha256=shard.sha256, group=0,
        model_sha256="d" * 64, settings=WAY | way,
    )  # fmt: skip
    rows = [
        ScoreRow(
            sample_id=name, sha256="1", path=name, valid_pixels=5, metrics={"depth/abs_rel": e}
        )
        for name, e in zip(names, errors, strict=True)
    ]
    write_scores(workspace.store, part, PartScores(rows=tuple(rows)), replace=True)
    return names


def test_the_worst_come_first_with_their_truth_and_their_score(workspace) -> None:
    keep(workspace, [0.2, 0.9, 0.1])
    (section,) = worst_sections(workspace, [evaluation()], workspace.catalog.model("student"))
    assert section.title == "Where it did worst: relative@1 on rooms"
    assert [figure.whys[0].split(",")[0] for figure in section.figures] == [
        "abs_rel 0.9000", "abs_rel 0.2000", "abs_rel 0.1000",
    ]  # fmt: skip
    assert [len(figure.pictures) for figure in section.figures] == [2, 2, 2]
    assert HOSTILE in section.figures[0].title
    assert "3 of 3 images" in section.text
    assert "the mean is 0.4000" in section.text


def test_scores_that_are_no_numbers_do_not_count(workspace) -> None:
    keep(workspace, [None, math.nan, 0.3])
    (section,) = worst_sections(workspace, [evaluation()], workspace.catalog.model("student"))
    assert len(section.figures) == 1
    assert section.charts == ()


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"protocol": PROTOCOL, "size": 518, "precision": "fp32"}},
        {"version": "2"},
        {"model_sha256": "c" * 64},
        {"source": "photos"},
        {"metrics": {"depth/rmse": None}},
    ],
)
def test_scores_of_something_else_are_not_its_own(workspace, change: dict[str, Any]) -> None:
    keep(workspace, [0.2, 0.9, 0.1])
    model = workspace.catalog.model("student")
    assert worst_sections(workspace, [evaluation(**change)], model) == ()


def test_a_page_shows_a_few_results_the_newest_first(workspace) -> None:
    keep(workspace, [0.2, 0.9, 0.1])
    rows = []
    for version in range(1, 6):
        rules = PROTOCOL | {"version": version}
        keep(workspace, [0.2, 0.9, 0.1], protocol=rules)
        row = evaluation(version=str(version), created_at=float(version))
        rows.append(replace(row, config=row.config | {"protocol": rules}))
    sections = worst_sections(workspace, rows, workspace.catalog.model("student"))
    assert [section.title.split()[4] for section in sections] == [
        "relative@5", "relative@4", "relative@3",
    ]  # fmt: skip
    assert len({section.anchor for section in sections}) == 3


@given(st.lists(st.floats(0, 5), max_size=20), st.sampled_from(["depth/rmse", "depth/delta1"]))
def test_ranks_are_those_of_a_sort_by_hand(values: list[float], name: str) -> None:
    scored = [
        Scored(ScoreRow(sample_id=f"{n:02}", sha256="", path=""), "s", value)
        for n, value in enumerate(values)
    ]
    left = list(scored)
    for each in ranked(scored, name):
        values_left = [other.value for other in left]
        extreme = min(values_left) if name == "depth/delta1" else max(values_left)
        assert each.value == extreme
        first = min(other.row.sample_id for other in left if other.value == extreme)
        assert each.row.sample_id == first
        left.remove(each)
    assert left == []

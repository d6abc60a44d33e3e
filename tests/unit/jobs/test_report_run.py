"""A run as a page: one that is done, one that goes on, one that failed, and hostile names."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.config import Common, ReportConfig
from jobs.report import report
from jobs.report_run import gather, run_page
from jobs.run_files import RunFiles
from jobs.settings import resolved
from jobs.training_config import TrainStudentConfig
from jobs.workspace import Workspace, open_workspace
from pipeline.errors import CatalogMissingError
from tests.report_stores import HOSTILE, fill_store

CONFIG = TrainStudentConfig(
    name="next", encoder="scratch:tiny", labelled=("rooms",), pseudo=("labels",)
)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "store"
    fill_store(folder)
    return folder


@pytest.fixture
def workspace(store):
    with open_workspace(Common(store=str(store))) as opened:
        yield opened


def begun(workspace: Workspace, name: str = "next") -> RunFiles:
    """A run that has pinned what there is, and done nothing yet."""
    snapshot = workspace.catalog.pin_snapshot(labelled=["rooms"], pseudo=["labels"])
    run_id = workspace.catalog.begin_run(
        "student", name=name, config=resolved(CONFIG), code_version="1",
        snapshot_id=snapshot.snapshot_id,
    )  # fmt: skip
    files = RunFiles(workspace.store, run_id)
    files.write_json("config.json", {"steps": 500, "recipe": {"clip_norm": 1.0}})
    return files


def lines(first: int, last: int) -> list[dict[str, float]]:
    return [
        {"step": n, "loss": 1 / n, "images_per_s": 20.0, "step_s": 0.5, "data_wait_share": 0.1}
        for n in range(first, last + 1)
    ]


def facts_of(page, anchor: str) -> dict[str, str]:
    (section,) = (each for each in page.sections if each.anchor == anchor)
    return {fact.label: fact.value for fact in section.facts}


def section_of(page, anchor: str):
    return next((each for each in page.sections if each.anchor == anchor), None)


def test_a_run_is_found_by_its_id_and_by_its_name(store, workspace, tmp_path) -> None:
    files = begun(workspace, name="only-a-run")
    out = str(tmp_path / "x.html")
    targets = (files.run_id, f"run:{files.run_id}", "run:only-a-run", "only-a-run")
    for target in targets:
        made = report(ReportConfig(store=str(store), target=target, out=out))
        assert (made["kind"], made["target"]) == ("run", files.run_id)
    made = report(ReportConfig(store=str(store), target="student", out=out))
    assert made["kind"] == "model"  # which has the name before its run
    made = report(ReportConfig(store=str(store), target="run:student", out=out))
    assert made["kind"] == "run"
    with pytest.raises(CatalogMissingError):
        report(ReportConfig(store=str(store), target="run:nobody", out=out))


def test_a_run_that_is_done_shows_its_course_and_what_it_read(workspace) -> None:
    done = workspace.catalog.newest_run("student")
    page = run_page(workspace, done.run_id, colophon="c")
    assert page.summary == "Trains student student. Done: it made model student."
    losses = section_of(page, "losses")
    assert losses.text == "Of 400 steps."
    assert [curve.name for curve in losses.charts[0].curves] == [
        "loss",
        "labelled",
        "pseudo",
        "feature",
    ]
    table = section_of(page, "input").table
    assert table.rows == (
        ("rooms", "ground truth", "not given", "1", "3", "20.0%"),
        ("photos", "pseudo-labels labels", table.rows[1][2], "2", "12", "80.0%"),
    )
    assert section_of(page, "ending") is None
    assert section_of(page, "licences") is not None
    assert section_of(page, "lineage") is not None


def test_a_run_that_goes_on_says_how_far_it_is(workspace) -> None:
    files = begun(workspace)
    files.write_json("heartbeat.json", {"time": 0.0, "attempt": "x"})
    page = run_page(workspace, files.run_id, colophon="c")
    assert page.summary == "Trains student next. Going on: 0 of 500 steps so far."
    assert "Nothing was measured yet" in section_of(page, "losses").text
    assert facts_of(page, "run")["Last sign of life"] == "1970-01-01 00:00:00 UTC"
    files.write_metrics(lines(1, 100))
    files.write_json("progress.json", {"step": 120, "steps": 500, "seconds_left": 190.0})
    page = run_page(workspace, files.run_id, colophon="c")
    assert "120 of 500 steps so far" in page.summary
    tiles = {fact.label: (fact.value, fact.note) for fact in page.tiles}
    assert tiles["Pace"] == ("20.0 images/s", "1,000 images")
    assert tiles["From begin to end"] == ("not ended", "50 s in steps")
    assert facts_of(page, "run")["Left"] == "3 min 10 s"


def test_a_run_that_failed_says_why_where_and_how_to_go_on(workspace) -> None:
    files = begun(workspace)
    files.write_metrics([*lines(1, 130), {"step": 131, "loss": math.nan}])
    files.write_checkpoint(100, {"step": 100}, score=0.5)
    files.remember("began", step=0, host="here", pid=1)
    files.remember("failed", error="NonFiniteLossError", text=f"step 131: {HOSTILE}")
    workspace.catalog.finish_run(files.run_id, state="failed", metrics={})
    page = run_page(workspace, files.run_id, colophon="c")
    ending = facts_of(page, "ending")
    assert page.sections[0].anchor == "ending"
    assert ending["Why"] == f"NonFiniteLossError: step 131: {HOSTILE}"
    assert ending["Where"] == "after step 131"
    assert ending["Goes on from"] == "the checkpoint of step 100"
    assert ending["Command"].startswith("factory train-student --labelled rooms --name next")
    assert ending["Command"].endswith("--resume")
    losses = section_of(page, "losses")
    assert "Not finite: loss 1 times." in losses.text
    assert [flaw.text for flaw in losses.charts[0].flaws] == ["loss is nan at step 131"]
    assert section_of(page, "checkpoints").table.rows[0][-1] == "newest, best"
    assert [row[1] for row in section_of(page, "history").table.rows] == ["workers began", "failed"]


def test_of_a_run_of_which_nobody_wrote_why_that_is_said(workspace) -> None:
    files = begun(workspace)
    workspace.catalog.finish_run(files.run_id, state="failed", metrics={})
    ending = facts_of(run_page(workspace, files.run_id, colophon="c"), "ending")
    assert ending["Why"].startswith("Nobody has written it down")
    assert ending["Goes on from"] == "its beginning: it has no checkpoint"


def test_previews_are_spread_and_broken_ones_left_out(workspace) -> None:
    files = begun(workspace)
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((20, 60, 3), np.uint8)).save(buffer, "PNG")
    for step in range(1, 31):
        data = b"broken" if step == 30 else buffer.getvalue()
        files.store.put(files.key(f"previews/{step:09d}.png"), data)
    section = section_of(run_page(workspace, files.run_id, colophon="c"), "previews")
    assert section.text.startswith("5 of 30 previews")
    assert len(section.figures) == 5
    files.store.put(files.key("previews/000000031.png"), buffer.getvalue())
    section = section_of(run_page(workspace, files.run_id, colophon="c"), "previews")
    assert section.figures[-1].title == "After step 31"


def test_rows_that_were_not_learnt_from_are_counted(workspace) -> None:
    files = begun(workspace)
    tally = {"used": 90, "skipped": {"flat": 6}, "damaged": {"unreadable": 4}, "named": [HOSTILE]}
    files.write_json("input.json", tally)
    section = section_of(run_page(workspace, files.run_id, colophon="c"), "input")
    assert [(each.code, each.count, each.share) for each in section.reasons] == [
        ("flat", 6, 0.06), ("unreadable", 4, 0.04),
    ]  # fmt: skip
    assert section.reasons[1].examples == ((HOSTILE, ""),)


def test_hostile_words_are_only_text(store, workspace, tmp_path) -> None:
    files = begun(workspace)
    files.remember("failed", error="ValueError", text=HOSTILE)
    workspace.catalog.finish_run(files.run_id, state="failed", metrics={})
    out = tmp_path / "x.html"
    report(ReportConfig(store=str(store), target=files.run_id, out=str(out)))
    html = out.read_text()
    assert "&lt;script&gt;alert" in html
    assert "<script>alert" not in html


def test_everything_of_a_run_is_gathered(workspace) -> None:
    files = begun(workspace)
    facts = gather(workspace, files.run_id)
    assert (facts.step, facts.steps, facts.model) == (0, 500, None)
    files.write_metrics(lines(1, 3))
    assert gather(workspace, files.run_id).step == 3

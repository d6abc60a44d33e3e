"""A run's page and the drawing of its lineage in a real browser, with names as bad as can be."""

from pathlib import Path

import pytest

from jobs.config import Common, ReportConfig
from jobs.report import report
from jobs.run_files import RunFiles
from jobs.workspace import open_workspace
from pipeline.licences import terms_from
from tests.catalog_factories import fill_source
from tests.chromium import chromium
from tests.report_stores import HOSTILE, fill_store

pytestmark = pytest.mark.integration

OUTSIDE = """
[...document.querySelectorAll('.thing')].flatMap(box => {
  const frame = box.querySelector('rect').getBoundingClientRect();
  return [...box.querySelectorAll('text')].filter(text => {
    const inner = text.getBoundingClientRect();
    return inner.left < frame.left || inner.right > frame.right || inner.bottom > frame.bottom;
  }).map(text => text.textContent);
})
"""
OVERLAPS = """
(() => {
  const frames = [...document.querySelectorAll('.thing rect')].map(e => e.getBoundingClientRect());
  return frames.flatMap((a, i) => frames.slice(i + 1).filter(b =>
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)).length;
})()
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run-page")
    fill_store(folder / "store")
    with open_workspace(Common(store=str(folder / "store"))) as workspace:
        catalog = workspace.catalog
        names = [f"{number}-{letter * 50}" for number, letter in enumerate("WMmwii" * 4)]
        for name in names:
            fill_source(catalog, name, 1, role="labelled")
            catalog.set_terms(name, terms_from({"licence": HOSTILE}, title=HOSTILE))
        pinned = catalog.pin_snapshot(labelled=["rooms", *names], pseudo=["labels"])
        run = catalog.begin_run(
            "student", name="broken", config={"labelled": ["rooms"]}, code_version="1",
            snapshot_id=pinned.snapshot_id,
        )  # fmt: skip
        files = RunFiles(workspace.store, run)
        rows = [
            {"step": n, "loss": 1 / n, "images_per_s": 9.0, "step_s": 1.0} for n in range(1, 99)
        ]
        files.write_metrics([*rows, {"step": 99, "loss": float("nan")}])
        files.remember("failed", error="NonFiniteLossError", text=HOSTILE)
        catalog.finish_run(run, state="failed", metrics={})
    out = folder / "run.html"
    report(ReportConfig(store=str(folder / "store"), target="run:broken", out=str(out)))
    return out


def test_a_failed_run_is_seen_whole(page: Path, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as browser:
        colours = []
        for width, dark in ((1200, False), (400, True)):
            browser.look(width=width, dark=dark)
            browser.open(page)
            assert browser.complaints() == []
            assert browser.requests() == [page.resolve().as_uri()]
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            assert browser.evaluate(OUTSIDE) == []
            assert browser.evaluate(OVERLAPS) == 0
            style = "getComputedStyle(document.querySelector('.thing text.name')).fill"
            colours.append(browser.evaluate(style))
        assert colours[0] != colours[1]
        text = browser.evaluate("document.body.innerText")
        for said in ("NonFiniteLossError", HOSTILE, "after step 99", "--resume", "loss 1 times"):
            assert said in text, said
        assert browser.evaluate("document.querySelectorAll('.thing.subject').length") == 1
        assert browser.evaluate("document.querySelectorAll('.thing').length") >= 12
        assert browser.evaluate("document.querySelectorAll('.flaw').length") == 1
        assert browser.evaluate("document.querySelectorAll('script').length") <= 1

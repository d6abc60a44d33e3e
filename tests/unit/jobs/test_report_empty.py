"""Pages of what has only begun: each says so, and nothing stands under no words."""

import re
from pathlib import Path

import pytest

from jobs.config import Common, ReportConfig
from jobs.report import report
from jobs.workspace import open_workspace
from tests.catalog_factories import fill_source

RECIPE = {"geometry": "disparity_affine_invariant", "consistency": False, "max_distortion": None}
BEGUN = {
    "bare": ("It has no images yet; factory ingest brings them in.",),
    "by-teacher": ("No image is labelled yet.", "nothing is planned."),
    "fresh": ("Nothing was measured yet", "Going on: 0 steps so far."),
    "orphan": ("It has not been evaluated yet.",),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("empty")
    (folder / "store").mkdir()
    with open_workspace(Common(store=str(folder / "store"))) as workspace:
        catalog = workspace.catalog
        catalog.register_source(
            "bare", role="unlabelled", uri="/data/bare", layout="images", licence=None
        )
        fill_source(catalog, "some", 1, role="labelled")
        catalog.open_label_set(
            "by-teacher", teacher="teacher", teacher_sha256="a" * 64, recipe=RECIPE,
            recipe_hash="b" * 64, code_version="1",
        )  # fmt: skip
        pinned = catalog.pin_snapshot(labelled=["some"], pseudo=[])
        catalog.begin_run(
            "student", name="fresh", config={}, code_version="1", snapshot_id=pinned.snapshot_id
        )
        catalog.register_model(
            "orphan", sha256="c" * 64, family="depth_anything", kind="teacher", run_id=None,
            geometry="disparity_affine_invariant", key="models/none", licence=None,
        )  # fmt: skip
    found = {}
    for target in BEGUN:
        out = folder / f"{target}.html"
        report(ReportConfig(store=str(folder / "store"), target=target, out=str(out)))
        found[target] = out.read_text("utf-8")
    return found


@pytest.mark.parametrize("target", BEGUN)
def test_a_page_of_what_has_only_begun_says_so(pages, target):
    for words in BEGUN[target]:
        assert words in pages[target]


@pytest.mark.parametrize("target", BEGUN)
def test_no_heading_stands_alone(pages, target):
    html = pages[target]
    bodies = re.findall(r"<section .*?</h[23]>(.*?)</section>", html, re.DOTALL)
    assert len(bodies) > 2
    assert all(body.strip() for body in bodies)
    assert " 0 of 0 " not in html and "Of 0 images" not in html


def test_settings_are_words(pages):
    values = re.findall(r"<dd>(.*?)</dd>", pages["by-teacher"])
    assert {"no", "none"} <= set(values)
    assert not {"None", "False", "True"} & set(values)
    assert "1 links" not in pages["by-teacher"]

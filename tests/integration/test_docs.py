"""The documentation, used: the site searched, the example of a loss, the whole tutorial."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jobs.cli import DONE, run
from tests.chromium import chromium
from tests.doc_blocks import commands_in, fenced

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


# The same commands on less: fewer scenes, fewer steps, smaller crops.
SMALLER = (
    (r"n=\d+&", "n=8&"),
    (r"--steps \d+", "--steps 2"),
    (r"--batch-size \d+", "--batch-size 4"),
    (r"--size \d+", "--size 56"),
)


def blocks_of(page: str, language: str) -> list[str]:
    return [block for found, block in fenced(page) if found == language]


STEP = """
import torch
from model.recipes import V1_TEACHER, override
from tests.unit.model.test_training_step import batch, losses_of

plain = losses_of(V1_TEACHER, batch(1), None)[1]
bent = losses_of(override(V1_TEACHER, curvature_weight=0.5), batch(1), None)[1]
assert bent.labelled > plain.labelled and bent.total.isfinite()
network, losses = losses_of(override(V1_TEACHER, curvature_weight=0.5), batch(1), None)
losses.total.backward()
assert all(each.grad.isfinite().all() for each in network.head.parameters())
"""


def test_the_example_of_a_loss_applies_and_holds(tmp_path: Path) -> None:
    page = (DOCS / "adding-a-loss.md").read_text(encoding="utf-8")
    (change,), (checks,) = blocks_of(page, "diff"), blocks_of(page, "python")
    for folder in ("model", "tests/unit/model"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=change, text=True, check=True)
    (tmp_path / "test_curvature.py").write_text(checks)
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    run = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120}
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_curvature.py"]
    done = subprocess.run(tests, **run)
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout
    done = subprocess.run([sys.executable, "-c", STEP], **run)
    assert done.returncode == 0, done.stderr


def shell_variables(page: str) -> dict[str, str]:
    """What the page assigns, as a shell says it."""
    lines = re.findall(r"^([A-Z]+)=(.*)$", page, re.MULTILINE)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    said = {}
    for name, value in lines:
        command = ["bash", "-c", f"printf %s {value}"]
        said[name] = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout
    return said


@pytest.mark.usefixtures("ray_session", "one_thread")
def test_the_tutorial_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skimage")
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    variables = shell_variables(page)
    for pattern, less in SMALLER:
        page = re.sub(pattern, less, page)
    said = {}
    for words in commands_in(page):
        if words == ["doctor"]:  # it is this machine that it would judge
            continue
        for name, value in variables.items():
            words = [word.replace(f"${name}", value) for word in words]
        capfd.readouterr()
        assert run([*words, "--json"]) == DONE, (words, capfd.readouterr().err)
        said[" ".join(words[:2])] = json.loads(capfd.readouterr().out)
    assert (
        said["label photographs"]["labelled"] == said[f"ingest {variables['PHOTOGRAPHS']}"]["kept"]
    )
    assert said[f"ingest {variables['PHOTOGRAPHS']}"]["dropped"].keys() >= {
        "not_an_image",
        "too_small",
    }
    assert {row["model"] for row in said["evaluate student"]["results"]} == {"student", "teacher"}
    assert not said["catalog verify"]["problems"]
    for made in ("photograph-labels.html", "results/evaluation.html", "student-hf/config.json"):
        assert (tmp_path / made).is_file()
    assert len(list((tmp_path / "depth").iterdir())) == 3
    assert any((tmp_path / "labels-png16").rglob("*.png"))
    (snippet,) = blocks_of(page, "python")
    names: dict[str, object] = {}
    exec(snippet, names)
    found = names["estimate"](f"{variables['PHOTOGRAPHS']}/chelsea.png")
    assert np.isfinite(found["predicted_depth"].numpy()).all()


LOOK_FOR = """(() => {
  document.querySelector("[data-md-toggle=search]").click();
  const field = document.querySelector(".md-search__input");
  field.focus();
  field.value = "quarantined";
  field.dispatchEvent(new Event("keyup"));
})()"""
FOUND = "document.querySelector('.md-search-result__list').textContent"


def test_the_site_is_read_and_searched_without_a_server(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    site = tmp_path / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(build, cwd=ROOT, env=environment, check=True, timeout=60)
    with chromium(tmp_path / "profile") as browser:
        browser.open(site / "index.html")
        browser.evaluate(LOOK_FOR)
        deadline = time.monotonic() + 30
        while "quarantined" not in browser.evaluate(FOUND) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert "Operations" in browser.evaluate(FOUND)
        assert browser.complaints() == []
        here = site.as_uri()
        assert [each for each in browser.requests() if not each.startswith(here)] == []

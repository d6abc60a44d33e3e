"""What the documentation tells people to do, done: the example of a loss, the whole tutorial."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


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
    (change,), (checks,) = blocks(page, "diff"), blocks(page, "python")
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

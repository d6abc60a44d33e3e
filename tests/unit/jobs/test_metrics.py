"""The table of metrics: what Prometheus asks of names, and that its expressions are sound."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.metrics import BY_NAME, METRICS


def test_names_are_unlike_each_other_and_say_kind_and_unit():
    assert len(BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"factory_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert ("seconds" in metric.name) == metric.unit.startswith("seconds"), metric.name
        assert metric.meaning.endswith("."), metric.name


def test_histograms_and_they_alone_have_buckets_that_rise():
    for metric in METRICS:
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_tags_are_not_those_that_ray_adds():
    own = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId"}
    for metric in METRICS:
        assert len(set(metric.tags)) == len(metric.tags) > 0
        assert not own & set(metric.tags)


def test_expressions_are_promql(tmp_path: Path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: it comes with Prometheus")
    rules = [f"      - record: r:{m.name}\n        expr: {m.together}" for m in METRICS]
    file = tmp_path / "rules.yml"
    file.write_text("groups:\n  - name: factory\n    rules:\n" + "\n".join(rules))
    checked = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(METRICS)} rules found" in checked.stdout


def test_verbs_record_all_that_is_listed_and_nothing_else():
    jobs = Path(__file__).parents[3] / "jobs"
    files = [file for file in jobs.glob("*.py") if file.name != "metrics.py"]
    written = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert set(re.findall(r'"(factory_[a-z_]+)"', written)) == set(BY_NAME)

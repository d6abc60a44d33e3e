from pathlib import Path

from jobs.metrics import METRICS
from jobs.metrics_reference import markdown_page

ROOT = Path(__file__).parents[3]


def test_the_page_is_made_from_the_table():
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == markdown_page(), "make docs"


def test_every_metric_has_one_row():
    rows = [line for line in markdown_page().splitlines() if line.startswith("| `ray_factory_")]
    assert [line.split("`")[1] for line in rows] == [metric.exported for metric in METRICS]
    assert all(line.replace("\\|", "").count("|") == 7 for line in rows), "six cells each"

"""What a terminal of 80 columns shows of a forecast."""

import io
import json

import pytest
from rich.console import Console

from jobs.cli import as_json
from jobs.plan import plan
from jobs.plan_config import PlanConfig
from jobs.plan_view import is_plan, plan_block
from jobs.summary import print_summary
from tests.plan_factories import MEASURED

MANY = {"images": 62_300_000, "gpus": (1, 64), "cost_per_gpu_hour": (1.25, 12.5)}


@pytest.fixture
def summary(tmp_path):
    file = tmp_path / "l4.json"
    file.write_text(json.dumps(MEASURED.as_dict()))

    def make(**changes):
        return plan(PlanConfig(measured=str(file), **MANY | changes))

    return make


def shown(summary, *, width=80):
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(plan_block(summary))
    return stream.getvalue()


def test_the_head_says_what_decides(summary):
    text = shown(summary(cost_per_gb_month=0.02))
    assert "by-t, by t in bf16" in text
    assert "62,300,000 images in 62,300 shards, 12.5 TB to read" in text
    assert "9.3 TB, 150.0 kB each; 187 a month" in text
    assert "100 images/s (50 to 125), limited by the network" in text
    assert "7 beside a device; 3 would keep its network busy" in text
    assert "64 images of 3 sizes, 1 of them unreadable, in batches of 8" in text


def test_tables_fit_into_80_columns_and_lose_no_figure(summary):
    found = summary(simulate=True, gpu="h100", images=500_000)
    lines = shown(found).splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for word in ("calm", "failures", "spot", "decode, resize", "encode", "write"):
        assert word in text
    assert "…" not in text
    one, many = ([line for line in lines if line.split()[:1] == [n]] for n in ("1", "64"))
    assert len(one) == len(many) == 1 + 3, "one of each table, and three scenarios"


def test_ranges_are_of_one_unit(summary):
    text = shown(summary(gpus=(64,)))
    # 62.3 million at 125 and at 50 images/s on each of 64 devices
    assert "2.18 – 5.42 h" in text or "2.17 – 5.42 h" in text


def test_without_prices_there_is_no_cost(summary):
    assert "cost" in shown(summary())
    assert "cost" not in shown(summary(cost_per_gpu_hour=()))


def test_control_characters_do_not_steer_the_terminal(summary):
    found = summary(label_set="fine") | {"label_set": "a\x1b[2Jb"}
    assert "\x1b" not in shown(found)


def test_only_a_forecast_is_shown_so_and_programs_get_all_of_it(summary):
    found = summary()
    assert is_plan(found)
    assert not is_plan({"label_set": "a", "images": 1})
    stream = io.StringIO()
    print_summary(found, stream=stream)
    assert "wall time" in stream.getvalue()
    assert "measurement" not in stream.getvalue()
    assert json.loads(as_json(found))["measurement"] == MEASURED.as_dict()

"""infra/monitoring: what is made is current, what it names exists, and when each alert fires.

Prometheus' own `promtool` judges the rules; where it is missing its tests skip and say so.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard, prometheus, units

from infra.monitoring import build
from infra.monitoring.alerts import ALERTS, GROUPS, groups, shortened
from infra.monitoring.panels import PANELS
from jobs.metrics import METRICS, PREFIX

PAGE = (build.FOLDER.parents[1] / "docs" / "monitoring.md").read_text("utf-8")
MINUTE = 60


@pytest.fixture(scope="module")
def promtool():
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool here (Debian: apt-get install prometheus)")

    def run(*words):
        done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("path", build.made_files())
def test_files_are_current(path):
    written = (build.FOLDER / path).read_text("utf-8")
    assert written == build.made_files()[path], "run `make dashboards`"


def test_the_dashboard_is_what_grafanas_model_reads_and_writes():
    register_default_plugins()
    given = json.loads(build.made_files()["grafana/factory.json"])
    read = dashboard.Dashboard.from_json(given)
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == given
    shown = [panel for panel in read.panels if panel.type_val != "row"]
    assert [panel.title for panel in shown] == [panel.title for panel in PANELS]
    assert all(isinstance(query, prometheus.Dataquery) for p in shown for query in p.targets)


def test_panels_lie_beside_each_other_and_have_numbers_of_their_own():
    panels = json.loads(build.made_files()["grafana/factory.json"])["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) == 23


def test_panels_say_what_they_show_in_units_that_grafana_knows():
    known = {value for name, value in vars(units).items() if isinstance(value, str)}
    for panel in PANELS:
        assert panel.unit in known - {"grafana_foundation_sdk.models.units"}, panel.title
        assert panel.description.endswith("."), panel.title
        assert panel.needs in ("", "GPU", "failure", "alert")
        for query in panel.queries:
            tags = set(re.findall(r"{{(\w+)}}", query.legend))
            assert tags <= set(re.findall(r"\w+", query.expr)), panel.title


EXPRESSIONS = [query.expr for panel in PANELS for query in panel.queries]


def test_every_metric_of_the_table_is_shown_and_no_other():
    named = set(re.findall(rf"{PREFIX}factory_\w+", " ".join(EXPRESSIONS)))
    named = {name.removesuffix("_bucket") for name in named}
    shown_by_alerts = {"ray_factory_driver_end_timestamp_seconds"}
    assert named == {metric.exported for metric in METRICS} - shown_by_alerts


def test_tags_in_expressions_are_those_of_the_table():
    """A typo in a selector or in ``by (…)`` would be an empty panel and not an error."""
    known = {tag for metric in METRICS for tag in metric.tags}
    for expr in [*EXPRESSIONS, *(alert.expr for alert in ALERTS)]:
        for tags in re.findall(r"(?:by|on) \(([\w, ]+)\)", expr):
            used = set(tags.split(", ")) - {"le"}
            assert used <= known | {"instance", "GpuIndex", "alertname", "alertstate"}, expr


def test_every_alert_says_what_to_do_and_is_in_the_manual():
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)
    for alert in ALERTS:
        rule = alert.as_rule()
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert alert.what_next.endswith("."), alert.name
        assert f"### {alert.name}\n" in PAGE
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{alert.name.lower()}"
    assert set(re.findall(r"^### (Factory\w+)$", PAGE, re.MULTILINE)) == {a.name for a in ALERTS}


def test_rules_and_configuration_are_as_prometheus_wants_them(promtool, tmp_path):
    said = promtool("check", "rules", build.FOLDER / "factory-alerts.yml")
    assert f"{len(ALERTS)} rules found" in said
    shutil.copytree(build.FOLDER, tmp_path / "monitoring")
    (tmp_path / "monitoring" / "auth_token").write_text("secret")
    for path in sorted((tmp_path / "monitoring").glob("prometheus*.yml")):
        assert "1 rule files found" in promtool("check", "config", path)
    manifest = yaml.safe_load((build.FOLDER / "kubernetes" / "prometheus-rule.yaml").read_text())
    assert manifest["kind"] == "PrometheusRule"
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(manifest["spec"]))
    promtool("check", "rules", tmp_path / "rules.yml")


def test_panels_are_promql(promtool, tmp_path):
    """As recording rules, which is what promtool reads expressions in."""
    rules = [
        {"record": f"panel:{number}", "expr": expr.replace("$label_set", ".*").replace("$run", "r")}
        for number, expr in enumerate(EXPRESSIONS)
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", path)


def test_alerts_that_are_shortened_for_tests_ask_the_same():
    for alert in ALERTS:
        short = shortened(alert, minutes_s=20, longer_s=90, wait_s=2)
        assert short.wait == "2s"
        assert re.sub(r"\b(20|90)s", "", short.expr) == re.sub(r"\b\d+[mh]\b", "", alert.expr)
        assert not re.search(r"\d[mh]\b", short.expr)


@dataclass(frozen=True)
class Case:
    """Series by the minute in promtool's notation, and the alerts that fire at some minutes."""

    series: dict[str, str]
    firing: dict[int, list[str]] = field(default_factory=dict)


LEFT = 'ray_factory_images_left{label_set="places", source="a"}'
LABELLED = 'ray_factory_labelled_images_total{label_set="places", source="a"}'
QUARANTINED = 'ray_factory_quarantined_images_total{label_set="places", source="a", reason="%s"}'
READY = 'ray_factory_actors{verb="label", target="places", state="ready"}'
LOST = 'ray_factory_actors_lost_total{verb="label", target="places"}'
BEAT = 'ray_factory_driver_beat_timestamp_seconds{verb="label", target="places", WorkerId="%s"}'
END = 'ray_factory_driver_end_timestamp_seconds{verb="label", target="places", WorkerId="%s"}'
AGE = 'ray_factory_lease_age_seconds{label_set="places"}'
COMMITS = 'ray_factory_commit_seconds_bucket{label_set="places", le="%s"}'
TRAINED = 'ray_factory_driver_beat_timestamp_seconds{verb="train", target="s"}'
TRAINED_END = 'ray_factory_driver_end_timestamp_seconds{verb="train", target="s"}'
REFUSED = 'ray_factory_training_not_finite_total{run="7", model="s"}'
WAIT = 'ray_factory_training_data_wait_ratio{run="7", model="s"}'
STALLED, GONE = "FactoryLabelSetStalled", "FactoryDriverGone"

CASES = {
    "a set that goes on is left alone": Case({LEFT: "9000-100x60"}, {59: []}),
    "a set that stands still": Case(
        {LEFT: "9000-1000x4 5000x60"}, {30: [], 36: [STALLED], 60: [STALLED]}
    ),
    "a set that goes on again": Case({LEFT: "5000x40 4000x20"}, {40: [STALLED], 42: [], 60: []}),
    "one of two drivers that see the same progress": Case(
        {
            LEFT.replace("}", ', WorkerId="1"}'): "9000x60",
            LEFT.replace("}", ', WorkerId="2"}'): "9000-100x60",
        },
        {50: []},
    ),
    "a set that is finished stands still": Case({LEFT: "100-100x1 0x60"}, {60: []}),
    "every fifth image is quarantined": Case(
        {LABELLED: "0+80x60", QUARANTINED % "not_finite": "0+20x60"},
        {5: [], 12: ["FactoryQuarantineHigh"]},
    ),
    "every twentieth is not": Case(
        {LABELLED: "0+95x60", QUARANTINED % "not_finite": "0+5x60"}, {60: []}
    ),
    "a counter that begins high counts at once": Case(
        {LABELLED: "500x20", QUARANTINED % "decode": "500x20"},
        {4: [], 5: ["FactoryQuarantineHigh"]},
    ),
    "all of a source, for two reasons": Case(
        {QUARANTINED % "decode": "200x20", QUARANTINED % "missing": "200x20"},
        {6: ["FactoryQuarantineHigh"]},
    ),
    "a bad hour long ago is over": Case(
        {LABELLED: "0+80x20 1680x100", QUARANTINED % "decode": "0+20x20 420x100"}, {100: []}
    ),
    "few images say nothing": Case({LABELLED: "10x20", QUARANTINED % "decode": "90x20"}, {20: []}),
    "three actors in fifteen minutes": Case(
        {LOST: "_x5 1 1 2 3 3x30"}, {7: [], 8: ["FactoryActorsLost"], 30: []}
    ),
    "an actor an hour": Case({LOST: "1x59 2x59 3x59"}, {150: []}),
    "work and nobody who does it": Case(
        {READY: "1x4 0x20", LEFT: "500-1x60"}, {5: [], 16: ["FactoryNoActors"]}
    ),
    "two drivers, of which one has actors": Case(
        {
            READY.replace("}", ', WorkerId="1"}'): "0x40",
            READY.replace("}", ', WorkerId="2"}'): "1x40",
            LEFT: "500-1x60",
        },
        {40: []},
    ),
    "no work and nobody": Case({READY: "0x40", LEFT: "0x40"}, {40: []}),
    "a driver at work": Case({BEAT % 1: "0+60x60"}, {30: []}),
    "a driver that is killed": Case(
        {BEAT % 1: "0+60x10 stale _x30"}, {10: [], 14: [], 17: [GONE], 40: [GONE]}
    ),
    "one that ends in order": Case(
        {BEAT % 1: "0+60x10 stale _x30", END % 1: "_x11 650 stale _x30"}, {14: [], 40: []}
    ),
    "one that is killed and taken over": Case(
        {
            BEAT % 1: "0+60x10 stale _x50",
            BEAT % 2: "_x20 1200+60x20 stale _x20",
            END % 2: "_x41 2450 stale _x30",
        },
        {19: [GONE], 25: [], 45: [], 60: []},
    ),
    "one that ends and one that is killed": Case(
        {
            BEAT % 1: "0+60x10 stale _x50",
            END % 1: "_x11 650 stale _x50",
            BEAT % 2: "_x20 1200+60x10 stale _x30",
        },
        {20: [], 25: [], 40: [GONE]},
    ),
    "one that waited for two minutes": Case(
        {BEAT % 1: "0+60x10 stale _ _ 840+60x20"}, {11: [], 15: [], 20: []}
    ),
    "a shard that hangs": Case({AGE: "0+60x60"}, {47: [], 51: ["FactoryLeaseOld"]}),
    "a quick catalog": Case({COMMITS % "1": "0+10x40", COMMITS % "+Inf": "0+10x40"}, {40: []}),
    "a slow catalog": Case(
        {COMMITS % "10": "0+1x40", COMMITS % "60": "0+10x40", COMMITS % "+Inf": "0+10x40"},
        {3: [], 10: ["FactoryCatalogSlow"]},
    ),
    "a loss that is not finite": Case(
        {REFUSED: "_x5 1x90"}, {4: [], 5: ["FactoryLossNotFinite"], 70: []}
    ),
    "a training that goes on": Case({TRAINED: "0+60x60"}, {60: []}),
    "a training that scores for a quarter of an hour": Case(
        {TRAINED: "0+60x5 stale _x14 1200+60x30"}, {19: [], 22: []}
    ),
    "a training that stands still": Case(
        {TRAINED: "0+60x5 stale _x60"}, {34: [], 37: ["FactoryTrainingStalled"]}
    ),
    "one that is complete": Case(
        {TRAINED: "0+60x5 stale _x60", TRAINED_END: "_x6 365 stale _x60"}, {60: []}
    ),
    "one that waits for its data": Case({WAIT: "0.7x60"}, {29: [], 31: ["FactoryTrainingStarved"]}),
    "a machine that does not answer": Case(
        {'up{job="ray", instance="m"}': "1x5 0x20"}, {9: [], 12: ["FactoryScrapeFailing"]}
    ),
    "another's machine": Case({'up{job="mail", instance="m"}': "0x20"}, {15: []}),
    "memory that is nearly gone": Case(
        {
            'ray_node_mem_used_host{instance="m"}': "94x20",
            'ray_node_mem_total_host{instance="m"}': "100x20",
        },
        {4: [], 6: ["FactoryMemoryLow"]},
    ),
    "a disk that is nearly full": Case(
        {
            'ray_node_disk_usage{instance="m"}': "97x20",
            'ray_node_disk_free{instance="m"}': "3x20",
        },
        {4: [], 6: ["FactoryDiskLow"]},
    ),
}


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not():
    fired = {name for case in CASES.values() for names in case.firing.values() for name in names}
    assert fired == {alert.name for alert in ALERTS}


def test_alerts_fire_when_they_should_and_only_then(promtool, tmp_path):
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(groups()))
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": s, "values": v} for s, v in case.series.items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": f"{minute}m",
                    "exp_samples": [
                        {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts
                    ],
                }
                for minute, alerts in case.firing.items()
            ],
        }
        for name, case in CASES.items()
    ]
    content = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(content))
    promtool("test", "rules", tmp_path / "tests.yml")


def test_grafana_is_told_of_the_folders_that_the_manual_names():
    folder = build.FOLDER / "grafana" / "provisioning"
    [source] = yaml.safe_load((folder / "datasources" / "factory.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert source["url"].removeprefix("http://") in PAGE
    providers = yaml.safe_load((folder / "dashboards" / "factory.yaml").read_text())["providers"]
    for provider in providers:
        variable = re.fullmatch(r"\$\{(\w+)\}", provider["options"]["path"])
        assert f"{variable[1]}=" in PAGE
    assert [path.name for path in (build.FOLDER / "grafana").rglob("*.json")] == ["factory.json"]


def test_groups_are_all_alerts():
    assert sum(len(alerts) for alerts in GROUPS.values()) == len(ALERTS) >= 10

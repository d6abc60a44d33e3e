"""A real Prometheus watches real runs: every panel has data, and alerts fire on what they are for.

Rules are those of `factory-alerts.yml` with windows and waits of seconds, made by the same code;
the expressions are the same.
"""

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.monitoring import build
from infra.monitoring.alerts import Alert, groups, shortened
from infra.monitoring.panels import PANELS
from tests.factories import tiny_teacher
from tests.line import ingest_rendered
from tests.monitored_runs import BAD, GOOD, NONE, Place, ray_head, said_by, started

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

# Their queries find nothing here: no GPU, and no second driver that takes a shard over.
NEED_A_GPU = {"GPU", "GPU memory"}
NEVER_HERE = {"{{label_set}} lost leases"}


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def ask(self, path: str, **parameters: Any) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
            said = json.load(answer)
        assert said["status"] == "success"
        return said["data"]

    def history(self, expr: str, *, since_s: float) -> list[dict[str, Any]]:
        """Every series that an expression had, by the second."""
        asked = {"query": expr, "start": since_s, "end": time.time(), "step": 1}
        return list(self.ask("query_range", **asked)["result"])

    def firing(self) -> dict[tuple[str, str], dict[str, str]]:
        """What alerts that fire say, by their name and whom they are about."""
        about = ("label_set", "target", "model", "instance")
        return {
            (
                alert["labels"]["alertname"],
                next(filter(None, map(alert["labels"].get, about))),
            ): alert["annotations"]
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == "firing"
        }


def in_seconds(alert: Alert) -> Alert:
    """As it is, for runs that last for seconds."""
    return shortened(alert, minutes_s=12, longer_s=120, wait_s=2)


@contextmanager
def prometheus(folder: Path, *, targets: Path) -> Iterator[Prometheus]:
    """Our configuration, every second instead of every fifteen, on a free port of the loopback."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus here (Debian: apt-get install prometheus)")
    folder.mkdir()
    config = yaml.safe_load((build.FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    [job] = config["scrape_configs"]
    job["file_sd_configs"] = [{"files": [str(targets)], "refresh_interval": "1s"}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "factory-alerts.yml").write_text(yaml.safe_dump(groups(in_seconds)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )
    server = Prometheus(f"http://127.0.0.1:{port}")
    try:
        wait_until(lambda: answers(server))
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)


def answers(server: Prometheus) -> bool:
    try:
        return bool(server.ask("query", query="vector(1)"))
    except OSError:
        return False


def wait_until(condition: Callable[[], object], *, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.25)


@dataclass
class Watched:
    """What was seen of all runs, up to the end of the last."""

    prometheus: Prometheus
    began_s: float
    place: Place
    dashboard: str
    fired: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def wait_for(self, name: str, process: BaseProcess, *, code: int = 0) -> None:
        """Until a run has ended as it should."""
        self.watch_until(lambda: not process.is_alive())
        process.join()
        assert process.exitcode == code, said_by(name, self.place)

    def watch_until(self, condition: Callable[[], object]) -> None:
        wait_until(lambda: self._note() or condition())

    def _note(self) -> None:
        self.fired.update(self.prometheus.firing())


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, warm: None) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("monitored")
    tiny_teacher(folder / "teacher")
    where = {"store": str(folder / "store")}
    ingest_rendered("rendered", n=12, seed=0, role="labelled", shard_images=3, **where)
    ingest_rendered("judged", n=8, seed=1, role="benchmark", **where)
    with ray_head() as ray:
        place = Place(folder, ray["address"])
        targets = Path(ray["session_dir"], "prom_metrics_service_discovery.json")
        with prometheus(folder / "prometheus", targets=targets) as server:
            yield watch(Watched(server, time.time(), place, f"http://{ray['dashboard']}"))


def watch(seen: Watched) -> Watched:
    """Begin all runs, and see them to their ends."""
    names = ("train_until_it_breaks", "label_in_trouble", "whole_line")
    runs = {name: started(name, seen.place) for name in names}
    try:
        seen.wait_for("train_until_it_breaks", runs["train_until_it_breaks"], code=1)
        seen.wait_for("whole_line", runs["whole_line"])
        seen.watch_until(lambda: ("FactoryLabelSetStalled", "troubled") in seen.fired)
        runs["label_in_trouble"].kill()
        seen.watch_until(lambda: ("FactoryDriverGone", "troubled") in seen.fired)
    finally:
        for process in runs.values():
            process.kill()
    return seen


def test_every_panel_has_data(watched: Watched) -> None:
    empty = {
        (panel.title, query.legend)
        for panel in PANELS
        for query in panel.queries
        if not watched.prometheus.history(
            query.expr.replace("$label_set", ".*").replace("$run", ".*"), since_s=watched.began_s
        )
    }
    expected = {
        (panel.title, query.legend)
        for panel in PANELS
        for query in panel.queries
        if panel.needs == "GPU" or query.legend in NEVER_HERE
    }
    assert empty == expected
    assert {title for title, _ in expected} == NEED_A_GPU | {"Failed attempts and lost leases"}


def test_each_alert_fires_on_what_it_is_for(watched: Watched) -> None:
    assert watched.fired.keys() >= {
        ("FactoryLabelSetStalled", "troubled"),
        ("FactoryDriverGone", "troubled"),
        ("FactoryActorsLost", "troubled"),
        ("FactoryQuarantineHigh", "quarantined"),
        ("FactoryLossNotFinite", "broken"),
    }
    for (name, about), said in watched.fired.items():
        assert about in said["summary"], name
        assert "<error" not in said["summary"] + said["description"], name
    assert "12 images left" in watched.fired["FactoryLabelSetStalled", "troubled"]["summary"]
    assert "85.71%" in watched.fired["FactoryQuarantineHigh", "quarantined"]["summary"]


def test_who_ends_in_order_is_not_missed(watched: Watched) -> None:
    end = "ray_factory_driver_end_timestamp_seconds"
    series = watched.prometheus.history(end, since_s=watched.began_s)
    ended = {each["metric"]["target"] for each in series}
    assert ended & {"damaged", "quarantined"}
    missed = {about for name, about in watched.prometheus.firing() if name == "FactoryDriverGone"}
    assert "troubled" in missed
    assert not missed & ended


def test_numbers_are_those_of_the_runs(watched: Watched) -> None:
    def last(expr: str) -> float:
        [series] = watched.prometheus.ask("query", query=expr)["result"]
        return float(series["value"][1])

    of_set = '{label_set="quarantined"}'
    assert last(f"sum(ray_factory_labelled_images_total{of_set})") == GOOD
    assert last(f"sum(ray_factory_quarantined_images_total{of_set})") == BAD
    assert last(f"sum(ray_factory_actor_images_total{of_set})") == GOOD + BAD
    assert last("sum(ray_factory_ingested_images_total)") == GOOD + BAD
    assert last("sum(ray_factory_dropped_images_total)") == NONE
    assert last("sum(ray_factory_training_not_finite_total)") == 1


def test_ray_says_where_its_metrics_are_to_prometheus_of_another_machine(watched: Watched) -> None:
    """As `prometheus.cluster.yml` asks."""
    config = yaml.safe_load((build.FOLDER / "prometheus.cluster.yml").read_text())
    [asked] = config["scrape_configs"][0]["http_sd_configs"]
    url = asked["url"].replace("http://127.0.0.1:8265", watched.dashboard)
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.headers.get_content_type() == "application/json"
        [group] = json.load(answer)
    up = watched.prometheus.ask("query", query='up{job="ray"} == 1')["result"]
    there = {series["metric"]["instance"] for series in up}
    # its dashboard and autoscaler too, but on ports that are taken where there is another Ray
    assert there and there <= set(group["targets"])

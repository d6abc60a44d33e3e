"""Machines that die while they label: two of them, simulated on this one, killed at every step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.config import LabelConfig
from jobs.workspace import open_workspace
from tests.deadly_label import STEPS
from tests.factories import tiny_teacher
from tests.label_checks import check_exactly_once, ingest_pictures, labels_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
IMAGES, SHARD_IMAGES = 18, 3

# A process of its own: the cluster's start takes over signals and needs the main thread.
ON_A_CLUSTER = """
import json, sys, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from jobs.config import LabelConfig
from jobs.label import label
from tests.deadly_label import STEPS, Plot, carry_by_value, deadly

options, folder = json.loads(sys.argv[1]), sys.argv[2]
carry_by_value()
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
for _ in range(2):
    cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")

def wait_for_two():
    deadline = time.monotonic() + 60
    while sum(node["Alive"] and "CPU" in node["Resources"] for node in ray.nodes()) != 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)

wait_for_two()
summaries = {"undisturbed": label(LabelConfig(label_set="undisturbed", **options))}
for step in STEPS:
    with deadly([Plot("node", step, folder)]):
        summaries[step] = label(LabelConfig(label_set=step, **options))
    cluster.add_node(num_cpus=1)
    wait_for_two()
(Path(folder) / "summaries.json").write_text(json.dumps(summaries))
ray.shutdown()
cluster.shutdown()
"""


def test_machines_that_die_at_every_step(tmp_path: Path) -> None:
    where = {"store": str(tmp_path / "store")}
    ingest_pictures(tmp_path, IMAGES, shard_images=SHARD_IMAGES, **where)
    options = {
        "sources": ["pictures"],
        "teacher": str(tiny_teacher(tmp_path / "teacher")),
        "batch_size": 2,
        "actors": 2,
        "cpus_per_actor": 1.0,
        **where,
    }
    kills = tmp_path / "kills"
    kills.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ON_A_CLUSTER, json.dumps(options), str(kills)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summaries = json.loads((kills / "summaries.json").read_text())
    assert len(list(kills.glob("node-*"))) == len(STEPS), "each step had its kill"
    config = LabelConfig(**options | {"sources": ("pictures",)})
    with open_workspace(config) as workspace:
        undisturbed = labels_of(workspace, "undisturbed")
        for step in STEPS:
            assert summaries[step]["shards_failed"] == 0, step
            check_exactly_once(workspace, step, like=undisturbed)

"""Machines that die while they label, simulated on this one: one at every step of the protocol."""

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
IMAGES, SHARD_IMAGES = 24, 3

# A process of its own: the cluster's start takes over signals and needs the main thread.
ON_A_CLUSTER = """
import json, sys
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from jobs.config import LabelConfig
from jobs.label import label
from tests.deadly_label import STEPS, carry_by_value, deadly, one_death_each
from tests.warm_workers import warm_workers

options, folder = json.loads(sys.argv[1]), sys.argv[2]
carry_by_value()
with warm_workers():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(len(STEPS)):
        cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
cluster.wait_for_nodes()

shards = options.pop("shards")
with deadly(one_death_each("node", Path(folder), shards)):
    killed = label(LabelConfig(label_set="killed", **options))
with warm_workers():
    cluster.add_node(num_cpus=1)
undisturbed = label(LabelConfig(label_set="undisturbed", **options))
summaries = {"killed": killed, "undisturbed": undisturbed}
(Path(folder) / "summaries.json").write_text(json.dumps(summaries))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.usefixtures("warm")
def test_machines_that_die_at_every_step(tmp_path: Path) -> None:
    where = {"store": str(tmp_path / "store")}
    ingest_pictures(tmp_path, IMAGES, shard_images=SHARD_IMAGES, **where)
    options = {
        "sources": ["pictures"],
        "teacher": str(tiny_teacher(tmp_path / "teacher")),
        "batch_size": 2,
        "actors": 1,
        "cpus_per_actor": 1.0,
        **where,
    }
    config = LabelConfig(**options | {"sources": ("pictures",)})
    with open_workspace(config) as workspace:
        shards = [shard.shard_id for shard in workspace.catalog.image_shards("pictures")]
    kills = tmp_path / "kills"
    kills.mkdir()
    told = json.dumps(options | {"shards": shards})
    done = subprocess.run(
        [sys.executable, "-c", ON_A_CLUSTER, told, str(kills)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:3000] + done.stderr[-3000:]
    summaries = json.loads((kills / "summaries.json").read_text())
    deaths = (kills / "kills.log").read_text().splitlines()
    assert len(deaths) == len(STEPS), "each step had its kill"
    assert summaries["killed"]["shards_failed"] == 0
    with open_workspace(config) as workspace:
        undisturbed = labels_of(workspace, "undisturbed")
        assert len(undisturbed) == IMAGES
        check_exactly_once(workspace, "killed", like=undisturbed)

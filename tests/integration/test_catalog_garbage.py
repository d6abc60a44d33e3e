"""Garbage is collected while processes label, ingest, die and pin: nothing that counts is lost."""

import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event

from jobs.catalog_gc import collect_garbage
from jobs.config import CatalogConfig, CatalogGcConfig
from jobs.workspace import open_workspace
from pipeline.catalog import Catalog
from pipeline.garbage import LabelObject, sweep_label_set
from tests.catalog_factories import fill_source, manifest, open_label_set
from tests.whole_store import open_labels

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]

# A driver: writes an object for each lease, then commits, dies, gives back or waits too long.
LABELLER = """
import random, sys
from jobs.config import CatalogConfig
from jobs.workspace import open_workspace
from pipeline.errors import LeaseLostError
from tests.catalog_factories import expire_leases, manifest
store, url, owner = sys.argv[1:]
chance = random.Random(owner)
print("ready", flush=True)
sys.stdin.readline()
with open_workspace(CatalogConfig(store=store, catalog=url)) as workspace:
    catalog = workspace.catalog
    for turn in range(60):
        for lease in catalog.lease("labels", owner=owner, limit=3, ttl_s=60.0):
            written = manifest(lease, blank=chance.randrange(2))
            workspace.store.put(written.key, b"labels", exclusive=True)
            fate = chance.random()
            try:
                if fate < 0.1:
                    catalog.release(lease)
                elif fate < 0.2:
                    catalog.charge(lease, "killed", max_attempts=1000)
                elif fate < 0.3:
                    expire_leases(catalog, owner)  # and goes on with the next
                elif fate < 0.4:
                    expire_leases(catalog, owner)
                    catalog.commit_label_shard(lease, written)  # late, if nobody was faster
                else:
                    catalog.commit_label_shard(lease, written)
            except LeaseLostError:
                pass
        if chance.random() < 0.3:
            catalog.retry_quarantined("labels")
        if chance.random() < 0.3:
            catalog.pin_snapshot(labelled=[], pseudo=["labels"])
"""

# Ingests the same images again and again, each time as if killed before some commit.
INGESTER = """
import random, sys
from jobs.config import CatalogConfig
from jobs.workspace import open_workspace
from pipeline.errors import CatalogConflictError, LeaseLostError
from tests.catalog_factories import begin_ingest
from tests.factories import image_shard
store, url, owner = sys.argv[1:]
chance = random.Random(owner)
print("ready", flush=True)
sys.stdin.readline()
with open_workspace(CatalogConfig(store=store, catalog=url)) as workspace:
    for turn in range(25):
        try:
            lease = begin_ingest(workspace.catalog, "pictures", owner=owner)
        except CatalogConflictError:
            continue
        try:
            for number in range(chance.randrange(6)):
                shard = image_shard(workspace.store, range(2 * number, 2 * number + 2))
                if chance.random() < 0.4:
                    workspace.catalog.commit_image_shard(lease, shard, dropped={})
            workspace.catalog.finish_ingest(lease, {}, state="stopped")
        except LeaseLostError:
            pass
"""


@contextmanager
def started(commands):
    """Processes of these scripts with their arguments; none outlives the test."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with ExitStack() as stack:
        processes = []
        for script, *words in commands:
            command = [sys.executable, "-W", "error", "-c", script, *words]
            process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def run_together(processes):
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()


def test_no_object_that_counts_is_ever_collected(catalog_url, tmp_path):
    store = str(tmp_path / "store")
    where = {"store": store, "catalog": catalog_url}
    with open_workspace(CatalogConfig(**where)) as workspace:
        catalog = workspace.catalog
        fill_source(catalog, "street", 30)
        catalog.register_source("pictures", role="unlabelled", uri="/x", layout="images")
        open_labels(workspace)
        catalog.plan_work("labels", ["street"])
        commands = [
            (script, store, catalog_url, f"{script is INGESTER:d}x{number}")
            for script, count in ((LABELLER, 3), (INGESTER, 2))
            for number in range(count)
        ]
        removed = 0
        with started(commands) as processes:
            run_together(processes)
            while any(process.poll() is None for process in processes):
                removed += sum(collect_garbage(CatalogGcConfig(**where))["removed"].values())
            errors = [process.communicate()[1] for process in processes]
        assert errors == [""] * len(processes)
        assert {process.returncode for process in processes} == {0}
        counted = {row.key for row in catalog.label_shards("labels")}
        counted |= {member.label_key for member in catalog.replaced_members("labels")}
        counted |= {shard.key for shard in catalog.image_shards("pictures")}
        assert counted <= set(workspace.store.list())
        assert removed > 0
        removed += sum(collect_garbage(CatalogGcConfig(**where))["removed"].values())
        assert counted <= set(workspace.store.list())
        # Once nothing is leased, nothing is left beside it.
        for owner in ("0x0", "0x1", "0x2"):
            catalog.release_owner("labels", owner)
        collect_garbage(CatalogGcConfig(**where))
        assert set(workspace.store.list("labels")) == {key for key in counted if "label" in key}


def test_what_is_replaced_while_it_is_pinned_stays(catalog_url):
    """The pin has read the old labels when new ones are committed and garbage is collected."""
    with Catalog.open(catalog_url) as catalog:
        fill_source(catalog, "street", 1)
        open_label_set(catalog, "v1")
        catalog.plan_work("v1", ["street"])
        (lease,) = catalog.lease("v1", owner="a", limit=1, ttl_s=60.0)
        catalog.commit_label_shard(lease, manifest(lease, blank=1))
        old = LabelObject(manifest(lease).key, lease.shard.shard_id, lease.epoch)
        catalog.retry_quarantined("v1")
        (lease,) = catalog.lease("v1", owner="a", limit=1, ttl_s=60.0)
        removed: list[str] = []

        def replace_and_collect():
            catalog.commit_label_shard(lease, manifest(lease))
            sweep_label_set(catalog, "v1", [old], removed.extend)

        collector = threading.Thread(target=replace_and_collect)

        def before_pinning(connection, cursor, statement, *rest):
            if "INSERT INTO snapshot_members" in statement:
                collector.start()
                collector.join(timeout=2.0)

        event.listen(catalog._reader, "before_cursor_execute", before_pinning)
        catalog.pin_snapshot(labelled=[], pseudo=["v1"])
        collector.join()
        assert [member.label_key for member in catalog.replaced_members("v1")] == [old.key]
        assert removed == []

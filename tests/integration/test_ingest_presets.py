"""Known data sets from their native files to rows of shards."""

import numpy as np
import pytest

from jobs.config import IngestConfig
from jobs.console import SilentReporter
from jobs.ingest import ingest
from jobs.workspace import open_workspace
from pipeline.shards import read_drops, read_image_rows
from tests.native_data_sets import NATIVE, write

pytestmark = pytest.mark.integration


def ingested(name: str, tmp_path, **options):
    native = NATIVE[name](tmp_path)
    store = str(tmp_path / "store")
    config = IngestConfig(
        uri=write(native.files, tmp_path / "set"),
        source="some",
        layout=name,
        store=store,
        min_side=1,
        actors=0,
        **options,
    )
    summary = ingest(config, reporter=SilentReporter())
    with open_workspace(config) as workspace:
        shards = workspace.catalog.image_shards("some")
        rows = [row for shard in shards for row in read_image_rows(workspace.store, shard.key)]
        source = workspace.catalog.source("some")
        drops = [
            drop
            for key in workspace.store.list("sources/some/dropped")
            for drop in read_drops(workspace.store, key)
        ]
    return native, summary, source, rows, drops


@pytest.mark.parametrize("name", ["kitti", "ddad", "eth3d", "diode", "tartanair"])
def test_images_come_with_their_truth_and_their_role(name, tmp_path):
    native, summary, source, rows, drops = ingested(name, tmp_path)
    assert summary["kept"] == summary["samples_in"] == len(native.truths) == len(rows)
    assert summary["ignored"] == native.ignored and drops == []
    assert source.role == ("labelled" if name == "tartanair" else "benchmark")
    for row in rows:
        wanted = native.truths[row.path]
        np.testing.assert_allclose(row.truth.values_HW, wanted, rtol=3e-3, equal_nan=True)
        assert row.truth.geometry is native.geometry and row.licence


def test_pairs_of_points_are_ground_truth_of_a_benchmark(tmp_path):
    _, summary, _, (row,), _ = ingested("da-2k", tmp_path)
    assert summary["kept"] == 1
    assert row.truth is None and row.points == ((2, 3, 0, 1, 1),)


def test_training_needs_maps_and_not_points(tmp_path):
    _, summary, _, rows, (drop,) = ingested("da-2k", tmp_path, role="labelled")
    assert rows == [] and drop.reason == "no_truth"
    assert summary["dropped"] == {"no_truth": 1}

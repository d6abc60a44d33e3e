"""What is written down is what the catalog holds, whatever lay there before."""

import pytest

from pipeline.catalog import Catalog
from pipeline.errors import ShardCorruptError
from pipeline.ledger import (
    drops_key,
    image_shards_key,
    label_shards_key,
    model_key,
    pieces_key,
    read_lines,
    read_object,
    record_label_set,
    record_model,
    record_source,
    source_key,
)
from pipeline.storage import Store
from tests.catalog_factories import (
    begin_ingest,
    fill_source,
    image_shard,
    label_all,
    open_label_set,
    register_model,
)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as opened:
        yield opened


def test_a_source_is_written_down_in_the_order_of_its_commits(store, catalog):
    shards = fill_source(catalog, "street", 3)
    lease = begin_ingest(catalog, "street")
    catalog.commit_drops(lease, "d1", dropped={"tiny": 2, "torn": 1})
    record_source(store, catalog, "street")
    lines = read_lines(store, image_shards_key("street"))
    assert [line["shard_id"] for line in lines] == [shard.shard_id for shard in shards]
    assert [line["sha256"] for line in lines] == [shard.sha256 for shard in shards]
    drops = read_lines(store, drops_key("street"))
    assert [(line["reason"], line["images"]) for line in drops] == [("tiny", 2), ("torn", 1)]
    catalog.commit_piece(lease, "p1", options="o", items=7)
    record_source(store, catalog, "street")
    (piece,) = read_lines(store, pieces_key("street"))
    assert (piece["piece_id"], piece["options"], piece["items"]) == ("p1", "o", 7)
    assert piece["run_id"] == lease.run_id
    runs = read_object(store, source_key("street"))["ingest_runs"]
    assert [(run["run_id"], run["state"]) for run in runs] == [
        (row.run_id, row.state) for row in catalog.ingests("street")
    ]


def test_what_another_catalog_wrote_down_stays(store, catalog, tmp_path):
    theirs = fill_source(catalog, "street", 2)
    record_source(store, catalog, "street")
    with Catalog.open(f"sqlite:///{tmp_path / 'other.sqlite'}") as other:
        ours = fill_source(other, "street", 2, first=1)
        record_source(store, other, "street")
        record_source(store, other, "street")
    found = [line["shard_id"] for line in read_lines(store, image_shards_key("street"))]
    assert found == [shard.shard_id for shard in (theirs[0], *ours)]
    assert len(read_object(store, source_key("street"))["ingest_runs"]) == 2


def test_labels_that_were_replaced_are_not_written_down(store, catalog):
    fill_source(catalog, "street", 2)
    open_label_set(catalog, "v1")
    label_all(catalog, "v1", ["street"], blank=1)
    record_label_set(store, catalog, "v1")
    catalog.retry_quarantined("v1")
    label_all(catalog, "v1", ["street"])
    record_label_set(store, catalog, "v1")
    found = {line["key"] for line in read_lines(store, label_shards_key("v1"))}
    assert found == {row.key for row in catalog.label_shards("v1")}


def test_a_ledger_that_is_damaged_is_named_and_written_again(store, catalog):
    fill_source(catalog, "street", 1)
    for content in (b"\xff", b"{", b"[]", b'{"format": 99}'):
        store.put(source_key("street"), content)
        with pytest.raises(ShardCorruptError, match=r"source\.json"):
            read_object(store, source_key("street"))
    store.put(image_shards_key("street"), b'{"shard_id": "x"}\n[1]\n')
    with pytest.raises(ShardCorruptError, match=r"shards\.jsonl"):
        read_lines(store, image_shards_key("street"))
    record_source(store, catalog, "street")
    (line,) = read_lines(store, image_shards_key("street"))
    assert line["shard_id"] == image_shard("street", 0).shard_id


def test_models_are_written_down_where_they_lie(store, catalog):
    register_model(catalog, "m", licence="MIT")
    record_model(store, catalog, "m")
    row = read_object(store, model_key("m"))["model"]
    assert (row["name"], row["licence"], row["key"]) == ("m", "MIT", "models/m")
    assert read_object(store, model_key("none")) is None

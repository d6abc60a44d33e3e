"""Which images are looked at while a model trains."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.training_examples import examples, spread
from pipeline.errors import ShardCorruptError
from pipeline.shards import read_image_rows, write_image_shard
from pipeline.storage import Store
from pipeline.training_input import TrainingShard
from tests.factories import image_record, image_shard, label_shard


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def labelled(store: Store) -> TrainingShard:
    shard = image_shard(store, range(20), truth=True, replace={10: b"no image"})
    return TrainingShard(shard.key, 20)


def test_items_are_spread_evenly_from_the_first_on() -> None:
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert spread(range(3), 4) == [0, 1, 2]
    assert spread([], 4) == []


def test_examples_are_squares_of_the_same_rows_each_time(
    store: Store, labelled: TrainingShard
) -> None:
    found, again = (examples(store, [labelled], 2, size=28) for _ in range(2))
    assert [each.sample_id for each in found] == [image_record(0, truth=True).sample_id], (
        "of rows 0 and 10 the second is broken, and is left out"
    )
    (first,) = found
    assert first.image_HWC.shape == (28, 28, 3)
    assert first.values_HW.shape == (28, 28)
    assert first.geometry == "depth_metric"
    assert 1 <= first.values_HW.min() <= first.values_HW.max() <= 2
    np.testing.assert_array_equal(first.image_HWC, again[0].image_HWC)
    np.testing.assert_array_equal(first.values_HW, again[0].values_HW)


def test_labels_are_shown_where_there_are_any(store: Store) -> None:
    shard = image_shard(store, range(100, 110))
    key = label_shard(store, shard, quarantined=lambda index: index % 2 == 0)
    found = examples(store, [TrainingShard(shard.key, 10, key)], 10, size=28)
    assert [float(np.median(each.values_HW)) for each in found] == [1, 3, 5, 7, 9]
    assert {each.geometry for each in found} == {"disparity_affine_invariant"}


def test_a_shard_that_is_no_shard_shows_nothing(store: Store, labelled: TrainingShard) -> None:
    store.put("sources/broken.parquet", b"PAR1 or not")
    broken = TrainingShard("sources/broken.parquet", 20)
    assert examples(store, [broken], 4, size=28) == []
    assert len(examples(store, [broken, labelled], 4, size=28)) == 1


def test_one_broken_truth_costs_its_own_row_alone(store: Store, labelled: TrainingShard) -> None:
    """Row 3's map lies about its size, which decoding it says by an error."""
    records = list(read_image_rows(store, labelled.image_key))[:6]
    shard = write_image_shard(store, records, source="broken", code_version="test")
    path = Path(str(store.local_path(shard.key)))
    table = pq.read_table(path)
    place = table.schema.get_field_index("truth_height")
    heights = table.column(place).to_pylist()
    heights[3] += 1
    table = table.set_column(
        place, table.schema.field(place), pa.array(heights, table.schema.field(place).type)
    )
    pq.write_table(table, path)
    found = examples(store, [TrainingShard(shard.key, 6)], 6, size=28)
    assert [each.sample_id for each in found] == [
        record.sample_id for place, record in enumerate(records) if place != 3
    ]


def test_a_shard_that_is_gone_is_said_once_and_for_all(store: Store) -> None:
    with pytest.raises(ShardCorruptError, match=r"sources/gone\.parquet"):
        examples(store, [TrainingShard("sources/gone.parquet", 20)], 4, size=28)

"""A shard gives back what went in, to us and to any reader of Parquet."""

import dataclasses
import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import ShardCorruptError
from pipeline.identity import sample_id, sha256_hex
from pipeline.image_columns import IMAGE_SCHEMA
from pipeline.maps import MAP_CODEC, encode_map
from pipeline.records import Drop, Geometry, ImageHeader, ImageRecord, PointPair, Truth
from pipeline.shards import (
    ROW_GROUP_ROWS,
    ImageShardBuilder,
    has_point_pairs,
    load_bytes,
    read_drops,
    read_image_rows,
    read_sample_keys,
    row_group_rows,
    shard_footer,
    truth_geometries,
    write_drops,
    write_image_shard,
)
from pipeline.storage import Store

rng = np.random.default_rng(0)
SOURCE = {"source": "pictures", "code_version": "1.0+test"}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


def png(index: int) -> bytes:
    pixels = np.random.default_rng(index).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def truth(index: int) -> Truth | None:
    """Every fourth image has none, every other a sky mask; the map has a size of its own."""
    if index % 4 == 3:
        return None
    values_HW = np.random.default_rng(index).normal(size=(5, 7 + index % 2)).astype(np.float32)
    values_HW[0, 0] = np.nan
    sky_HW = values_HW > 1 if index % 2 else None
    return Truth(values_HW, list(Geometry)[index % 4], sky_HW)


def record(index: int, **changes: object) -> ImageRecord:
    data = png(index)
    made = ImageRecord(
        sample_id=sample_id("pictures", f"a/{index}.png"),
        sha256=sha256_hex(data),
        path=f"a/{index}.png",
        uri="/data/pictures.tar",
        offset=index * 1000,
        length=len(data),
        data=data,
        header=ImageHeader(8, 6, "PNG", 1 + index % 8),
        licence="CC0-1.0" if index % 3 else None,
        attribution=None if index % 3 else "Somebody, © 2024",
        truth=truth(index),
    )
    return dataclasses.replace(made, **changes)


def same(a: ImageRecord, b: ImageRecord) -> bool:
    names = [field.name for field in dataclasses.fields(a) if field.name != "truth"]
    if any(getattr(a, name) != getattr(b, name) for name in names):
        return False
    if a.truth is None or b.truth is None:
        return a.truth is b.truth
    sky = (a.truth.sky_HW is None) == (b.truth.sky_HW is None)
    if sky and a.truth.sky_HW is not None:
        sky = np.array_equal(a.truth.sky_HW, b.truth.sky_HW)
    values = np.array_equal(a.truth.values_HW, b.truth.values_HW, equal_nan=True)
    return sky and values and a.truth.geometry is b.truth.geometry


@pytest.mark.parametrize("count", [1, ROW_GROUP_ROWS, ROW_GROUP_ROWS + 1, 150])
def test_records_come_back(store, count):
    records = [record(index) for index in range(count)]
    shard = write_image_shard(store, records, **SOURCE)
    back = list(read_image_rows(store, shard.key))
    assert len(back) == count
    assert all(same(*pair) for pair in zip(records, back, strict=True))


def test_the_reference_describes_the_object(store):
    shard = write_image_shard(store, [record(index) for index in range(70)], **SOURCE)
    data = store.get(shard.key)
    assert (shard.source, shard.rows) == ("pictures", 70)
    assert (shard.bytes, shard.sha256) == (len(data), sha256_hex(data))
    assert shard.key == f"sources/pictures/{shard.shard_id}.parquet"


def test_the_footer_tells_what_the_shard_is(store):
    shard = write_image_shard(store, [record(0), record(1)], **SOURCE)
    assert shard_footer(store, shard.key) == {
        "format": "1",
        "kind": "images",
        "source": "pictures",
        "shard_id": shard.shard_id,
        "code_version": "1.0+test",
        "rows": "2",
    }


def test_the_same_records_give_the_same_object(tmp_path):
    shards = []
    for name in ("one", "two"):
        store = Store(str(tmp_path / name))
        shards.append(write_image_shard(store, [record(i) for i in range(130)], **SOURCE))
    assert shards[0] == shards[1]


def test_ids_depend_on_content_order_and_ground_truth(store):
    one, two = record(0), record(1)
    other = Truth(one.truth.values_HW + 1, one.truth.geometry)
    variants = [
        [one, two],
        [two, one],
        [one],
        [dataclasses.replace(one, truth=other), two],
        [dataclasses.replace(one, truth=None), two],
        [dataclasses.replace(one, sha256="0" * 64), two],
    ]
    ids = {write_image_shard(store, rows, **SOURCE).shard_id for rows in variants}
    assert len(ids) == len(variants)
    with_licence = [dataclasses.replace(one, licence="MIT"), two]
    assert write_image_shard(store, with_licence, **SOURCE).shard_id in ids


def test_row_groups_have_64_rows(store):
    shard = write_image_shard(store, [record(index) for index in range(150)], **SOURCE)
    assert row_group_rows(store, shard.key) == [64, 64, 22]


def test_row_groups_can_be_read_alone_and_in_any_order(store):
    records = [record(index) for index in range(150)]
    shard = write_image_shard(store, records, **SOURCE)
    back = [row.path for row in read_image_rows(store, shard.key, row_groups=[2, 0])]
    assert back == [each.path for each in [*records[128:], *records[:64]]]
    with pytest.raises(ShardCorruptError):
        list(read_image_rows(store, shard.key, row_groups=[3]))


def test_columns_can_be_left_out(store):
    shard = write_image_shard(store, [record(0)], **SOURCE)
    (row,) = read_image_rows(store, shard.key, image=False)
    assert row.data is None and row.truth is not None
    (row,) = read_image_rows(store, shard.key, truth=False)
    assert row.data is not None and row.truth is None
    assert read_sample_keys(store, shard.key)[0][:2] == (row.sample_id, row.sha256)


def test_blobs_are_plain_and_last(store, tmp_path):
    shard = write_image_shard(store, [record(index) for index in range(70)], **SOURCE)
    metadata = pq.ParquetFile(tmp_path / "store" / shard.key).metadata
    columns = {}
    for number in range(metadata.num_columns):
        column = metadata.row_group(0).column(number)
        columns[column.path_in_schema] = column
    assert list(columns)[-2:] == ["image.bytes", "image.path"]
    for name, column in columns.items():
        blob = name in ("image.bytes", "truth_map", "sky_mask")
        assert column.compression == ("UNCOMPRESSED" if blob else "ZSTD"), name
        assert column.is_stats_set != blob, name
        if blob:
            assert column.dictionary_page_offset is None, name


def test_reading_a_few_rows_takes_the_memory_of_a_row_group(store):
    """1,000 images of 100 KB: reading one must not read them all."""
    import tracemalloc

    data = os.urandom(100_000)
    header = ImageHeader(8, 6, "PNG")
    records = (
        ImageRecord(f"{i:032x}", "0" * 64, str(i), "/x", 0, len(data), data, header)
        for i in range(1000)
    )
    shard = write_image_shard(store, records, **SOURCE)
    tracemalloc.start()
    next(read_image_rows(store, shard.key))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6


def test_building_holds_a_row_group_not_a_shard(store, tmp_path):
    import tracemalloc

    builder = ImageShardBuilder(store, **SOURCE)
    header = ImageHeader(8, 6, "PNG")
    tracemalloc.start()
    for index in range(640):
        data = index.to_bytes(2, "big") * 50_000
        builder.add(ImageRecord(f"{index:032x}", "", "p", "/x", 0, len(data), data, header))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert builder.rows == 640
    builder.discard()
    assert peak < 20e6
    assert list((tmp_path / "store").iterdir()) == []


def test_references_have_no_bytes_and_can_be_followed(store, tmp_path):
    archive = tmp_path / "archive.bin"
    archive.write_bytes(b"....." + png(1) + png(2))
    places = [(5, png(1)), (5 + len(png(1)), png(2))]
    records = [
        record(number, uri=str(archive), offset=offset, length=len(data), data=None,
               sha256=sha256_hex(data))
        for number, (offset, data) in enumerate(places)
    ]  # fmt: skip
    shard = write_image_shard(store, [*records, record(3)], **SOURCE)
    rows = list(read_image_rows(store, shard.key))
    assert [row.data is None for row in rows] == [True, True, False]
    assert [load_bytes(row) for row in rows] == [png(1), png(2), png(3)]
    assert shard.bytes < 20_000


def test_a_reference_to_other_bytes_is_an_error_that_says_where(store, tmp_path):
    file = tmp_path / "moved.png"
    file.write_bytes(png(1) + b"more")
    row = record(1, uri=str(file), offset=4, data=None)
    with pytest.raises(ShardCorruptError, match=r"moved\.png at 4 has other bytes"):
        load_bytes(row)
    with pytest.raises(ShardCorruptError, match="the shard has other bytes"):
        load_bytes(record(1, data=b"other"))
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"moved\.png"):
        load_bytes(row)


def test_an_object_that_is_already_there(store, tmp_path):
    """The same bytes are left alone; what another version of the code left is replaced."""
    records = [record(0), record(1)]
    shard = write_image_shard(store, records, **SOURCE)
    path = tmp_path / "store" / shard.key
    before = path.stat()
    assert write_image_shard(store, records, **SOURCE) == shard
    assert path.stat().st_ino == before.st_ino
    newer = write_image_shard(store, records, source="pictures", code_version="2.0")
    assert newer.key == shard.key and newer.sha256 != shard.sha256
    assert sha256_hex(store.get(shard.key)) == newer.sha256
    assert len(list((tmp_path / "store" / "sources" / "pictures").iterdir())) == 1


def test_no_records_are_no_shard(store):
    with pytest.raises(ValueError, match="at least one"):
        write_image_shard(store, [], **SOURCE)
    with pytest.raises(ValueError, match="no name"):
        write_image_shard(store, [record(0)], source="../x", code_version="1")
    assert list(store.list()) == []


def test_a_sky_mask_must_fit(store):
    wrong = Truth(np.ones((2, 2), np.float32), Geometry.DEPTH_METRIC, np.ones((2, 3), bool))
    with pytest.raises(ValueError, match="sky mask"):
        write_image_shard(store, [record(0, truth=wrong)], **SOURCE)


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_broken_objects_are_named(store, damage):
    shard = write_image_shard(store, [record(0)], **SOURCE)
    data = store.get(shard.key)
    broken = {"empty": b"", "cut": data[: len(data) // 2], "text": b"not a shard"}[damage]
    store.put(shard.key, broken)
    for ask in (row_group_rows, shard_footer, lambda *where: list(read_image_rows(*where))):
        with pytest.raises(ShardCorruptError, match=shard.shard_id):
            ask(store, shard.key)


def test_missing_objects_are_missing(store):
    with pytest.raises(FileNotFoundError, match="gone"):
        list(read_image_rows(store, "gone.parquet"))


def test_an_unknown_codec_is_refused(store, monkeypatch):
    monkeypatch.setattr("pipeline.image_columns.MAP_CODEC", "of-the-future")
    shard = write_image_shard(store, [record(0)], **SOURCE)
    monkeypatch.setattr("pipeline.image_columns.MAP_CODEC", MAP_CODEC)
    with pytest.raises(ShardCorruptError, match="of-the-future"):
        list(read_image_rows(store, shard.key))


def test_drops_come_back(store):
    drops = [
        Drop("a.jpg", "/x/a.jpg", "truncated", "cut", "0" * 64, 123),
        Drop("b", "/x.tar", "corrupt_archive"),
    ]
    key = write_drops(store, drops, shard_id="s1", **SOURCE)
    assert key == "sources/pictures/dropped/s1.parquet"
    assert list(read_drops(store, key)) == drops
    footer = shard_footer(store, key)
    assert (footer["kind"], footer["rows"], footer["shard_id"]) == ("drops", "2", "s1")


@pytest.fixture
def file(store, tmp_path) -> str:
    records = [record(index) for index in range(70)]
    records[5] = dataclasses.replace(records[5], data=None)
    shard = write_image_shard(store, records, **SOURCE)
    return str(tmp_path / "store" / shard.key)


def test_duckdb_reads_a_shard(file):
    import duckdb

    query = "SELECT path, octet_length(image.bytes) AS n, truth_geometry FROM read_parquet(?)"
    with duckdb.connect() as connection:
        rows = connection.execute(query, [file]).fetchall()
    assert [row[0] for row in rows] == [f"a/{index}.png" for index in range(70)]
    assert [row[1] for row in rows] == [
        None if index == 5 else len(png(index)) for index in range(70)
    ]


def test_polars_reads_a_shard(file):
    import polars

    frame = polars.read_parquet(file)
    assert frame.height == 70
    assert frame["image"].struct.field("bytes")[7] == png(7)
    assert frame["sha256"][7] == sha256_hex(png(7))


def test_hugging_face_datasets_decodes_a_shard(file, tmp_path):
    import datasets

    rows = datasets.load_dataset(
        "parquet", data_files=file, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(rows.features["image"], datasets.Image)
    with Image.open(io.BytesIO(png(7))) as expected:
        assert np.array_equal(np.asarray(rows[7]["image"]), np.asarray(expected))
    assert rows[5]["image"] is None


def test_the_geometries_of_a_shard_are_those_of_its_truths(store):
    mixed = write_image_shard(store, [record(index) for index in (0, 2, 3)], **SOURCE)
    geometries = {"depth_metric", "disparity_metric"}  # of the records 0 and 2; 3 has no truth
    assert truth_geometries(store, mixed.key) == geometries
    bare = write_image_shard(store, [record(3)], **SOURCE)
    assert truth_geometries(store, bare.key) == set()


def test_a_shard_has_pairs_where_any_row_has(store):
    pair = (PointPair(0, 0, 1, 1, 1),)
    with_pairs = record(1, truth=None, points=pair)
    some = write_image_shard(store, [record(0), with_pairs], **SOURCE)
    none = write_image_shard(store, [record(0), record(3)], **SOURCE)
    assert has_point_pairs(store, some.key)
    assert not has_point_pairs(store, none.key)


PAIRS = (PointPair(3, 4, 5, 1, closer=1), PointPair(0, 0, 5, 7, closer=2))


def test_pairs_of_points_come_back_and_count_for_what_a_sample_is(store):
    plain, pointed = (record(3, points=points) for points in ((), PAIRS))
    swapped = record(3, points=(PAIRS[0]._replace(closer=2), PAIRS[1]))
    shards = [write_image_shard(store, [row], **SOURCE) for row in (plain, pointed, swapped)]
    assert len({shard.shard_id for shard in shards}) == 3
    read = [next(read_image_rows(store, shard.key)).points for shard in shards]
    assert read == [(), PAIRS, swapped.points]
    digests = [read_sample_keys(store, shard.key)[0][2] for shard in shards]
    assert digests[0] is None and len(set(digests)) == 3


def test_a_map_and_pairs_of_points_of_one_image_are_a_mistake(store):
    with pytest.raises(ValueError, match="not both"):
        write_image_shard(store, [record(0, points=PAIRS)], **SOURCE)


def test_shards_of_before_there_were_points_are_read(store):
    shard = write_image_shard(store, [record(0), record(3)], **SOURCE)
    with store.open(shard.key) as file:
        table = pq.read_table(file).drop_columns("point_pairs")
    assert set(IMAGE_SCHEMA.names) - set(table.schema.names) == {"point_pairs"}
    older = io.BytesIO()
    pq.write_table(table, older)
    store.put("older.parquet", older.getvalue())
    for read, wanted in zip(read_image_rows(store, "older.parquet"), [0, 3], strict=True):
        assert same(read, record(wanted))
    assert read_sample_keys(store, "older.parquet") == read_sample_keys(store, shard.key)


def test_broken_pairs_of_points_are_a_corrupt_shard(store):
    shard = write_image_shard(store, [record(3, points=PAIRS)], **SOURCE)
    with store.open(shard.key) as file:
        table = pq.read_table(file)
    place = table.schema.get_field_index("point_pairs")
    for text in ("[[1,2]]", "{", "[1]"):
        broken = table.set_column(place, "point_pairs", [[text]])
        sink = io.BytesIO()
        pq.write_table(broken, sink)
        store.put("broken.parquet", sink.getvalue())
        with pytest.raises(ShardCorruptError, match="pairs of points"):
            list(read_image_rows(store, "broken.parquet"))


def rewritten(store: Store, key: str, column: str, value: object) -> None:
    """The shard with a value that its writer never wrote, in a file that is whole."""
    file = store.uri + "/" + key
    table = pq.read_table(file)
    place = table.schema.get_field_index(column)
    values = [value, *table[column].to_pylist()[1:]]
    array = pa.array(values, table.schema.field(column).type)
    pq.write_table(table.set_column(place, table.schema.field(column), array), file)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("truth_map", encode_map(np.full((5, 7), 3, np.float32))),
        ("truth_sha256", "0" * 64),
        ("truth_geometry", "height"),
        ("truth_geometry", "disparity_metric"),
        ("truth_height", None),
        ("point_pairs", "[[0,0,1,1,2]]"),
    ],
)
def test_ground_truth_is_what_was_ingested_or_an_error(store, column, value):
    points = (PointPair(0, 0, 1, 1, 1),)
    row = record(0, truth=None, points=points) if column == "point_pairs" else record(0)
    shard = write_image_shard(store, [row], **SOURCE)
    rewritten(store, shard.key, column, value)
    with pytest.raises(ShardCorruptError, match=row.sample_id):
        list(read_image_rows(store, shard.key))

"""Image columns of other people's Parquet files are found and read a few rows at a time."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.parquet_images import parquet_entries

DATA = [b"first", b"second", None, b"fourth"]


def parquet(columns: dict[str, object], **options: object) -> io.BytesIO:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    buffer.seek(0)
    return buffer


def structs(paths: list[str | None]) -> list[dict[str, object]]:
    return [{"bytes": data, "path": path} for data, path in zip(DATA, paths, strict=True)]


def names(stream: io.BytesIO) -> list[str]:
    return [entry.name for entry in parquet_entries(stream)]


def test_the_hugging_face_struct():
    entries = list(parquet_entries(parquet({"image": structs(["a", "b/c", "d", None])})))
    assert [entry.name for entry in entries] == ["a", "b/c", "d", "000000003"]
    assert [entry.refusal for entry in entries] == [
        None,
        None,
        ("empty", "the row has no image bytes"),
        None,
    ]
    assert [entry.read() for entry in entries if not entry.refusal] == [
        b"first",
        b"second",
        b"fourth",
    ]
    assert all(entry.offset is None for entry in entries)


@pytest.mark.parametrize("type_", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_plain_bytes(type_):
    stream = parquet({"jpg": pa.array(DATA, type_), "__key__": ["w", "x", "y", "z"]})
    assert names(stream) == ["w", "x", "y", "z"]


def test_rows_without_a_path_are_numbered():
    assert names(parquet({"image": pa.array(DATA, pa.binary())})) == [
        f"{number:09d}" for number in range(4)
    ]


def test_a_null_struct_has_no_bytes():
    stream = parquet({"image": pa.array([None, {"bytes": b"x", "path": "p"}])})
    assert [entry.refusal is None for entry in parquet_entries(stream)] == [False, True]


def test_licences_are_taken_along():
    stream = parquet(
        {"image": structs(list("abcd")), "license": list("wxyz"), "attribution": [None, *"bcd"]}
    )
    entries = list(parquet_entries(stream))
    assert [entry.licence for entry in entries] == list("wxyz")
    assert [entry.attribution for entry in entries] == [None, *"bcd"]


def test_the_image_is_told_from_other_columns():
    depth = structs(["x"] * 4)
    assert names(parquet({"depth_map": depth, "image": structs(list("abcd"))})) == list("abcd")
    assert names(parquet({"picture": structs(list("abcd")), "label": [1, 2, 3, 4]})) == list("abcd")
    assert names(
        parquet({"mask": pa.array(DATA), "jpg": pa.array(DATA), "path": list("abcd")})
    ) == (list("abcd"))


@pytest.mark.parametrize(
    "columns",
    [
        {"url": ["http://x"]},
        {"first": pa.array([b"x"]), "second": pa.array([b"y"])},
        {"image": [1]},
    ],
)
def test_no_image_column_is_an_error(columns):
    with pytest.raises(ValueError, match="no column of images among"):
        list(parquet_entries(parquet(columns)))


def test_one_huge_row_group_is_read_in_pieces():
    """100 MB in one row group must not be read at once; a page, here of 1,024 rows, has to be."""
    images = pa.array([bytes([index % 256]) * 12_500 for index in range(8000)])
    options = {"row_group_size": 8000, "compression": "none", "use_dictionary": False}
    stream = parquet({"image": images}, **options)
    before = pa.default_memory_pool().bytes_allocated()
    entries = parquet_entries(stream)
    most = 0
    for _ in range(100):
        next(entries)
        most = max(most, pa.default_memory_pool().bytes_allocated() - before)
    entries.close()
    assert most < 30e6


def test_of_large_rows_few_are_in_memory():
    blob = pa.array([bytes(32 << 20)] * 8, pa.binary())
    packed = parquet({"image": blob}, compression="zstd", write_batch_size=1, use_dictionary=False)
    assert len(packed.getvalue()) < 1 << 20
    del blob
    before = pa.total_allocated_bytes()
    for entry in parquet_entries(packed):
        assert entry.size == 32 << 20
        assert pa.total_allocated_bytes() - before < 5 * (32 << 20)

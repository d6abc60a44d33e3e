"""Which column of a table has the images, and what the others say of them."""

import pyarrow as pa
import pytest

from pipeline.image_rows import NoImagesError, image_columns, row_entries


def entries(columns: dict[str, object]):
    table = pa.table(columns)
    return list(row_entries(table.to_batches(), image_columns(table.schema)))


def test_what_img2dataset_knows_becomes_licence_and_attribution():
    found = entries(
        {
            "key": ["000000000", "000000001"],
            "url": ["https://x.org/a.jpg", "https://x.org/b.jpg"],
            "license": ["CC-BY-4.0", None],
            "author": ["Ann", None],
            "caption": ["never looked at", ""],
            "jpg": [b"a", b"b"],
        }
    )
    assert [entry.name for entry in found] == ["000000000", "000000001"]
    assert [entry.licence for entry in found] == ["CC-BY-4.0", None]
    assert [entry.attribution for entry in found] == [
        "by Ann, https://x.org/a.jpg",
        "https://x.org/b.jpg",
    ]


def test_an_attribution_that_is_written_out_counts_as_it_is():
    found = entries({"jpg": [b"a"], "url": ["https://x.org"], "attribution": ["Ann and Ben"]})
    assert found[0].attribution == "Ann and Ben"


def test_a_table_without_images_is_told_from_a_broken_one():
    with pytest.raises(NoImagesError, match="url, status"):
        image_columns(pa.schema([("url", pa.string()), ("status", pa.string())]))
    assert issubclass(NoImagesError, ValueError)

"""Ground truth is compared with the image whoever had to open it."""

import io

import numpy as np
import pytest
from PIL import Image

from jobs.ingest_look import IngestJob, Looked, look
from pipeline.data_sets import DataSet
from pipeline.examiner import Examiner
from pipeline.filters import ImageLimits
from pipeline.records import Drop, Geometry, Member, Truth
from pipeline.storage import Store


def job(store) -> IngestJob:
    return IngestJob(
        store=Store(str(store)),
        source="s",
        data_set=DataSet(uri="/data"),
        options="",
        role="labelled",
        verify="header",
        limits=ImageLimits(),
        licence=None,
        attribution=None,
        by_reference=False,
        shard_images=10,
        code_version="test",
        threads=1,
    )


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
@pytest.mark.parametrize(("shape", "kept"), [((48, 64), True), ((24, 32), True), ((64, 48), False)])
def test_the_shape_of_a_map_is_that_of_its_image(tmp_path, kind, shape, kept):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, kind)
    truth = Truth(np.ones(shape, np.float32), Geometry.DEPTH_METRIC)
    member = Member("a", "/data/a", buffer.getvalue(), truth=truth)
    with Examiner(ImageLimits()) as examine:
        found = look(member, job(tmp_path), examine)
    if kept:
        assert isinstance(found, Looked)
    else:
        assert isinstance(found, Drop) and found.reason == "truth_size_mismatch"

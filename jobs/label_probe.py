"""A few batches of a source labelled where nobody keeps the labels, to see what they take.

The parts of the label engine one after another in one thread, each with a clock; the label shard
goes into a temporary folder and is only weighed. Images come from places spread evenly over all
shards, some rows from each, because a row group is what a reader can read at least.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from jobs.errors import ConfigError, JobError
from jobs.forecast import Probe
from jobs.label_batches import BatchRoom, Prepared, prepared_image
from jobs.label_recipe import LabelRecipe
from jobs.label_rows import quarantined_row, row_of_codes
from jobs.report_samples import evenly
from model.depth_model import DepthModel
from model.devices import is_out_of_memory
from model.label_pass import LabelPass, LaunchedBatch
from pipeline.labels import describe_labels, write_label_shard
from pipeline.records import ImageRecord, LabelRecord, ShardRef
from pipeline.shards import load_bytes, read_image_rows, row_group_rows
from pipeline.storage import Store

ROWS_PER_PLACE = 8


@dataclass(slots=True)
class _Clocks:
    """Seconds of one thread beside the network, and of the device for each image."""

    host_s: float = 0.0
    forward_s: list[float] = field(default_factory=list)


def sample_rows(store: Store, shards: Sequence[ShardRef], most: int) -> Iterator[ImageRecord]:
    """Images without ground truth from places evenly spread, at most so many, none twice."""
    rows = sum(shard.rows for shard in shards)
    if rows <= most:
        for shard in shards:
            yield from read_image_rows(store, shard.key, truth=False)
        return
    taken: set[str] = set()
    per_place = min(ROWS_PER_PLACE, -(-rows // len(shards)))  # small shards give fewer each
    wanted = iter(evenly(rows, -(-most // per_place)))
    index, before = next(wanted, None), 0
    for shard in shards:
        while index is not None and index < before + shard.rows and len(taken) < most:
            for record in _some_rows(store, shard, index - before):
                if record.sample_id not in taken and len(taken) < most:
                    taken.add(record.sample_id)
                    yield record
            index = next(wanted, None)
        before += shard.rows


def _some_rows(store: Store, shard: ShardRef, row: int) -> list[ImageRecord]:
    """A row and its neighbours in its row group."""
    start = 0
    for group, rows in enumerate(row_group_rows(store, shard.key)):
        if row < start + rows:
            found = list(read_image_rows(store, shard.key, row_groups=[group], truth=False))
            first = max(0, min(row - start, rows - ROWS_PER_PLACE))
            return found[first : first + ROWS_PER_PLACE]
        start += rows
    return []


def probe_labels(
    images: Sequence[ImageRecord],
    model: DepthModel,
    label_pass: LabelPass,
    *,
    recipe: LabelRecipe,
    room: BatchRoom,
) -> Probe:
    """Label some images and say what that took.

    Every batch is full: one that is not is filled up with images of its size, as it would be where
    there are more of them.

    Raises:
        ConfigError: The batch size does not fit into the device's memory.
        JobError: None of the images can be decoded.
    """
    clocks, image_bytes = _Clocks(), 0
    prepared: list[Prepared] = []
    for place, record in enumerate(images):
        data = load_bytes(record)
        image_bytes += len(data)
        started = time.perf_counter()
        prepared.append(prepared_image(record, data, place=place, model=model))
        clocks.host_s += time.perf_counter() - started
    refused = [each for each in prepared if each.image_HWC is None]
    if len(refused) == len(images):
        raise JobError(f"none of the {len(images)} images looked at can be labelled")
    rows = [quarantined_row(each.record, each.refusal) for each in refused]
    by_size: dict[tuple[int, int], list[Prepared]] = {}
    for each in prepared:
        if each.image_HWC is not None:
            by_size.setdefault(each.size, []).append(each)
    for same_size in by_size.values():
        rows += _labelled(same_size, label_pass, recipe, room, clocks)
    label_bytes, shard_bytes = _weigh(rows, recipe)
    forward_s, low_s, high_s = spread(clocks.forward_s, looked_at=len(images))
    return Probe(
        images=len(images),
        refused=len(refused),
        sizes=len(by_size),
        batch_size=room.batch_size,
        forward_s=forward_s,
        forward_low_s=low_s,
        forward_high_s=high_s,
        host_s=clocks.host_s / len(images),
        image_bytes=image_bytes / len(images),
        label_bytes=label_bytes,
        shard_bytes=shard_bytes,
    )


def spread(forward_s: Sequence[float], *, looked_at: int) -> tuple[float, float, float]:
    """Mean of all images looked at, refused ones too, and what a tenth takes less and more than.

    The mean lies between the two others: a single panorama may take more than all the rest, and
    refused images take nothing.
    """
    mean_s = sum(forward_s) / looked_at
    tenths = statistics.quantiles([*forward_s, *forward_s], n=10)  # of a single image, too
    return mean_s, min(tenths[0], mean_s), max(tenths[-1], mean_s)


def _labelled(
    same_size: list[Prepared],
    label_pass: LabelPass,
    recipe: LabelRecipe,
    room: BatchRoom,
    clocks: _Clocks,
) -> list[LabelRecord]:
    rows = []
    full = room.images(same_size[0].size)
    for start in range(0, len(same_size), full):
        batch = same_size[start : start + full]
        filled = list(itertools.islice(itertools.cycle(batch), full))
        if start == 0:
            _launch(label_pass, filled)  # the first pass of a size allocates and chooses kernels
        launched = _launch(label_pass, filled)
        clocks.forward_s += [launched.seconds() / full] * len(batch)
        started = time.perf_counter()
        for index, each in enumerate(batch):
            codes = launched.wait(index)
            rows.append(row_of_codes(each.record, codes, recipe=recipe))
        clocks.host_s += time.perf_counter() - started
    return rows


def _launch(label_pass: LabelPass, batch: list[Prepared]) -> LaunchedBatch:
    images = [each.image_HWC for each in batch if each.image_HWC is not None]
    sizes = [each.source_size for each in batch]
    try:
        launched = label_pass.launch(label_pass.stack(images), sizes=sizes)
        launched.seconds()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        problem = f"--batch-size: {len(batch)} images do not fit into the memory of the device"
        raise ConfigError([problem]) from error
    return launched


def _weigh(rows: Sequence[LabelRecord], recipe: LabelRecipe) -> tuple[float, int]:
    """Bytes of a label shard per row, and without rows."""
    footer = describe_labels(
        label_set="forecast",
        shard_id="0" * 21,
        image_shard_sha256="0" * 64,
        teacher="teacher",
        teacher_sha256=recipe.teacher_sha256,
        recipe=recipe.as_dict(),
        recipe_hash=recipe.digest(),
        code_version="forecast",
    )
    with tempfile.TemporaryDirectory(prefix="factory-plan-") as folder:
        store = Store(folder)
        whole, empty = (
            write_label_shard(store, some, key=f"{len(some)}.parquet", footer=footer).bytes
            for some in (rows, [])
        )
    return (whole - empty) / len(rows), empty

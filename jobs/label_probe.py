"""A few batches of a source labelled where nobody keeps the labels, to see what they take.

The parts of the label engine one after another, each with a clock; the label shard goes into a
temporary folder and is only weighed. Images come from places spread evenly over all shards, some
rows from each, because a row group is what a reader can read at least. As many threads decode and
encode at a time as will in the engine: they share memory and cores, and one alone is faster.
"""

import itertools
import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from jobs.errors import ConfigError, JobError
from jobs.forecast import Probe
from jobs.gpu_kinds import Span
from jobs.label_batches import BatchRoom, Prepared, prepared_image
from jobs.label_recipe import LabelRecipe
from jobs.label_rows import quarantined_row, row_of_codes
from jobs.report_samples import evenly
from model.depth_model import DepthModel
from model.devices import is_out_of_memory
from model.flop_count import counted_flops
from model.label_pass import LabelPass, LaunchedBatch
from pipeline.labels import describe_labels, write_label_shard
from pipeline.records import ImageRecord, LabelRecord, ShardRef
from pipeline.shards import load_bytes, read_image_rows, row_group_rows
from pipeline.storage import Store

ROWS_PER_PLACE = 8
# A mean of a few batches is known to that share at best: devices that grow warm slow down, and
# neighbours on a machine come and go.
LEAST_SPREAD = 0.05
WRITTEN = 3  # label shards of each sort that are weighed
SPREAD_OF_ONE = 0.2  # where there is a single batch, and nothing to compare it with


@dataclass(slots=True)
class Reads:
    """What it took to get encoded images from the store, by whole row groups."""

    seconds: float = 0.0
    images: int = 0

    def timed(self, stream: Iterable[ImageRecord]) -> list[ImageRecord]:
        """All of what streams in, counted."""
        started = time.perf_counter()
        rows = list(stream)
        self.seconds += time.perf_counter() - started
        self.images += len(rows)
        return rows

    def each_s(self) -> float:
        """Seconds per image in one thread."""
        return self.seconds / max(self.images, 1)


@dataclass(slots=True)
class _Clocks:
    """Seconds of single threads, and of the device for one image of each batch with how many."""

    load_s: float = 0.0
    decode_s: float = 0.0
    encode_s: float = 0.0
    batches: list[tuple[float, int]] = field(default_factory=list)


def sample_rows(
    store: Store, shards: Sequence[ShardRef], most: int, *, reads: Reads | None = None
) -> Iterator[ImageRecord]:
    """Images without ground truth from places evenly spread, at most so many, none twice."""
    reads = reads or Reads()
    rows = sum(shard.rows for shard in shards)
    if rows <= most:
        for shard in shards:
            yield from reads.timed(read_image_rows(store, shard.key, truth=False))
        return
    taken: set[str] = set()
    per_place = min(ROWS_PER_PLACE, -(-rows // len(shards)))  # small shards give fewer each
    wanted = iter(evenly(rows, -(-most // per_place)))
    index, before = next(wanted, None), 0
    for shard in shards:
        while index is not None and index < before + shard.rows and len(taken) < most:
            for record in _some_rows(store, shard, index - before, reads):
                if record.sample_id not in taken and len(taken) < most:
                    taken.add(record.sample_id)
                    yield record
            index = next(wanted, None)
        before += shard.rows


def _some_rows(store: Store, shard: ShardRef, row: int, reads: Reads) -> list[ImageRecord]:
    """A row and its neighbours in its row group."""
    start = 0
    for group, rows in enumerate(row_group_rows(store, shard.key)):
        if row < start + rows:
            found = reads.timed(read_image_rows(store, shard.key, row_groups=[group], truth=False))
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
    threads: int,
    reads: Reads,
) -> Probe:
    """Label some images and say what that took.

    Every batch is full: one that is not is filled up with images of its size, as it would be where
    there are more of them. So many ``threads`` decode, and then encode, at a time; ``reads`` has
    what it took to get the images.

    Raises:
        ConfigError: The batch size does not fit into the device's memory.
        JobError: None of the images can be decoded.
    """
    clocks = _Clocks()
    with ThreadPoolExecutor(threads) as pool:
        prepared, image_bytes = _prepare(images, model, pool, clocks)
        rows = [
            quarantined_row(each.record, each.refusal)
            for each in prepared
            if each.image_HWC is None
        ]
        refused = len(rows)
        if refused == len(images):
            raise JobError(f"none of the {len(images)} images looked at can be labelled")
        by_size = _by_size(prepared)
        for same_size in by_size.values():
            rows += _labelled(same_size, label_pass, recipe, room, pool, clocks)
    weight = _weigh(rows, recipe)
    return Probe(
        images=len(images),
        refused=refused,
        sizes=len(by_size),
        batch_size=room.batch_size,
        network_s=spread(clocks.batches, looked_at=len(images)),
        read_s=reads.each_s() + clocks.load_s / len(images),
        decode_s=clocks.decode_s / len(images),
        encode_s=clocks.encode_s / len(images),
        write_s=weight.write_s,
        image_bytes=image_bytes / len(images),
        label_bytes=weight.label_bytes,
        shard_bytes=weight.shard_bytes,
        flops=_operations(by_size, label_pass) / len(images),
    )


def spread(batches: Sequence[tuple[float, int]], *, looked_at: int) -> Span:
    """Seconds per image: the mean of all looked at, refused ones too, and how well it is known.

    By two standard errors of the mean over batches, each weighted with its images: a batch of
    panoramas takes more than all the rest, and refused images take nothing.
    """
    images = sum(count for _, count in batches)
    mean_s = sum(each_s * count for each_s, count in batches) / images
    if len(batches) > 1:
        square = sum(count * (each_s - mean_s) ** 2 for each_s, count in batches) / images
        error = 2 * math.sqrt(square / (len(batches) - 1)) / mean_s
    else:
        error = SPREAD_OF_ONE
    error = min(max(error, LEAST_SPREAD), 0.9)
    mean_s *= images / looked_at
    return Span(mean_s * (1 - error), mean_s, mean_s * (1 + error))


def _prepare(
    images: Sequence[ImageRecord], model: DepthModel, pool: ThreadPoolExecutor, clocks: _Clocks
) -> tuple[list[Prepared], int]:
    """Decoded and resized, by as many threads as there are; and the bytes of all together."""

    def prepare(place: int, record: ImageRecord) -> tuple[Prepared, int, float, float]:
        started = time.perf_counter()
        data = load_bytes(record)
        loaded = time.perf_counter()
        prepared = prepared_image(record, data, place=place, model=model)
        return prepared, len(data), loaded - started, time.perf_counter() - loaded

    done = list(pool.map(prepare, itertools.count(), images))
    clocks.load_s += sum(load_s for _, _, load_s, _ in done)
    clocks.decode_s += sum(decode_s for _, _, _, decode_s in done)
    return [each for each, _, _, _ in done], sum(size for _, size, _, _ in done)


def _by_size(prepared: Iterable[Prepared]) -> dict[tuple[int, int], list[Prepared]]:
    by_size: dict[tuple[int, int], list[Prepared]] = {}
    for each in prepared:
        if each.image_HWC is not None:
            by_size.setdefault(each.size, []).append(each)
    return by_size


def _labelled(
    same_size: list[Prepared],
    label_pass: LabelPass,
    recipe: LabelRecipe,
    room: BatchRoom,
    pool: ThreadPoolExecutor,
    clocks: _Clocks,
) -> list[LabelRecord]:
    rows: list[LabelRecord] = []
    full = room.images(same_size[0].size)
    for start in range(0, len(same_size), full):
        batch = same_size[start : start + full]
        filled = list(itertools.islice(itertools.cycle(batch), full))
        if start == 0:
            _launch(label_pass, filled)  # the first pass of a size allocates and chooses kernels
        launched = _launch(label_pass, filled)
        clocks.batches.append((launched.seconds() / full, len(batch)))

        def encode(
            index: int, each: Prepared, launched: LaunchedBatch = launched
        ) -> tuple[LabelRecord, float]:
            started = time.perf_counter()
            row = row_of_codes(each.record, launched.wait(index), recipe=recipe)
            return row, time.perf_counter() - started

        for row, encode_s in pool.map(encode, itertools.count(), batch):
            rows.append(row)
            clocks.encode_s += encode_s
    return rows


def _launch(label_pass: LabelPass, batch: Sequence[Prepared]) -> LaunchedBatch:
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


def _operations(by_size: dict[tuple[int, int], list[Prepared]], label_pass: LabelPass) -> float:
    """Of all images; counted for the commonest size, and taken to grow with the pixels."""
    common = max(by_size, key=lambda size: len(by_size[size]))
    of_one = counted_flops(lambda: _launch(label_pass, by_size[common][:1]))
    pixels = sum(size[0] * size[1] * len(images) for size, images in by_size.items())
    return of_one * pixels / (common[0] * common[1])


@dataclass(frozen=True, slots=True)
class _Weight:
    """A label shard: seconds and bytes per row, and bytes without rows."""

    write_s: float
    label_bytes: float
    shard_bytes: int


def _weigh(rows: Sequence[LabelRecord], recipe: LabelRecipe) -> _Weight:
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

        def write(some: Sequence[LabelRecord], number: int) -> tuple[float, int]:
            started = time.perf_counter()
            written = write_label_shard(store, some, key=f"{number}.parquet", footer=footer)
            return time.perf_counter() - started, written.bytes

        # The shortest of a few: a disk is busy now and then, and the first time costs more.
        empty = [write([], number) for number in range(WRITTEN)]
        whole = [write(rows, WRITTEN + number) for number in range(WRITTEN)]
    return _Weight(
        write_s=max(0.0, min(whole)[0] - min(empty)[0]) / len(rows),
        label_bytes=(whole[0][1] - empty[0][1]) / len(rows),
        shard_bytes=empty[0][1],
    )

"""Batches for training: ground truth and pseudo-labels from the store, mixed as the recipe says."""

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from model.batches import Batch, Interpolation, Sample, collate, prepare_sample, to_target
from model.metric_depth import to_metres
from model.metric_recipe import MetricRecipe
from model.recipes import Recipe
from pipeline.damage import Tally
from pipeline.errors import ShardCorruptError
from pipeline.label_filter import EVERY_LABEL, LabelFilter
from pipeline.shards import ROW_GROUP_ROWS
from pipeline.storage import Store
from pipeline.training_input import (
    Cursor,
    TrainingRow,
    TrainingShard,
    TrainingStream,
    blocks_of,
)

# Packed rows in memory, of one kind of input: what a pool may take, so that it is wide for small
# images and not a gigabyte for large ones.
POOL_BYTES = 512 << 20
POOL_BLOCKS = (4, 32)  # at least, at most
_MEASURED_SHARDS = 8
_COLLATING = 2  # batches at once
START = Cursor()


@dataclass(frozen=True, slots=True)
class Position:
    """Where one kind of input is.

    Attributes:
        cursor: From where to go on.
        tally: State of the `Tally` of the rows before that.
    """

    cursor: Cursor = START
    tally: Mapping[str, Any] = field(default_factory=lambda: Tally().state())

    def state(self) -> dict[str, Any]:
        """As plain values, for a checkpoint."""
        return {"epoch": self.cursor.epoch, "row": self.cursor.row, "tally": dict(self.tally)}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Position":
        """From what `state` gave."""
        return cls(Cursor(state["epoch"], state["row"]), state["tally"])


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """One forward pass's input, and where to go on after it.

    Attributes:
        labelled: None where nothing is labelled.
        pseudo: None for a teacher.
        positions: By kind of input; for `TrainingBatches.batches_from`.
    """

    labelled: Batch | None
    pseudo: Batch | None
    positions: Mapping[str, Position]


@dataclass(frozen=True, slots=True)
class TrainingBatches:
    """An endless supply of batches for one rank.

    Args:
        images: Images of one batch, of both kinds together.
        labelled: Shards with ground truth; may be empty.
        pseudo: Shards with label shards; empty for a teacher.
        seed: Of order, crops and flips.
        threads: Rows decoded at once, of each kind.
        label_filter: Which pseudo-labels are good enough.
        max_damaged: Largest share of damaged rows, 0 to 1, of each kind.
        device: Where batches will go; for a GPU they lie in page-locked memory.
    """

    store: Store
    recipe: Recipe
    images: int
    labelled: Sequence[TrainingShard]
    pseudo: Sequence[TrainingShard]
    seed: int
    rank: int
    world_size: int
    threads: int
    label_filter: LabelFilter = EVERY_LABEL
    max_damaged: float = 0.01
    device: str = "cpu"

    def batches_from(self, positions: Mapping[str, Position]) -> Generator[TrainingBatch]:
        """Batches after some positions; a kind that is missing starts at its beginning.

        Raises:
            ShardCorruptError: Too much is damaged.
            ShardCorruptError: A shard is not in the store.
            SourceError: A whole epoch gave nothing to learn from.
            StorageError: The store does not answer.
        """
        now = {kind: positions.get(kind, Position()) for kind in self._counts()}
        streams = {kind: self._stream(kind, now[kind]) for kind in now}
        rows = {kind: streams[kind].rows_from(now[kind].cursor) for kind in now}
        ahead = deque[tuple[dict[str, Future[Batch]], dict[str, Position]]]()
        with ThreadPoolExecutor(
            _COLLATING, thread_name_prefix="training-collate", initializer=self._use_device
        ) as executor:
            try:
                while True:
                    begun = {}
                    for kind, count in self._counts().items():
                        drawn = [next(rows[kind]) for _ in range(count)]
                        begun[kind] = executor.submit(self._batch, [row.value for row in drawn])
                        now[kind] = Position(drawn[-1].cursor, streams[kind].tally.state())
                    ahead.append((begun, dict(now)))
                    if len(ahead) == _COLLATING:
                        ready, reached = ahead.popleft()
                        batches = {kind: future.result() for kind, future in ready.items()}
                        yield TrainingBatch(batches.get("labelled"), batches.get("pseudo"), reached)
            finally:
                for each in rows.values():
                    each.close()

    def _batch(self, samples: Sequence[Sample]) -> Batch:
        """Samples as tensors; collating copies megabytes, in a thread that waits for no row."""
        batch = collate(samples)
        return batch.pin_memory() if torch.device(self.device).type == "cuda" else batch

    def _use_device(self) -> None:
        """Tell this thread which GPU is this worker's, or it would pin memory for the first."""
        device = torch.device(self.device)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)

    def _counts(self) -> dict[str, int]:
        """Images of each kind in a batch."""
        if not self.pseudo:
            return {"labelled": self.images}
        if not self.labelled:
            return {"pseudo": self.images}
        return self.recipe.split(self.images)._asdict()

    def _stream(self, kind: str, start: Position) -> TrainingStream[Sample]:
        # Ground truth has holes, which must not bleed into their neighbours; a label is dense.
        labelled = kind == "labelled"
        shards = self.labelled if labelled else self.pseudo
        return TrainingStream(
            store=self.store,
            blocks=blocks_of(shards),
            prepare=partial(
                _prepare,
                size=self.recipe.size,
                flip_probability=self.recipe.flip_probability,
                interpolation="nearest" if labelled else "linear",
                in_metres=isinstance(self.recipe, MetricRecipe),
            ),
            seed=self.seed if labelled else self.seed + 1,
            rank=self.rank,
            world_size=self.world_size,
            pool_blocks=pool_blocks(self.store, shards),
            threads=self.threads,
            label_filter=self.label_filter,
            max_damaged=self.max_damaged,
            tally=Tally.of(start.tally),
        )


def pool_blocks(store: Store, shards: Sequence[TrainingShard]) -> int:
    """How many row groups are shuffled together: what fits into `POOL_BYTES`, within limits.

    The order of rows depends on it, so it follows from the shards alone: from the sizes of a few
    of them, evenly spaced. Images that are only referred to are not in memory until their turn.

    Raises:
        ShardCorruptError: A shard is not in the store.
    """
    fewest, most = POOL_BLOCKS
    measured = shards[:: max(1, len(shards) // _MEASURED_SHARDS)][:_MEASURED_SHARDS]
    keys = [key for shard in measured for key in (shard.image_key, shard.label_key) if key]
    try:
        size = sum(store.size(key) for key in keys)
    except FileNotFoundError as error:
        raise ShardCorruptError(f"a shard of the training data is gone: {error}") from error
    rows = sum(shard.rows for shard in measured)
    return min(max(POOL_BYTES * rows // max(1, size * ROW_GROUP_ROWS), fewest), most)


def _prepare(
    row: TrainingRow,
    generator: np.random.Generator,
    *,
    size: int,
    flip_probability: float,
    interpolation: Interpolation,
    in_metres: bool,
) -> Sample:
    truth = row.truth
    if in_metres:
        target_HW = to_metres(truth.values_HW, truth.geometry)
    else:
        target_HW = to_target(truth.values_HW, truth.geometry, sky_HW=truth.sky_HW)
    return prepare_sample(
        row.image_HWC,
        target_HW,
        size=size,
        rng=generator,
        flip_probability=flip_probability,
        interpolation=interpolation,
    )

"""Batches for training: ground truth and pseudo-labels from the store, mixed as the recipe says."""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from model.batches import Batch, Interpolation, Sample, collate, prepare_sample, to_target
from model.recipes import Recipe
from pipeline.label_filter import EVERY_LABEL, LabelFilter
from pipeline.storage import Store
from pipeline.training_input import (
    Cursor,
    Drawn,
    TrainingRow,
    TrainingShard,
    TrainingStream,
    blocks_of,
)

START = Cursor()


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """One step's input, and the cursors from which to go on after it.

    Attributes:
        labelled: None where nothing is labelled.
        pseudo: None for a teacher.
    """

    labelled: Batch | None
    pseudo: Batch | None
    cursors: Mapping[str, Cursor]


@dataclass(frozen=True, slots=True)
class TrainingBatches:
    """An endless supply of batches for one rank.

    Args:
        images: Images of one batch, of both kinds together.
        labelled: Shards with ground truth; may be empty.
        pseudo: Shards with label shards; empty for a teacher.
        seed: Of order, crops and flips.
        label_filter: Which pseudo-labels are good enough.
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
    skipped: Counter[str]
    label_filter: LabelFilter = EVERY_LABEL

    def batches_from(self, cursors: Mapping[str, Cursor]) -> Generator[TrainingBatch]:
        """Batches after some cursors, by kind; a kind that is missing starts at its beginning."""
        counts = self._counts()
        streams = {kind: self._stream(kind).rows_from(cursors.get(kind, START)) for kind in counts}
        now = dict(cursors)
        try:
            while True:
                ready: dict[str, Batch] = {}
                for kind, rows in streams.items():
                    ready[kind], now[kind] = _take(rows, counts[kind])
                yield TrainingBatch(ready.get("labelled"), ready.get("pseudo"), dict(now))
        finally:
            for rows in streams.values():
                rows.close()

    def _counts(self) -> dict[str, int]:
        """Images of each kind in a batch."""
        if not self.pseudo:
            return {"labelled": self.images}
        if not self.labelled:
            return {"pseudo": self.images}
        return self.recipe.split(self.images)._asdict()

    def _stream(self, kind: str) -> TrainingStream[Sample]:
        # Ground truth has holes, which must not bleed into their neighbours; a label is dense.
        labelled = kind == "labelled"
        return TrainingStream(
            store=self.store,
            blocks=blocks_of(self.labelled if labelled else self.pseudo),
            prepare=partial(
                _prepare,
                size=self.recipe.size,
                flip_probability=self.recipe.flip_probability,
                interpolation="nearest" if labelled else "linear",
            ),
            seed=self.seed if labelled else self.seed + 1,
            rank=self.rank,
            world_size=self.world_size,
            threads=self.threads,
            label_filter=self.label_filter,
            skipped=self.skipped,
        )


def _prepare(
    row: TrainingRow,
    generator: np.random.Generator,
    *,
    size: int,
    flip_probability: float,
    interpolation: Interpolation,
) -> Sample:
    target_HW = to_target(row.truth.values_HW, row.truth.geometry, sky_HW=row.truth.sky_HW)
    return prepare_sample(
        row.image_HWC,
        target_HW,
        size=size,
        rng=generator,
        flip_probability=flip_probability,
        interpolation=interpolation,
    )


def _take(rows: Iterator[Drawn[Sample]], count: int) -> tuple[Batch, Cursor]:
    drawn = [next(rows) for _ in range(count)]
    return collate([row.value for row in drawn]), drawn[-1].cursor

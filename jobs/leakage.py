"""Benchmark images that an evaluated model was trained on: by their bytes, and by their looks.

The benchmark is held in memory; what the model and all models behind it have learnt from streams by
(`pipeline.training_images`), 1,000 images to an object, of which two or three columns are read.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.console import Reporter
from jobs.duplicates_config import DISTANCE
from jobs.duplicates_hashes import make_hashes
from jobs.evaluation_result import Leaks
from jobs.leakage_examples import Twin, examples
from jobs.leakage_words import Doubts
from jobs.workspace import Workspace
from pipeline.errors import ShardCorruptError
from pipeline.image_hashes import ShardLooks, hashed_shards, read_looks
from pipeline.lookahead import map_ahead
from pipeline.records import ShardRef
from pipeline.storage import Store
from pipeline.training_images import training_images
from pipeline.training_remains import Part, training_remains
from pipeline.twins import HeldImages
from pipeline.withdrawn import read_withdrawn

READERS = 8
EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class _Benchmark:
    """The images of a benchmark, numbered in the order of its shards.

    Attributes:
        starts: The number of the first image of each shard that could be read.
    """

    shards: Sequence[ShardRef]
    starts: NDArray[np.int64]
    sample_ids: NDArray[np.uint8]
    held: HeldImages

    def place(self, image: int) -> tuple[ShardRef, int]:
        """The shard of an image, and its row there."""
        number = int(np.searchsorted(self.starts, image, "right")) - 1
        return self.shards[number], image - int(self.starts[number])

    def sample_id(self, image: int) -> str:
        """Of an image, as everywhere else."""
        return bytes(self.sample_ids[image]).hex()

    def are_among(self, sample_ids: Collection[str] | None) -> NDArray[np.bool_]:
        """Which of the images are among those; all of them with None."""
        if sample_ids is None:
            return np.ones(len(self.sample_ids), bool)
        return np.array([each.tobytes().hex() in sample_ids for each in self.sample_ids], bool)


@dataclass(frozen=True, slots=True)
class _Looked:
    """What one object says of its images; None where it cannot be read.

    Attributes:
        by_looks: Whether their hashes are among it.
    """

    looks: ShardLooks | None
    by_looks: bool = False
    error: str = ""


@dataclass(slots=True)
class _Found:
    """The nearest twin so far of each group of benchmark images: same bytes, and same looks."""

    exact: dict[int, Twin] = field(default_factory=dict)
    near: dict[int, Twin] = field(default_factory=dict)
    compared: int = 0

    def note(self, part: Part, twins: NDArray[Any]) -> None:
        self.compared += part.rows
        for image, row, distance, exact in twins.tolist():
            nearest = self.exact if exact else self.near
            if image not in nearest or distance < nearest[image].distance:
                nearest[image] = Twin(distance, part, row)


@dataclass(frozen=True, slots=True)
class FoundLeaks:
    """Which images of a source a model, or a model behind it, has learnt from.

    Protocols take images of a source by their own rules: `among` says what of it concerns them.
    """

    _store: Store
    _doubts: Doubts
    _validated: tuple[str, ...] = ()
    _images: _Benchmark | None = None  # without, nothing was compared
    _twins: _Found = field(default_factory=_Found)
    _is_near: bool = False

    def among(self, sample_ids: Collection[str] | None = None) -> Leaks:
        """Those among some images of the source; None for all."""
        if self._images is None:
            why = self._doubts.in_words()
            return Leaks(checked="none", why=why, validated=self._validated)
        images, found = self._images, self._twins
        is_taken = images.are_among(sample_ids)
        is_exact = np.isin(images.held.same_bytes, list(found.exact)) & is_taken
        is_alike = np.isin(images.held.same_looks, list(found.near)) & is_taken & ~is_exact
        exact, near = np.flatnonzero(is_exact).tolist(), np.flatnonzero(is_alike).tolist()
        twins = [(image, found.exact[int(images.held.same_bytes[image])]) for image in exact]
        alike = [(image, found.near[int(images.held.same_looks[image])]) for image in near]
        twins += sorted(alike, key=lambda pair: pair[1].distance)
        places = [(*images.place(image), twin) for image, twin in twins[:EXAMPLES]]
        return Leaks(
            checked="near" if self._is_near else "exact",
            why=self._doubts.in_words(),
            trained_on=found.compared,
            exact=tuple(images.sample_id(image) for image in exact),
            near=tuple(images.sample_id(image) for image in near),
            examples=examples(self._store, places),
            validated=self._validated,
        )


def find_leaks(
    workspace: Workspace, *, model: str, source: str, check: str, reporter: Reporter
) -> FoundLeaks:
    """Hold the images of a source against what a model, or a model behind it, has learnt from.

    Args:
        workspace: Store and catalog.
        model: Name in the catalog, or sha256 of the weights.
        source: The benchmark.
        check: ``exact``, ``near`` (which looks at images that nobody has looked at), or ``auto``:
            near where all training images have been looked at.
        reporter: Hears of the progress.

    Raises:
        CatalogMissingError: There is no such source.
        StoreFullError: The store takes no more hashes.
    """
    store, catalog = workspace.store, workspace.catalog
    benchmark = catalog.image_shards(source)
    training = training_images(store, catalog, model)
    remains = training_remains(store, catalog, training.shards)
    validated = tuple(name for name, where in training.validated if where == source)
    doubts = Doubts(unknown=training.unknown, lost=remains.lost)
    if not training.shards:
        return FoundLeaks(store, doubts, validated)
    is_near = _prepare(store, benchmark, remains.parts, check, reporter, doubts)
    images = _read_benchmark(store, benchmark, is_near, doubts)
    found = _compare(store, images.held, remains.parts, is_near, reporter, doubts)
    return FoundLeaks(store, doubts, validated, images, found, is_near)


def _prepare(
    store: Store,
    benchmark: Sequence[ShardRef],
    parts: Sequence[Part],
    check: str,
    reporter: Reporter,
    doubts: Doubts,
) -> bool:
    """Whether to compare looks; if so, all hashes that can be made are there."""
    if check == "exact":
        doubts.bytes_only = "only bytes were compared, as asked"
        return False
    shards = [part.shard for part in parts if part.shard is not None]
    sources = dict.fromkeys(shard.source for shard in shards)
    done = {shard_id for source in sources for shard_id in hashed_shards(store, source)}
    missing = [shard for shard in shards if shard.shard_id not in done]
    if check == "auto" and missing:
        doubts.say_unhashed(missing, of=len(shards))
        return False
    make_hashes(store, [*benchmark, *missing], ray=None, actors=None, reporter=reporter)
    return True


def _read_benchmark(
    store: Store, shards: Sequence[ShardRef], is_near: bool, doubts: Doubts
) -> _Benchmark:
    looked = map_ahead(_reader(store, is_near), shards, threads=READERS, ahead=4 * READERS)
    known: list[tuple[ShardRef, ShardLooks]] = []
    for shard, found in zip(shards, looked, strict=True):
        if found.looks is not None:
            known.append((shard, found.looks))
        doubts.note(shard.key, shard.rows, found.error, by_looks=found.by_looks or not is_near)
    looks = [each for _, each in known]
    return _Benchmark(
        shards=[shard for shard, _ in known],
        starts=np.cumsum([0, *(shard.rows for shard, _ in known)], dtype=np.int64),
        sample_ids=np.concatenate([np.empty((0, 16), np.uint8), *(x.sample_ids for x in looks)]),
        held=HeldImages(looks, distance=DISTANCE if is_near else None),
    )


def _compare(
    store: Store,
    held: HeldImages,
    parts: Sequence[Part],
    is_near: bool,
    reporter: Reporter,
    doubts: Doubts,
) -> _Found:
    read_shard = _reader(store, is_near)

    def compare(part: Part) -> tuple[_Looked, NDArray[Any] | None]:
        looked = read_shard(part.shard) if part.shard else _read_names(store, part.key)
        return looked, None if looked.looks is None else held.twins(looked.looks)

    found = _Found()
    total = sum(part.rows for part in parts)
    with reporter.progress("look for leaks", total) as bar:
        compared = map_ahead(compare, parts, threads=READERS, ahead=4 * READERS)
        for part, (looked, twins) in zip(parts, compared, strict=True):
            doubts.note(part.key, part.rows, looked.error, by_looks=looked.by_looks or not is_near)
            if twins is not None:
                found.note(part, twins)
            bar.advance(part.rows)
    return found


def _reader(store: Store, is_near: bool) -> Callable[[ShardRef], _Looked]:
    """Reads the hashes of a shard; where there are none, or none are asked for, its digests."""

    def read(shard: ShardRef) -> _Looked:
        error = ""
        for hashes in (True, False) if is_near else (False,):
            try:
                return _Looked(read_looks(store, shard, hashes=hashes), by_looks=hashes)
            except (ShardCorruptError, FileNotFoundError) as failure:
                error = str(failure)
        return _Looked(None, error=error)

    return read


def _read_names(store: Store, key: str) -> _Looked:
    """The digests of samples that were withdrawn; nobody can look at them any more."""
    try:
        _, samples = read_withdrawn(store, key)
    except ShardCorruptError as error:
        return _Looked(None, error=str(error))
    ids, digests = (
        np.frombuffer(b"".join(map(bytes.fromhex, texts)), np.uint8).reshape(len(samples), size)
        for texts, size in (
            ((sample.sample_id for sample in samples), 16),
            ((sample.sha256 for sample in samples), 32),
        )
    )
    none = np.zeros(len(samples), np.uint64)
    return _Looked(ShardLooks(ids, digests, none, none.astype(bool), {}))

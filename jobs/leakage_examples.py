"""Names of benchmark images and of what they are twins of: for the few that a person looks at."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline.errors import ShardCorruptError
from pipeline.image_hashes import read_paths
from pipeline.records import ShardRef
from pipeline.storage import Store
from pipeline.training_remains import Part
from pipeline.withdrawn import read_withdrawn

UNREADABLE = "(unreadable)"


@dataclass(frozen=True, slots=True)
class Twin:
    """Where the twin of a benchmark image lies, and in how many bits their hashes differ."""

    distance: int
    part: Part
    row: int


def examples(
    store: Store, leaks: Sequence[tuple[ShardRef, int, Twin]]
) -> tuple[tuple[str, str, str], ...]:
    """Path in the benchmark, source in the training, and path there; each object is read once.

    What another model has learnt from is said to be of ``SOURCE, through MODEL``.

    Args:
        store: Where all of it lies.
        leaks: Of each, the shard and row of the image in the benchmark, and its twin.
    """
    shards: dict[str, ShardRef | None] = {twin.part.key: twin.part.shard for _, _, twin in leaks}
    shards |= {shard.key: shard for shard, _, _ in leaks}
    rows: defaultdict[str, set[int]] = defaultdict(set)
    for shard, row, twin in leaks:
        rows[shard.key].add(row)
        rows[twin.part.key].add(twin.row)
    paths = {key: _paths(store, key, shards[key], some) for key, some in rows.items()}
    return tuple(
        (paths[shard.key][row], _source(twin.part), paths[twin.part.key][twin.row])
        for shard, row, twin in leaks
    )


def _source(part: Part) -> str:
    return part.source if part.model is None else f"{part.source}, through {part.model}"


def _paths(store: Store, key: str, shard: ShardRef | None, rows: Collection[int]) -> dict[int, str]:
    """The paths of some rows; of an object without a shard, those of withdrawn samples."""
    try:
        if shard is not None:
            paths = read_paths(store, shard)
        else:
            paths = [sample.path for sample in read_withdrawn(store, key)[1]]
        return {row: paths[row] for row in rows}
    except (ShardCorruptError, FileNotFoundError):  # its hashes are there, it is not
        return dict.fromkeys(rows, UNREADABLE)

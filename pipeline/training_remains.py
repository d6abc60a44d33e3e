"""Where the images of a training still are, when some of their shards were withdrawn since.

`catalog gc` removes a shard that was withdrawn, but not what is known of its images: another shard
holds those that stayed, and an object names the samples that went, with their sha256. Of a source
that was withdrawn as a whole nothing is left.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.catalog import Catalog
from pipeline.catalog_withdrawn import WithdrawalRow
from pipeline.errors import CatalogMissingError
from pipeline.records import ShardRef
from pipeline.storage import Store
from pipeline.training_images import LearntShard


@dataclass(frozen=True, slots=True)
class Part:
    """Images that a model has learnt from, in one object.

    Attributes:
        key: Of an image shard or, where ``shard`` is None, of the names of withdrawn samples.
        rows: How many images.
        model: See `LearntShard`.
    """

    source: str
    key: str
    rows: int
    model: str | None
    shard: ShardRef | None


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of the images of a training.

    Attributes:
        parts: Each object once, in the order of the shards.
        lost: Images of which nobody knows anything any more.
    """

    parts: tuple[Part, ...]
    lost: int


def training_remains(store: Store, catalog: Catalog, learnt: Sequence[LearntShard]) -> Remains:
    """Where to look for the images of these shards; objects are listed, and not read."""
    doubtful = {each.shard.source for each in learnt if not each.counts}
    there = {key for source in doubtful for key in store.list(f"sources/{source}")}
    rows = (row for source in doubtful for row in catalog.withdrawals(source))
    withdrawn = {row.shard_id: row for row in rows if row.shard_id is not None}
    parts: dict[str, Part] = {}
    lost: dict[str, int] = {}
    for each in learnt:
        if each.counts:
            parts.setdefault(each.shard.key, _part(each.shard, each.model))
            continue
        for left in _left_of(each, there, withdrawn, catalog):
            if isinstance(left, Part):
                parts.setdefault(left.key, left)
            else:
                lost[left.shard_id] = left.rows
    return Remains(tuple(parts.values()), sum(lost.values()))


def _part(shard: ShardRef, model: str | None) -> Part:
    return Part(shard.source, shard.key, shard.rows, model, shard)


def _left_of(
    learnt: LearntShard,
    there: Collection[str],
    withdrawn: Mapping[str, WithdrawalRow],
    catalog: Catalog,
) -> Iterator[Part | ShardRef]:
    """What stands for a shard: itself, or what replaced it and what went; a shard that is lost."""
    shard: ShardRef | None = learnt.shard
    while shard is not None and shard.key not in there:
        row = withdrawn.get(shard.shard_id)
        if row is None or row.key is None or row.key not in there:
            yield shard
            return
        yield Part(shard.source, row.key, row.samples, learnt.model, None)
        shard = _replacement(catalog, row, shard.rows - row.samples)
    if shard is not None:
        yield _part(shard, learnt.model)


def _replacement(catalog: Catalog, row: WithdrawalRow, rows: int) -> ShardRef | None:
    """The shard that took the place of one; None where nothing was left of it."""
    if row.replaced_by is None:
        return None
    try:
        return catalog.image_shard(row.replaced_by)
    except CatalogMissingError:  # a rebuilt catalog knows of it from the names of its samples alone
        return ShardRef(row.source, row.replaced_by, "", rows, 0, "")

"""Which image shards a model has learnt from: its own, and those of every model behind it.

A model is known by its weights, whatever names it has. From its run the walk goes back to what was
pinned, to the teachers that made the labels in it, and to the models that it began as; from each of
those again. An image counts as learnt from where its shard was pinned: that its label was left out,
or that the run ended before its turn, is not asked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, select

from pipeline.catalog import Catalog, ModelRow, RunRow
from pipeline.catalog_tables import image_shards, label_sets, snapshot_members
from pipeline.lineage_nodes import STARTED_FROM
from pipeline.origins import MADE_OF_NOTHING
from pipeline.records import ShardRef
from pipeline.storage import Store

_ROLES = {"init": "model"}  # what `STARTED_FROM` calls a model, where that is no word for people


@dataclass(frozen=True, slots=True)
class LearntShard:
    """An image shard that a model has learnt from.

    Attributes:
        shard: As it was pinned; its ``bytes`` are 0 where the catalog has no such shard any more.
        model: Which model behind the one that was asked for; None where it is that one itself.
        counts: False where it was withdrawn since, so that its object may be gone.
    """

    shard: ShardRef
    model: str | None
    counts: bool


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """What is known of the training of a model.

    Attributes:
        shards: Each once: of the model itself first, then of those behind it, the nearest first.
        unknown: Models among them of whose training nothing is known, for example ``teacher NAME``.
        validated: Model and source, where one of them was scored on a source while it was trained:
            nothing was learnt from that, but which checkpoint or run was kept may rest on it.
    """

    shards: tuple[LearntShard, ...]
    unknown: tuple[str, ...]
    validated: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Mention:
    """A model as something speaks of it: by its weights, or without them by a name or a place."""

    role: str
    name: str
    sha256: str | None = None


def training_images(store: Store, catalog: Catalog, model: str) -> TrainingImages:
    """All that is known of what a model has learnt from; nothing of one from elsewhere.

    Args:
        store: In which models lie, for runs that name one by its place there.
        catalog: Where runs and what they pinned are known.
        model: Its name, or the sha256 of its weights.
    """
    known = catalog.models()
    learnt: dict[str, LearntShard] = {}
    unknown: dict[str, None] = {}
    validated: dict[tuple[str, str], None] = {}
    queue, met = [_Mention("model", model)], set[str]()
    for mention in queue:
        rows = [row for row in known if _is_meant(row, mention, store)]
        rows = [row for row in known if row.sha256 in {same.sha256 for same in rows}]
        weights = rows[0].sha256 if rows else mention.sha256 or mention.name
        if weights in met:
            continue
        met.add(weights)
        runs = [catalog.run(row.run_id) for row in rows if row.run_id is not None]
        if not any(run.snapshot_id for run in runs):
            unknown[f"{mention.role} {mention.name}"] = None
        for run in runs:
            for found in _pinned(catalog, run, None if mention is queue[0] else run.name):
                learnt.setdefault(found.shard.shard_id, found)
            validated |= {(run.name, source): None for source in run.config.get("validation") or ()}
            queue += _behind(catalog, run)
    return TrainingImages(tuple(learnt.values()), tuple(unknown), tuple(validated))


def _is_meant(row: ModelRow, mention: _Mention, store: Store) -> bool:
    if mention.sha256 is not None:
        return row.sha256 == mention.sha256
    words = {row.name, row.sha256, row.uri}
    if row.key is not None:
        words |= {f"{store.uri.rstrip('/')}/{row.key}", str(store.local_path(row.key))}
    return mention.name.rstrip("/") in words


def _behind(catalog: Catalog, run: RunRow) -> Iterator[_Mention]:
    """The models of which something went into what a run made: teachers, and what it began as."""
    for key in STARTED_FROM:
        began = run.config.get(key)
        if began and not str(began).startswith(MADE_OF_NOTHING):
            yield _Mention(_ROLES.get(key, key.replace("_", " ")), str(began))
    columns = (snapshot_members.c.label_set, label_sets.c.teacher, label_sets.c.teacher_sha256)
    same = label_sets.c.name == snapshot_members.c.label_set
    taught = select(*columns).distinct().outerjoin_from(snapshot_members, label_sets, same)
    taught = taught.where(
        snapshot_members.c.snapshot_id == run.snapshot_id, snapshot_members.c.label_set.is_not(None)
    )
    with catalog.read() as connection:
        found: Sequence[Any] = connection.execute(taught.order_by(*columns)).all()
    for label_set, teacher, sha256 in found:
        # Without its row nobody knows whose labels they are: a teacher that no model here is.
        yield _Mention("teacher", teacher or f"of label set {label_set}", sha256 or "")


def _pinned(catalog: Catalog, run: RunRow, model: str | None) -> Iterator[LearntShard]:
    """The image shards that a run has read, in the order of its snapshot."""
    same = and_(
        image_shards.c.shard_id == snapshot_members.c.shard_id,
        image_shards.c.withdrawn_at.is_(None),
    )
    names = ("source", "shard_id", "image_key", "rows", "image_sha256")
    members = select(
        *(snapshot_members.c[name] for name in names),
        func.coalesce(image_shards.c.bytes, 0),
        image_shards.c.number.is_not(None),
    ).outerjoin_from(snapshot_members, image_shards, same)
    members = members.where(snapshot_members.c.snapshot_id == run.snapshot_id)
    with catalog.read() as connection:
        rows = connection.execute(members.order_by(snapshot_members.c.position))
        found: Sequence[Any] = rows.all()
    for source, shard_id, key, rows, sha256, size, counts in found:
        shard = ShardRef(source, shard_id, key, rows, int(size), sha256)
        yield LearntShard(shard, model, bool(counts))

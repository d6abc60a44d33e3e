"""`factory catalog gc`: remove objects that nobody will ever count on.

An object without a commit is left over from something that was killed, or was replaced. What may
still be committed, what a training run has pinned and what this catalog does not know stays, and is
named. The store is listed first and the catalog asked afterwards, see `pipeline.garbage`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from jobs.config import CatalogGcConfig
from jobs.console import Reporter
from jobs.run_files import RunFiles
from jobs.training_owner import is_held
from jobs.workspace import Workspace, check_store_exists, open_workspace
from pipeline.catalog import Catalog
from pipeline.catalog_withdrawn import which_withdrawn
from pipeline.errors import CatalogMissingError, ShardCorruptError
from pipeline.garbage import (
    FOREIGN,
    RECORDED,
    UNKNOWN,
    LabelObject,
    Remove,
    Verdict,
    sweep_label_set,
    sweep_source,
    sweep_unfinished,
    sweep_withdrawn,
)
from pipeline.ledger import (
    drops_key,
    image_shards_key,
    label_shards_key,
    pieces_key,
    read_lines,
)
from pipeline.scores import MODEL_DIGITS, model_of
from pipeline.storage import Store
from pipeline.store_layout import StoredObject, describe

AT_ONCE = 100  # nobody can begin to ingest, or pin, while so many objects are removed
THREADS = 8
IMAGE_KINDS = ("image_shards", "sky_masks", "hashes")
SOURCE_KINDS = (*IMAGE_KINDS, "drops", "pieces", "withdrawn")
KINDS = (*SOURCE_KINDS, "label_shards", "scores", "scratch_files")


@dataclass(slots=True)
class Sweep:
    """What was removed, or would be, and what stays for which reason.

    Attributes:
        training: Ids of runs that are at work now.
    """

    store: Store
    dry_run: bool
    training: frozenset[str] = frozenset()
    removed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    bytes: int = 0
    kept: Counter[tuple[str, str]] = field(default_factory=Counter)

    def keep(self, item: StoredObject, reason: str) -> None:
        """Count an object that stays; ``reason`` is said once for all of its folder."""
        folder = item.key.rsplit("/", 1)[0] if item.kind == "other" else _folder(item)
        self.kept[folder, reason] += 1

    def remover(self, of_kind: dict[str, str]) -> Remove:
        """What takes keys away, having counted them under their kind."""

        def remove(keys: Sequence[str]) -> None:
            with ThreadPoolExecutor(THREADS, thread_name_prefix="gc") as pool:
                sizes = list(pool.map(partial(_remove, self.store, dry_run=self.dry_run), keys))
            for key, size in zip(keys, sizes, strict=True):
                if size is not None:
                    self.removed[of_kind[key]] += 1
                    self.bytes += size

        return remove


def collect_garbage(config: CatalogGcConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Remove what is left over, or with ``dry_run`` only say what would be.

    Returns:
        ``removed`` objects per kind (``would_remove`` in a dry run) and their ``bytes``;
        ``kept``: objects that nothing counts on and that stay, with the reason.
    """
    reporter = reporter or Reporter.silent()
    check_store_exists(config)
    with open_workspace(config) as workspace:
        per_folder = _listed(workspace.store, reporter)  # before the catalog is asked
        sweep = Sweep(workspace.store, config.dry_run, _training(workspace, reporter))
        title = "look for garbage" if config.dry_run else "remove garbage"
        total = sum(map(len, per_folder.values()))
        with reporter.progress(title, total=total, unit="objects") as bar:
            for items in per_folder.values():
                _sweep_folder(workspace.catalog, items, sweep)
                bar.advance(len(items))
        if not config.dry_run:
            sweep.removed["scratch_files"] = workspace.store.remove_leftovers()
        else:
            reporter.note("dry run: nothing was removed")
        return _summary(workspace, sweep)


def _training(workspace: Workspace, reporter: Reporter) -> frozenset[str]:
    """Runs that read what they have pinned; asked only where something of that was withdrawn."""
    catalog = workspace.catalog
    return frozenset(
        run.run_id
        for run in catalog.runs()
        if run.state == "running"
        and catalog.withdrawn_members(run.snapshot_id or "")
        and is_held(RunFiles(workspace.store, run.run_id), note=reporter.note)
    )


def _summary(workspace: Workspace, sweep: Sweep) -> dict[str, Any]:
    return {
        "store": workspace.store.uri,
        "dry_run": sweep.dry_run,
        "would_remove" if sweep.dry_run else "removed": dict(sweep.removed),
        "bytes": sweep.bytes,
        "kept": [
            {"folder": folder, "objects": count, "reason": reason}
            for (folder, reason), count in sorted(sweep.kept.items())
        ],
    }


def _listed(store: Store, reporter: Reporter) -> dict[str, list[StoredObject]]:
    """All objects in folders of one source, label set, model or run each."""
    reporter.note(f"listing {store.uri}")
    per_folder: dict[str, list[StoredObject]] = defaultdict(list)
    for key in store.list():
        if "/" in key:  # the catalog itself may lie at the top
            item = describe(key)
            per_folder[_folder(item)].append(item)
    return per_folder


def _folder(item: StoredObject) -> str:
    return "/".join(item.key.split("/")[:2])


def _sweep_folder(catalog: Catalog, items: Sequence[StoredObject], sweep: Sweep) -> None:
    top, _, name = _folder(items[0]).partition("/")
    for item in items:
        if item.kind == "other":
            sweep.keep(item, FOREIGN)
    if top in ("sources", "sky"):  # masks are garbage where the images are that they belong to
        _sweep_source(catalog, name, items, sweep)
    elif top == "labels":
        _sweep_label_set(catalog, name, items, sweep)
    elif (top, name) == ("evaluations", "scores"):
        _sweep_scores(catalog, items, sweep)
    elif top in ("models", "runs") and not _is_known(catalog, top, name):
        reason = f"no {top.removesuffix('s')} of this catalog: being made, given up, or another's"
        for item in items:
            sweep.keep(item, reason)


def _is_known(catalog: Catalog, top: str, name: str) -> bool:
    find: Callable[[str], object] = catalog.model if top == "models" else catalog.run
    try:
        find(name)
    except CatalogMissingError:
        return False
    return True


def _sweep_source(
    catalog: Catalog, source: str, items: Sequence[StoredObject], sweep: Sweep
) -> None:
    objects = [item for item in items if item.kind in SOURCE_KINDS]
    try:
        committed = {shard.shard_id for shard in catalog.image_shards(source)}
        withdrawn = set(catalog.withdrawn_shards(source))
        # Drops and the names of withdrawn samples stay when their shard is withdrawn.
        named = {row.shard_id for row in catalog.withdrawals(source) if row.shard_id}
        batches = committed | set(catalog.drop_batches(source))
        recorded = {row["shard_id"] for row in read_lines(sweep.store, image_shards_key(source))}
        recorded |= {row["batch_id"] for row in read_lines(sweep.store, drops_key(source))}
        pieces = set(catalog.pieces(source))
        recorded |= {row["piece_id"] for row in read_lines(sweep.store, pieces_key(source))}
    except (CatalogMissingError, ShardCorruptError, KeyError) as error:
        _keep_all(sweep, objects, _unsure(error))
        return
    counted: dict[str, set[str]] = {"withdrawn": named, "drops": batches, "pieces": pieces}
    left = [item for item in objects if item.shard not in counted.get(item.kind, committed)]
    gone = [item for item in left if item.kind in IMAGE_KINDS and item.shard in withdrawn]
    _sweep(sweep, gone, partial(sweep_withdrawn, catalog, source, training=sweep.training))
    cut = [item for item in left if item.kind == "withdrawn" and item.shard in committed]
    _sweep(sweep, cut, partial(sweep_unfinished, catalog, source, dry_run=sweep.dry_run))
    done = {item.key for item in (*gone, *cut)}
    left = [item for item in left if item.key not in done]
    _keep_all(sweep, [item for item in left if item.shard in recorded], RECORDED)
    left = [item for item in left if item.shard not in recorded]
    _sweep(sweep, left, partial(sweep_source, catalog, source, dry_run=sweep.dry_run))


def _sweep(
    sweep: Sweep,
    items: Sequence[StoredObject],
    judge: Callable[[Mapping[str, str], Remove], Verdict],
) -> None:
    """Let ``judge`` remove what is garbage of these, some at a time."""
    for some in _chunks(items):
        remove = sweep.remover({item.key: item.kind for item in some})
        _note_kept(sweep, some, judge({item.key: item.shard for item in some}, remove))


def _sweep_label_set(
    catalog: Catalog, label_set: str, items: Sequence[StoredObject], sweep: Sweep
) -> None:
    objects = [item for item in items if item.kind == "label_shards"]
    try:
        committed = {row.shard.shard_id: row.key for row in catalog.label_shards(label_set)}
        lines = read_lines(sweep.store, label_shards_key(label_set))
        lost = [row for row in lines if row["shard_id"] not in committed]
        withdrawn = which_withdrawn(catalog, [str(row["shard_id"]) for row in lost])
        recorded = {row["key"] for row in lost if row["shard_id"] not in withdrawn}
    except (CatalogMissingError, ShardCorruptError, KeyError) as error:
        _keep_all(sweep, objects, _unsure(error))
        return
    left = [item for item in objects if committed.get(item.shard) != item.key]
    _keep_all(sweep, [item for item in left if item.key in recorded], RECORDED)
    left = [item for item in left if item.key not in recorded]
    _keep_all(sweep, [item for item in left if item.epoch is None], FOREIGN)
    left = [item for item in left if item.epoch is not None]
    for some in _chunks(left):
        remove = sweep.remover({item.key: item.kind for item in some})
        attempts = [LabelObject(item.key, item.shard, item.epoch or 0) for item in some]
        verdict = sweep_label_set(catalog, label_set, attempts, remove, training=sweep.training)
        _note_kept(sweep, some, verdict)


def _sweep_scores(catalog: Catalog, items: Sequence[StoredObject], sweep: Sweep) -> None:
    """Remove scores of images that are gone, and of models that neither model nor result names.

    Nothing rests on them: an evaluation that was killed scores again what it finds no more.
    """
    models = {row.sha256 for row in catalog.models()}
    models |= {row.model_sha256 for row in catalog.evaluations()}
    digests = frozenset(sha256[:MODEL_DIGITS] for sha256 in models)
    per_source: dict[str, list[StoredObject]] = defaultdict(list)
    for item in items:
        if item.kind == "scores":
            per_source[item.of].append(item)
    for source, objects in per_source.items():
        try:
            shards = {shard.shard_id for shard in catalog.image_shards(source)}
        except CatalogMissingError as error:
            _keep_all(sweep, objects, _unsure(error))
            continue
        gone = [
            item
            for item in objects
            if item.shard not in shards or model_of(item.key) not in digests
        ]
        for some in _chunks(gone):
            sweep.remover({item.key: item.kind for item in some})([item.key for item in some])


def _unsure(error: Exception) -> str:
    if isinstance(error, CatalogMissingError):
        return UNKNOWN
    return f"nobody can say what was committed: {error}"


def _keep_all(sweep: Sweep, items: Iterable[StoredObject], reason: str) -> None:
    for item in items:
        sweep.keep(item, reason)


def _note_kept(sweep: Sweep, items: Iterable[StoredObject], verdict: Verdict) -> None:
    for item in items:
        if item.key in verdict.kept:
            sweep.keep(item, verdict.kept[item.key])


def _chunks(items: Sequence[StoredObject]) -> Iterator[Sequence[StoredObject]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))


def _remove(store: Store, key: str, *, dry_run: bool) -> int | None:
    """Bytes that the object had; None where it is gone already."""
    try:
        size = store.size(key)
    except FileNotFoundError:
        return None
    if not dry_run:
        store.delete(key)
    return size

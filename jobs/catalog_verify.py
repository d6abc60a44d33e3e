"""`factory catalog verify`: every committed object read again and held against the catalog.

Nothing is changed. The files that a `--by-reference` source points at are not read: they are
checked whenever they are used. Masks of sky are in no catalog: those of committed images are held
against what training runs wrote down of them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from jobs.catalog_queries import find_shards_of
from jobs.config import CatalogVerifyConfig
from jobs.console import Bar, Reporter
from jobs.models import fetch_model, locate_model
from jobs.run_files import RunFiles
from jobs.sky import FILE as SKY_FILE
from jobs.workspace import Workspace, check_store_exists, open_workspace
from model.checkpoint_files import find_checkpoint
from model.errors import CheckpointError
from pipeline.audit import (
    READ_ERRORS,
    Problem,
    StoredShard,
    differences,
    image_problems,
    label_problems,
    mask_problems,
    read_drop_counts,
    read_images,
    read_labels,
    read_masks,
    read_samples,
    sample_problems,
    unreadable,
)
from pipeline.catalog import LabelSetRow, LabelShardRow, ModelRow, SnapshotMember
from pipeline.lookahead import map_ahead
from pipeline.records import ShardRef
from pipeline.storage import Store, dropped_key
from pipeline.store_layout import describe
from pipeline.withdrawn import read_withdrawn

THREADS = 8
AHEAD = 4 * THREADS


@dataclass(frozen=True, slots=True)
class Check:
    """One object to look at.

    Attributes:
        bytes: As recorded; None where nobody recorded it.
        problems: Reads it and says what is wrong.
    """

    key: str
    bytes: int | None
    problems: Callable[[], list[Problem]]


@dataclass(slots=True)
class Findings:
    """What was looked at, and what was wrong."""

    objects: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)


def verify_catalog(
    config: CatalogVerifyConfig, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Check all there is, or one source or label set.

    Returns:
        ``objects`` and ``bytes`` that the catalog counts on and that were looked at, and
        ``problems``: what is wrong with which object, what was expected and what was found.

    Raises:
        CatalogMissingError: No source and no label set has that name.
        CatalogConflictError: Both have it.
    """
    reporter = reporter or Reporter.silent()
    check_store_exists(config)
    with open_workspace(config) as workspace:
        checks = list(_checks(workspace, config.ref))
        found = Findings()
        title = f"verify {config.ref or 'all'}"
        with reporter.progress(title, total=len(checks), unit="objects") as bar:
            _run(checks, found, bar, reporter)
        return {
            "store": workspace.store.uri,
            "objects": found.objects,
            "bytes": found.bytes,
            "problems": [asdict(problem) for problem in found.problems],
        }


def _run(checks: list[Check], found: Findings, bar: Bar, reporter: Reporter) -> None:
    looked = map_ahead(_look, checks, threads=THREADS, ahead=AHEAD)
    for check, problems in zip(checks, looked, strict=True):
        for problem in problems:
            reporter.warn(f"{problem.key}: {problem.what} is not as committed")
        found.objects += 1
        found.bytes += check.bytes or 0
        found.problems += problems
        bar.advance()


def _look(check: Check) -> list[Problem]:
    try:
        return check.problems()
    except (*READ_ERRORS, CheckpointError) as error:
        return [unreadable(check.key, error)]


def _checks(workspace: Workspace, ref: str | None) -> Iterator[Check]:
    catalog = workspace.catalog
    if ref is not None:
        kind, name = find_shards_of(catalog, ref)
        of_kind = {"source": _source_checks, "label-set": _label_set_checks}[kind]
        yield from of_kind(workspace, name)
        return
    for source in catalog.sources():
        yield from _source_checks(workspace, source.name)
    for label_set in catalog.label_sets():
        yield from _label_set_checks(workspace, label_set.name)
    for model in catalog.models():
        if model.key is not None:
            yield Check(model.key, None, partial(_check_model, workspace, model))


def _source_checks(workspace: Workspace, name: str) -> Iterator[Check]:
    store, catalog = workspace.store, workspace.catalog
    for shard in catalog.image_shards(name):
        yield Check(shard.key, shard.bytes, partial(_check_images, store, shard))
    for batch, dropped in catalog.drop_batches(name).items():
        key = dropped_key(name, batch)
        yield Check(key, None, partial(_check_drops, store, key, dropped))
    for key in catalog.withdrawn_objects(name):
        yield Check(key, None, partial(_check_withdrawn, store, key))
    yield from _sky_checks(workspace, name)


def _sky_checks(workspace: Workspace, source: str) -> Iterator[Check]:
    """Masks of committed images: those that lie in the store, and those that a run has read."""
    store = workspace.store
    images = {shard.shard_id: shard for shard in workspace.catalog.image_shards(source)}
    pinned: dict[str, str] = {}
    for run in workspace.catalog.runs():
        files = RunFiles(store, run.run_id)
        try:
            pinned |= (files.read_json(SKY_FILE) or {}).get("masks", {})
        except (*READ_ERRORS, ValueError) as error:
            problem = unreadable(files.key(SKY_FILE), error)
            yield Check(problem.key, None, partial(list, [problem]))
    for key in sorted({*store.list(f"sky/{source}"), *pinned}):
        item = describe(key)
        if item.kind == "sky_masks" and item.of == source and item.shard in images:
            image = images[item.shard]
            yield Check(key, None, partial(_check_masks, store, key, image, pinned.get(key)))


def _label_set_checks(workspace: Workspace, name: str) -> Iterator[Check]:
    store, catalog = workspace.store, workspace.catalog
    label_set = catalog.label_set(name)
    for row in catalog.label_shards(name):
        yield Check(row.key, row.bytes, partial(_check_labels, store, label_set, row))
    for member in catalog.replaced_members(name):
        key = member.label_key or ""
        yield Check(key, None, partial(_check_pinned, store, label_set, member))


def _check_images(store: Store, shard: ShardRef) -> list[Problem]:
    return image_problems(read_images(store, shard.key), asdict(shard))


def _check_drops(store: Store, key: str, dropped: Mapping[str, int]) -> list[Problem]:
    found = read_drop_counts(store, key)
    return list(differences(key, {"dropped": dict(dropped)}, {"dropped": dict(found.reasons)}))


def _check_withdrawn(store: Store, key: str) -> list[Problem]:
    """Without it, a later ingest would take again what was withdrawn."""
    footer, samples = read_withdrawn(store, key)
    return list(differences(key, {"rows": footer.get("rows")}, {"rows": str(len(samples))}))


def _check_masks(store: Store, key: str, image: ShardRef, sha256: str | None) -> list[Problem]:
    masks = read_masks(store, key)
    problems = mask_problems(masks, image, sha256=sha256)
    return problems + _check_samples(store, masks, image.key)


def _check_labels(store: Store, label_set: LabelSetRow, row: LabelShardRow) -> list[Problem]:
    labels = read_labels(store, row.key)
    says = _says(label_set, row.shard.shard_id, row.shard.sha256)
    recorded = asdict(row) | {"quarantined": dict(row.quarantined)}
    problems = label_problems(labels, recorded, says)
    return problems + _check_samples(store, labels, row.shard.key)


def _check_pinned(store: Store, label_set: LabelSetRow, member: SnapshotMember) -> list[Problem]:
    """A label shard that was replaced since a training run pinned it."""
    labels = read_labels(store, member.label_key or "")
    says = _says(label_set, member.shard_id, member.image_sha256)
    recorded = {"sha256": member.label_sha256, "rows": member.rows}
    problems = label_problems(labels, recorded, says)
    return problems + _check_samples(store, labels, member.image_key)


def _check_samples(store: Store, labels: StoredShard, image_key: str) -> list[Problem]:
    try:
        images = read_samples(store, image_key)
    except READ_ERRORS as error:
        return [unreadable(image_key, error)]
    return sample_problems(labels, image_key, images)


def _says(label_set: LabelSetRow, shard_id: str, image_sha256: str) -> dict[str, str]:
    return {
        "label_set": label_set.name,
        "shard_id": shard_id,
        "image_shard_sha256": image_sha256,
        "teacher_sha256": label_set.teacher_sha256,
        "recipe_hash": label_set.recipe_hash,
    }


def _check_model(workspace: Workspace, model: ModelRow) -> list[Problem]:
    key = model.key or ""
    folder = fetch_model(locate_model(model.name, workspace.catalog), workspace.store)
    sha256 = find_checkpoint(folder, variants="").sha256()
    return list(differences(key, {"sha256": model.sha256}, {"sha256": sha256}))

"""`factory catalog rebuild`: an empty catalog filled from the store alone.

Shards say what they are, the ledger beside them says the rest (`pipeline.ledger`). Every object is
read and checked as `verify` does; what is damaged is named and left out. All of it is one
transaction: interrupted, the catalog is as empty as before.
"""

import time
from pathlib import Path
from typing import Any

from jobs.config import CatalogRebuildConfig
from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.models import ModelLocation, fetch_model
from jobs.workspace import Workspace, open_workspace
from model.checkpoint_files import find_checkpoint
from model.errors import CheckpointError
from pipeline.catalog_restore import require_empty
from pipeline.errors import ShardCorruptError
from pipeline.filesystems import is_local, local_file
from pipeline.ledger import record_label_set, record_source
from pipeline.rebuild_labels import rebuild_label_sets
from pipeline.rebuild_models import rebuild_evaluations, rebuild_models, rebuild_runs
from pipeline.rebuild_sources import rebuild_sources
from pipeline.rebuilding import Rebuilding, stored_objects
from pipeline.storage import Store

SHARDS = ("image_shards", "drops", "label_shards")


def rebuild_catalog(
    config: CatalogRebuildConfig, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Fill an empty catalog.

    Returns:
        How much is back; ``unknown``: what the store does not say; ``skipped``: what it holds and
        what counts for nothing; ``problems`` as for `verify`.

    Raises:
        ConfigError: There is no such store, or nothing in it.
        CatalogConflictError: The catalog is not empty; says how to name another.
    """
    reporter = reporter or Reporter.silent()
    if is_local(config.store) and not Path(local_file(config.store)).is_dir():
        raise ConfigError([f"there is no store at {config.store}: check --store"])
    with open_workspace(config) as workspace:
        summary = _rebuild(workspace, reporter)
        for problem in summary["problems"]:
            reporter.warn(f"{problem['key']}: {problem['what']}: {problem['found']}")
        _complete_ledger(workspace)
        return summary


def _rebuild(workspace: Workspace, reporter: Reporter) -> dict[str, Any]:
    store, catalog = workspace.store, workspace.catalog
    with catalog.write() as connection:
        require_empty(connection, catalog.name)
        reporter.note(f"listing {store.uri}")
        objects = stored_objects(store)
        if not objects:
            raise ConfigError([f"there is nothing in the store {store.uri}"])
        total = sum(len(items) for kind in SHARDS for items in objects.get(kind, {}).values())
        with reporter.progress("rebuild", total=total, unit="objects") as bar:
            job = Rebuilding(store, connection, objects, bar.advance, now=time.time())
            rebuild_sources(job)
            rebuild_label_sets(job)
            rebuild_runs(job)
            rebuild_models(job, lambda key: _weights_digest(store, key))
            rebuild_evaluations(job)
    return {"catalog": catalog.name, **job.summary()}


def _weights_digest(store: Store, key: str) -> str:
    try:
        folder = fetch_model(ModelLocation("store", key), store)
        return find_checkpoint(folder, variants="").sha256()
    except CheckpointError as error:
        raise ShardCorruptError(str(error)) from error


def _complete_ledger(workspace: Workspace) -> None:
    """A store of an older version gets one, and the next rebuild need not guess."""
    for source in workspace.catalog.sources():
        record_source(workspace.store, workspace.catalog, source.name)
    for label_set in workspace.catalog.label_sets():
        record_label_set(workspace.store, workspace.catalog, label_set.name)

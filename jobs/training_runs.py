"""Opening a training run: what it will learn from is pinned, and nobody else trains under its name.

A run taken up again is the run it was: same data, recipe, encoder and seed. Whoever wants something
else wants another run, under another name.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from jobs.errors import ConfigError
from jobs.run_files import RunFiles
from jobs.settings import resolved
from jobs.training_config import LoopOptions
from jobs.training_owner import FRESH_S, is_held, owner_of, take, where
from jobs.version import code_version
from jobs.workspace import Workspace
from pipeline.catalog import RunRow, SnapshotRow
from pipeline.catalog_values import storable_text
from pipeline.errors import (
    CatalogConflictError,
    CatalogMissingError,
    LeaseLostError,
    PipelineError,
    WithdrawnError,
)
from pipeline.ledger import record_run, record_snapshot
from pipeline.shards import ROW_GROUP_ROWS
from pipeline.training_input import TrainingShard, blocks_of

Kind = Literal["teacher", "student", "metric"]
MAY_CHANGE = {
    *("store", "catalog", "ray", "device", "resume", "resume_if_any"),
    *("checkpoint_steps", "keep_checkpoints", "preview_steps", "max_damaged", "wandb", "mlflow"),
}


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A run that is about to be trained: new, or taken up again."""

    run_id: str
    snapshot: SnapshotRow
    files: RunFiles

    def shards(self, role: str) -> tuple[TrainingShard, ...]:
        """The pinned shards that are ``labelled`` or ``pseudo``."""
        return _shards(self.snapshot, role)


def open_run(
    config: LoopOptions,
    kind: Kind,
    pseudo: Sequence[str],
    workspace: Workspace,
    *,
    note: Callable[[str], None] = lambda _: None,
) -> TrainingRun:
    """A new run on a snapshot pinned now, or the newest one of that name with what it has.

    It belongs to this process from then on. ``note`` hears that it takes a while to find out
    whether it is another's.

    Raises:
        CatalogConflictError: The name is a model's, or somebody is training under it.
        CatalogMissingError: Nothing to resume, or no such source or label set.
        ConfigError: Nothing to learn from, too little for the workers, or a resumed run with other
            options than it was begun with.
        WithdrawnError: Images that the run to be resumed has pinned were withdrawn.
    """
    catalog = workspace.catalog
    _check_name_is_free(config.name, workspace)
    earlier = catalog.newest_run(config.name)
    if config.resume or (config.resume_if_any and earlier is not None):
        if earlier is None or earlier.kind != kind or earlier.snapshot_id is None:
            raise CatalogMissingError(f"no {kind} run named {config.name!r} to resume")
        _check_resumable(config, earlier, workspace, note)
        _check_nothing_was_withdrawn(earlier, workspace)
        catalog.resume_run(earlier.run_id)
        run = TrainingRun(
            earlier.run_id,
            catalog.snapshot(earlier.snapshot_id),
            RunFiles(workspace.store, earlier.run_id),
        )
    else:
        _check_nobody_trains(earlier, workspace, note)
        run = _new_run(config, kind, pseudo, workspace)
        record_snapshot(workspace.store, run.snapshot, run.run_id)
    record_run(workspace.store, catalog, run.run_id)
    return replace(run, files=take(run.files))


@contextmanager
def recorded(run: TrainingRun, workspace: Workspace) -> Iterator[None]:
    """Whatever ends the run early is on record: ``stopped`` by a person, or ``failed``."""
    try:
        yield
    except LeaseLostError:  # it is another driver's, and how it stands is for that one to say
        raise
    except BaseException as error:
        state = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
        # What went wrong before is what counts, whether or not catalog and store hear of it.
        with suppress(PipelineError):
            workspace.catalog.finish_run(run.run_id, state=state, metrics={})
        with suppress(OSError, PipelineError):
            run.files.remember(state, error=type(error).__name__, text=storable_text(str(error)))
            record_run(workspace.store, workspace.catalog, run.run_id)
        raise


def _new_run(
    config: LoopOptions, kind: Kind, pseudo: Sequence[str], workspace: Workspace
) -> TrainingRun:
    catalog = workspace.catalog
    _check_sources(config.labelled, workspace)
    _check_label_sets(pseudo, workspace)
    snapshot = catalog.pin_snapshot(labelled=config.labelled, pseudo=pseudo)
    _check_every_worker_is_fed(snapshot, config.workers)
    run_id = catalog.begin_run(
        kind,
        name=config.name,
        config=resolved(config),
        snapshot_id=snapshot.snapshot_id,
        code_version=code_version(),
    )
    return TrainingRun(run_id, snapshot, RunFiles(workspace.store, run_id))


def _check_name_is_free(name: str, workspace: Workspace) -> None:
    try:
        workspace.catalog.model(name)
    except CatalogMissingError:
        return
    raise CatalogConflictError(f"there is a model {name!r} already: choose another --name")


def _check_nobody_trains(
    earlier: RunRow | None, workspace: Workspace, note: Callable[[str], None]
) -> None:
    """Two runs of one name would write one model; a run whose driver is gone is in nobody's way."""
    if earlier is None or earlier.state != "running":
        return
    files = RunFiles(workspace.store, earlier.run_id)
    if is_held(files, note=note):
        raise CatalogConflictError(
            f"run {earlier.run_id} is training {earlier.name!r} ({where(owner_of(files))}): "
            "choose another --name, or go on with it by --resume if it has died"
        )


def _check_resumable(
    config: LoopOptions, earlier: RunRow, workspace: Workspace, note: Callable[[str], None]
) -> None:
    files = RunFiles(workspace.store, earlier.run_id)
    wait = config.resume_if_any  # who starts jobs again does so at once, and cannot be told later
    if earlier.state == "running" and is_held(files, note=note, wait=wait):
        raise CatalogConflictError(
            f"run {earlier.run_id} is still going on ({where(owner_of(files))}): its heartbeat is "
            f"not older than {FRESH_S:.0f} s; if it has just died, try again after that"
        )
    check_unchanged(config, earlier)


def check_unchanged(config: LoopOptions, earlier: RunRow) -> None:
    """Refuse options other than those that a run was begun with.

    Raises:
        ConfigError: Names each.
    """
    now = resolved(config)
    changed = [
        f"--{name.replace('_', '-')} was {_shown(earlier.config.get(name))}, is {_shown(value)}"
        for name, value in now.items()
        if name not in MAY_CHANGE and _plain(earlier.config.get(name)) != _plain(value)
    ]
    if changed:
        flag = "--resume-if-any" if config.resume_if_any else "--resume"
        begun = f"{flag} goes on with run {earlier.run_id} as it was begun"
        raise ConfigError([f"{begun}: {text}" for text in changed])


def _check_nothing_was_withdrawn(earlier: RunRow, workspace: Workspace) -> None:
    gone = workspace.catalog.withdrawn_members(earlier.snapshot_id or "")
    if not gone:
        return
    sources = ", ".join(sorted({source for source, _, _ in gone}))
    raise WithdrawnError(
        f"run {earlier.run_id} has pinned {len(gone)} shards with images that were withdrawn since "
        f"(of {sources}): it cannot go on; begin a new one under another --name"
    )


def _plain(value: Any) -> Any:
    """As it comes back from JSON; an empty list is like an option that was not there yet."""
    return list(value) or None if isinstance(value, tuple | list) else value


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _check_sources(names: Sequence[str], workspace: Workspace) -> None:
    problems = []
    for name in names:
        role = workspace.catalog.source(name).role
        if role == "unlabelled":
            problems.append(f"source {name!r} is unlabelled: it has no ground truth")
        elif role == "benchmark":
            problems.append(f"source {name!r} is a benchmark: training on it spoils every score")
    if problems:
        raise ConfigError(problems)


def _check_label_sets(names: Sequence[str], workspace: Workspace) -> None:
    for name in names:
        found = workspace.catalog.label_set(name)
        if found.shards and not found.labelled:
            problem = f"label set {name!r} has no label, all is quarantined: "
            raise ConfigError([f"{problem}{dict(found.quarantined)}"])


def _check_every_worker_is_fed(snapshot: SnapshotRow, workers: int) -> None:
    """Row groups are what is dealt to workers, so each kind of input needs one for each."""
    problems = []
    for role in ("labelled", "pseudo"):
        shards = _shards(snapshot, role)
        groups = len(blocks_of(shards))
        if shards and groups < workers:
            problems.append(
                f"--workers {workers}: the {role} images fill only {groups} row groups, "
                f"of up to {ROW_GROUP_ROWS} images each; use fewer workers"
            )
    if problems:
        raise ConfigError(problems)


def _shards(snapshot: SnapshotRow, role: str) -> tuple[TrainingShard, ...]:
    return tuple(
        TrainingShard(member.image_key, member.rows, member.label_key)
        for member in snapshot.members
        if member.role == role
    )

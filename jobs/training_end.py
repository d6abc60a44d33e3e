"""How a run ends: its model is registered. And what `--resume-if-any` answers when it has ended."""

from collections.abc import Mapping
from typing import Any

from jobs.errors import JobError
from jobs.model_card import CARD, model_card
from jobs.models import ModelLocation, fetch_model
from jobs.run_files import RunFiles
from jobs.training_config import LoopOptions
from jobs.training_runs import Kind, TrainingRun, check_unchanged
from jobs.workspace import Workspace
from model.depth_model import load_depth_model
from pipeline.errors import CatalogMissingError
from pipeline.ledger import record_model, record_run
from pipeline.storage import model_prefix

Result = Mapping[str, Any]


def register(name: str, kind: Kind, run: TrainingRun, workspace: Workspace) -> dict[str, Any]:
    """Enter the saved model into the catalog; only now does it exist."""
    result = run.files.read_json("result.json")
    if result is None:
        raise JobError(f"training {name}: the run ended without a result")
    run.files.check_owner()
    prefix = model_prefix(name)
    folder = fetch_model(ModelLocation("store", prefix), workspace.store)
    model = load_depth_model(folder, device="cpu", precision="fp32")
    workspace.catalog.register_model(
        name,
        key=prefix,
        sha256=model.sha256,
        family=model.family,
        geometry=model.geometry,
        kind=kind,
        run_id=run.run_id,
    )
    _record(name, run, result, workspace)
    return _summary(name, run, result)


def already_made(config: LoopOptions, kind: Kind, workspace: Workspace) -> dict[str, Any] | None:
    """The summary of the run that has made this model with these options; None where there is none.

    A driver that ended between the model and what is written of it is caught up with.

    Raises:
        ConfigError: It was made with other options.
    """
    earlier = workspace.catalog.newest_run(config.name)
    if earlier is None or earlier.kind != kind or earlier.snapshot_id is None:
        return None
    try:
        maker = workspace.catalog.model(config.name).run_id
    except CatalogMissingError:
        return None
    files = RunFiles(workspace.store, earlier.run_id)
    result = files.read_json("result.json")
    if maker != earlier.run_id or result is None:
        return None
    check_unchanged(config, earlier)
    run = TrainingRun(earlier.run_id, workspace.catalog.snapshot(earlier.snapshot_id), files)
    if earlier.state != "done":
        _record(config.name, run, result, workspace)
    return _summary(config.name, run, result)


def losses_of(result: Result) -> dict[str, Any]:
    """The parts of the last loss; gradient matching only where the recipe has it."""
    always = {name: result.get(name) for name in ("labelled", "pseudo", "feature")}
    matching = ("labelled_gradient", "pseudo_gradient")
    return always | {name: result[name] for name in matching if name in result}


def _record(name: str, run: TrainingRun, result: Result, workspace: Workspace) -> None:
    """All that follows from the model's entry; the same once more changes nothing."""
    metrics = {**result, "steps": result["step"]}
    workspace.catalog.finish_run(run.run_id, state="done", metrics=metrics)
    record_run(workspace.store, workspace.catalog, run.run_id)
    record_model(workspace.store, workspace.catalog, name)
    workspace.store.put(f"{model_prefix(name)}/{CARD}", model_card(workspace, name).encode())


def _summary(name: str, run: TrainingRun, result: Result) -> dict[str, Any]:
    return {
        "model": name,
        "run": run.run_id,
        "snapshot": run.snapshot.snapshot_id,
        "steps": result["step"],
        "final_loss": result["loss"],
        "losses": losses_of(result),
        "skipped": result["skipped"],
        "damaged": result["damaged"],
        "damaged_first": result["damaged_first"],
        "best": result["best"],
        "checkpoint": model_prefix(name),
    }

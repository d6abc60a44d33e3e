"""`factory export MODEL`: a model in a format that others load, checked, with its card."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.card_facts import shown
from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.evaluate_config import ExportConfig
from jobs.export_photographs import photographs
from jobs.export_usage import usage_of
from jobs.licence_policy import in_words, licences_behind, origins_of
from jobs.model_card import CARD, card_of_reference, model_card
from jobs.model_licences import licence_of_model
from jobs.models import ModelLocation, fetch_model, locate_model
from jobs.version import code_version
from jobs.workspace import Workspace, open_workspace
from model.depth_model import LoadedNetwork, load_network
from model.export import Exported, Provenance, export_network
from model.export_onnx import INSTALL, missing_packages
from pipeline.errors import CatalogMissingError
from pipeline.licences import UNKNOWN, permits
from pipeline.storage import Store

SUMMARY = (
    "model", "sha256", "family", "geometry", "licence", "format", "batch", "height", "width",
    "multiple", "rule",
)  # fmt: skip


def export_model(config: ExportConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Write a model; see `ExportConfig`, `model.export` for what is written and checked.

    Returns:
        What ``export.json`` says of the model, ``out``, ``files`` and ``parity``.

    Raises:
        ConfigError: Not a model, a folder that is not empty, no photographs, a missing extra.
        CheckpointError: The model cannot be loaded, or not be written in that format.
        ExportError: What was written is not the model; it is deleted.
    """
    reporter = reporter or Reporter.silent()
    out = Path(config.out).expanduser()
    _check_usage(config, out)
    with _workspace(config) as workspace:
        location = _locate(config, workspace)
        images = photographs(config.images, workspace, reporter=reporter)
        store = workspace.store if workspace else Store(config.store)
        reference = fetch_model(location, store)
        loaded = load_network(reference)
        location.check(loaded.sha256)
        name = _name(config.target, location, loaded, workspace)
        licence = _licence(name, location, workspace)
        _warn_of_licence(name, licence, workspace, reporter)
        # What is written is made to be handed on, and a path names people and machines.
        of = Provenance(shown(name), reference, licence, code_version())
        title = f"export {name} as {config.format}"
        with (
            _in_place_of(out) as scratch,
            reporter.progress(title, len(images), unit="photographs") as bar,
        ):
            exported = export_network(
                loaded, scratch, format=config.format, images=images, of=of, advance=bar.advance
            )
            card = _card(name, licence, exported, workspace)
            (scratch / CARD).write_text(card, encoding="utf-8")
    return {**_summary(exported, out), "model": name}


def _check_usage(config: ExportConfig, out: Path) -> None:
    """Whatever can be known before anything is opened."""
    problems = []
    if "://" in config.out:
        problems.append(f"--out {config.out}: a model is written into a folder of this machine")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        problems.append(f"--out {config.out}: name a folder that is empty or not there yet")
    missing = missing_packages() if config.format == "onnx" else []
    if missing:
        problems.append(f"--format onnx needs {', '.join(missing)}: {INSTALL}")
    if problems:
        raise ConfigError(problems)


@contextmanager
def _workspace(config: ExportConfig) -> Iterator[Workspace | None]:
    """Store and catalog; None where there is no store, which is not made for one look."""
    folder = Store(config.store).local_path("")
    if config.catalog is None and folder is not None and not folder.exists():
        yield None
        return
    with open_workspace(config) as workspace:
        yield workspace


def _locate(config: ExportConfig, workspace: Workspace | None) -> ModelLocation:
    """Where the model is."""
    target = config.target
    if workspace is None:
        return ModelLocation("url" if "://" in target else "plain", target)
    return locate_model(target, workspace.catalog)


def _name(
    target: str, location: ModelLocation, loaded: LoadedNetwork, workspace: Workspace | None
) -> str:
    """The catalog's name; what people wrote where it has none."""
    known = workspace.catalog.find_model(loaded.sha256) if workspace else None
    return location.name or (known.name if known else target)


def _licence(name: str, location: ModelLocation, workspace: Workspace | None) -> str | None:
    """Of the weights, and where they were trained here of all that is behind them."""
    if workspace is None or not _is_known(name, workspace):
        return licence_of_model(location.value)
    behind = licences_behind(origins_of(workspace.catalog).behind(("model", name)))
    return ", ".join(behind) or None


def _is_known(name: str, workspace: Workspace) -> bool:
    try:
        workspace.catalog.model(name)
    except (CatalogMissingError, ValueError):
        return False
    return True


def _warn_of_licence(
    name: str, licence: str | None, workspace: Workspace | None, reporter: Reporter
) -> None:
    """Say whose permission commercial use of the exported files is a question of."""
    if workspace is not None and _is_known(name, workspace):
        origins = origins_of(workspace.catalog).behind(("model", name))
        doubts = [f"{in_words(each)}: {each.commercial}" for each in origins]
        doubtful = [o for o, each in zip(doubts, origins, strict=True) if each.commercial != "yes"]
    else:
        allowed = permits(licence).commercial
        doubtful = [f"{name} ({licence or UNKNOWN}): {allowed}"] if allowed != "yes" else []
    if doubtful:
        reporter.warn(
            "commercial use of the exported model is not plainly permitted by "
            f"{'; '.join(doubtful)}. Its card says so; the files carry the licence with them"
        )


def _card(name: str, licence: str | None, exported: Exported, workspace: Workspace | None) -> str:
    usage = usage_of(exported.facts)
    if workspace is not None and _is_known(name, workspace):
        return model_card(workspace, name, usage=usage)
    return card_of_reference(
        name,
        sha256=exported.facts["sha256"],
        family=exported.facts["family"],
        geometry=exported.facts["geometry"],
        licence=licence,
        usage=usage,
    )


@contextmanager
def _in_place_of(out: Path) -> Iterator[Path]:
    """A scratch folder that becomes ``out`` at the end, or is deleted.

    Where ``out`` is there already it stays the same folder and gets what is in the scratch one: it
    may be a disk of its own, and somebody may be in it.

    Raises:
        ConfigError: Nothing can be written there.
    """
    is_there = out.is_dir()
    scratch = (out if is_there else out.parent) / f".export-{uuid.uuid4().hex[:8]}"
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise ConfigError([f"--out {out}: cannot be written: {error.strerror}"]) from error
    try:
        yield scratch
        if is_there:
            for path in scratch.iterdir():
                os.replace(path, out / path.name)
        else:
            os.replace(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _summary(exported: Exported, out: Path) -> dict[str, Any]:
    facts = exported.facts
    summary = {key: facts[key] for key in SUMMARY}
    files = sorted([*exported.files, CARD])
    return {**summary, "out": str(out), "files": files, "parity": facts["parity"]}

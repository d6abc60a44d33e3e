"""A model as a page: what it is, how it was trained, how it scores, and all that it came from."""

from collections.abc import Mapping
from typing import Any

from jobs.network_numbers import read_architecture
from jobs.readable import readable_bytes, readable_duration, readable_time
from jobs.report_evaluation_images import worst_sections
from jobs.report_evaluations import evaluations_section
from jobs.report_licences import NOT_GIVEN, licences_section
from jobs.report_lineage import in_short, lineage_sections
from jobs.report_page import Fact, Page, Section
from jobs.report_training import settings_facts, training_charts
from jobs.run_files import RunFiles
from jobs.workspace import Workspace
from pipeline.catalog import Catalog, ModelRow, RunRow
from pipeline.lineage import lineage, nodes


def model_page(workspace: Workspace, name: str, *, colophon: str) -> Page:
    """Build the page of a model."""
    catalog, ref = workspace.catalog, f"model:{name}"
    model = catalog.model(name)
    run = catalog.run(model.run_id) if model.run_id else None
    architecture = read_architecture(workspace.store, model)
    results = catalog.evaluations(name)
    sections = (
        Section("model", "Model", facts=_facts(model, architecture)),
        _training(workspace, run) if run else None,
        evaluations_section(results, model, trained_on=_sources_behind(catalog, ref)),
        *worst_sections(workspace, results, model),
        licences_section(catalog, ref, stated=model.licence),
        *lineage_sections(catalog, ref),
    )
    return Page(
        kind=model.kind if "model" in model.kind else f"{model.kind} model",
        name=name,
        summary=_summary(model, run),
        tiles=_tiles(model, run, architecture),
        sections=tuple(section for section in sections if section is not None),
        colophon=colophon,
    )


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M" if count >= 1e6 else f"{count:,}"


def _summary(model: ModelRow, run: RunRow | None) -> str:
    quantity = model.geometry.replace("_", " ")
    if run is None:
        return f"Predicts {quantity}; registered from {model.uri or model.key}."
    return f"Predicts {quantity}; trained as {run.kind} in run {run.run_id} ({run.state})."


def _tiles(
    model: ModelRow, run: RunRow | None, architecture: Mapping[str, Any]
) -> tuple[Fact, ...]:
    tiles = []
    if "parameters" in architecture:
        size = readable_bytes(architecture["bytes"])
        tiles.append(Fact("Parameters", _millions(architecture["parameters"]), size))
    if run is not None:
        finished = run.finished_at
        took = f"in {readable_duration(finished - run.started_at)}" if finished else run.state
        steps = run.metrics.get("steps")
        tiles.append(Fact("Steps", f"{steps:,}" if isinstance(steps, int) else "–", took))
    tiles.append(Fact("Family", model.family.replace("_", " ")))
    tiles.append(Fact("Licence", in_short(model.licence)))
    return tuple(tiles)


def _facts(model: ModelRow, architecture: Mapping[str, Any]) -> tuple[Fact, ...]:
    parts = [
        " ".join(str(architecture[key]) for key in ("network", "encoder") if key in architecture),
        *(
            f"{architecture[key]} {word}"
            for key, word in (
                ("layers", "layers"),
                ("width", "channels"),
                ("heads", "heads"),
                ("patch", "pixel patches"),
            )
            if key in architecture
        ),
    ]
    line = ", ".join(part for part in parts if part)
    return (
        *((Fact("Architecture", line),) if line else ()),
        Fact("Predicts", model.geometry.replace("_", " ")),
        Fact("Weights", model.sha256, "sha256", code=True),
        Fact("Place", model.key or model.uri or "", code=True),
        Fact("Licence", model.licence or NOT_GIVEN),
        Fact("Registered", f"{readable_time(model.created_at)} UTC"),
    )


def _training(workspace: Workspace, run: RunRow) -> Section:
    return Section(
        "training",
        "Training",
        text=f"Run {run.run_id}, of which there can be a page too: factory report {run.run_id}",
        charts=training_charts(RunFiles(workspace.store, run.run_id).metrics()),
        facts=(
            *settings_facts(run.config),
            Fact("Snapshot", run.snapshot_id or "none", "the exact shards it saw", code=True),
            Fact("Code", run.code_version, code=True),
        ),
    )


def _sources_behind(catalog: Catalog, ref: str) -> set[str]:
    found = nodes(lineage(catalog, ref))
    return {str(node["name"]) for node in found if node["kind"] == "source"}

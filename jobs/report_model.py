"""A model as a page: what it is, how it was trained, how it scores, and all that it came from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.readable import readable_bytes, readable_duration, readable_time
from jobs.report_charts import Chart, curves
from jobs.report_evaluations import evaluations_section
from jobs.report_lineage import NOT_GIVEN, in_short, lineage_sections, sources_section
from jobs.report_page import Fact, Page, Section
from jobs.run_files import RunFiles
from jobs.workspace import Workspace
from pipeline.catalog import Catalog, ModelRow, RunRow
from pipeline.lineage import lineage, nodes
from pipeline.storage import Store

CURVES = ("loss", "labelled", "pseudo", "feature")
VALIDATION = {"validation/loss": "loss", "validation/abs_rel": "abs_rel"}
LARGEST_HEADER_BYTES = 64_000_000


def model_page(workspace: Workspace, name: str, *, colophon: str) -> Page:
    """Build the page of a model."""
    catalog, ref = workspace.catalog, f"model:{name}"
    model = catalog.model(name)
    run = catalog.run(model.run_id) if model.run_id else None
    architecture = read_architecture(workspace.store, model)
    sections = (
        Section("model", "Model", facts=_facts(model, architecture)),
        _training(workspace, run) if run else None,
        evaluations_section(
            catalog.evaluations(name), model, trained_on=_sources_behind(catalog, ref)
        ),
        sources_section(catalog, ref),
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


def read_architecture(store: Store, model: ModelRow) -> dict[str, Any]:
    """Numbers of the network from its configuration and its weights' header; empty if elsewhere."""
    if model.key is None:
        return {}
    try:
        config = json.loads(store.get(f"{model.key}/config.json"))
        parameters = count_parameters(store, f"{model.key}/model.safetensors")
    except FileNotFoundError:
        return {}
    backbone = config.get("backbone_config") or {}
    numbers = {
        "network": config.get("model_type"),
        "encoder": backbone.get("model_type"),
        "layers": backbone.get("num_hidden_layers"),
        "heads": backbone.get("num_attention_heads"),
        "width": backbone.get("hidden_size"),
        "patch": backbone.get("patch_size"),
        "parameters": parameters,
        "bytes": store.size(f"{model.key}/model.safetensors"),
    }
    return {key: value for key, value in numbers.items() if value is not None}


def count_parameters(store: Store, key: str) -> int:
    """Values in a safetensors file, from its header alone."""
    with store.open(key) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LARGEST_HEADER_BYTES:
            raise ValueError(f"{key}: a header of {length:,} bytes is no safetensors header")
        header = json.loads(file.read(length))
    shapes = [each["shape"] for name, each in header.items() if name != "__metadata__"]
    return sum(_product(shape) for shape in shapes)


def _product(shape: Sequence[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


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
    charts = training_charts(RunFiles(workspace.store, run.run_id).metrics())
    settings = tuple(
        Fact(key.replace("_", " ").capitalize(), _setting(value))
        for key, value in run.config.items()
        if value not in (None, "", [], False) and key not in ("store", "catalog", "ray", "name")
    )
    return Section(
        "training",
        "Training",
        charts=charts,
        facts=(
            *settings,
            Fact("Snapshot", run.snapshot_id or "none", "the exact shards it saw", code=True),
            Fact("Code", run.code_version, code=True),
        ),
    )


def _setting(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def training_charts(lines: Sequence[Mapping[str, Any]]) -> tuple[Chart, ...]:
    """The losses over the steps, and the scores on images that are not trained on, if any."""
    losses = {name: _points(lines, name) for name in CURVES}
    scores = {short: _points(lines, name) for name, short in VALIDATION.items()}
    charts = (
        curves("Loss", losses, caption="Losses over optimiser steps."),
        curves("Validation", scores, caption="Scores at each checkpoint; lower is better."),
    )
    return tuple(chart for chart in charts if chart is not None)


def _points(lines: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [
        (line["step"], line[name])
        for line in lines
        if isinstance(line.get(name), int | float) and "step" in line
    ]


def _sources_behind(catalog: Catalog, ref: str) -> set[str]:
    found = nodes(lineage(catalog, ref))
    return {str(node["name"]) for node in found if node["kind"] == "source"}

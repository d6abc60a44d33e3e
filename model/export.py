"""Models in the formats that others run: ``hf``, ``onnx``, ``torchscript``; each checked.

What is written is loaded again by its own runtime and held against the original on photographs
(`model.export_parity`). Beside the weights lie ``preprocessor_config.json`` for transformers, and
``export.json``: where it is from, how images are brought to it, what sizes it takes, how far it is
from the original.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.depth_model import DepthModel, LoadedNetwork
from model.errors import ExportError, ModelError
from model.export_graph import DepthGraph, fixed_size, graph_of
from model.export_hub import load_hub, processor_of, write_hub, write_processor
from model.export_onnx import load_onnx, write_onnx
from model.export_parity import Image, Parity, Runner, check_parity
from model.export_torchscript import load_torchscript, write_torchscript

FORMATS = ("hf", "onnx", "torchscript")
FACTS = "export.json"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a model is from, as the files say it.

    Attributes:
        name: In the catalog, or the reference it was named by.
        reference: Where its files are.
        licence: Of the weights; None where nobody says.
        code_version: Of what writes the export.
    """

    name: str
    reference: str
    licence: str | None
    code_version: str


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how far it is from the original.

    Attributes:
        files: Names inside the folder.
        facts: What ``export.json`` says.
    """

    files: tuple[str, ...]
    facts: dict[str, Any]
    parity: Parity


def export_network(
    loaded: LoadedNetwork,
    folder: Path,
    *,
    format: str,
    images: Sequence[Image],
    of: Provenance,
    advance: Callable[[], None] = lambda: None,
) -> Exported:
    """Write a network in a format and hold it against the original.

    Args:
        loaded: The network, float32 on the CPU; afterwards it only predicts.
        folder: There, and empty.
        format: ``hf``, ``onnx`` or ``torchscript``.
        images: Photographs, uint8 H x W x 3, RGB; at least one.
        of: Where the model is from.
        advance: Called after each photograph.

    Raises:
        CheckpointError: A family that cannot be written in that format.
        ExportError: What was written is not the model; the folder then holds it all the same.
    """
    if not images:
        raise ValueError("photographs are needed to compare on")
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    graph = None if format == "hf" else graph_of(loaded, name=of.name)
    facts = _facts(loaded, graph, format=format, of=of)
    with _explained(of.name, format):
        run = _write(loaded, graph, folder, format=format, of=of, facts=facts)
        parity = check_parity(
            _original(loaded, of.name),
            run,
            images,
            preprocessing=loaded.family.preprocessing,
            any_batch=graph.any_batch if graph else not loaded.family.one_by_one,
            advance=advance,
        )
    facts["parity"] = parity.facts()
    text = json.dumps(facts, indent=2) + "\n"
    (folder / FACTS).write_text(text, encoding="utf-8")
    return Exported(tuple(sorted(path.name for path in folder.iterdir())), facts, parity)


def _write(
    loaded: LoadedNetwork,
    graph: DepthGraph | None,
    folder: Path,
    *,
    format: str,
    of: Provenance,
    facts: dict[str, Any],
) -> Runner:
    """Write it, and read it again with what will run it."""
    if graph is None:
        return load_hub(write_hub(loaded, folder, reference=of.reference), like=loaded.family)
    write_processor(processor_of(loaded.family), folder)
    metadata = {key: _in_text(value) for key, value in facts.items()}
    if format == "onnx":
        return load_onnx(write_onnx(graph, folder, metadata=metadata))
    return load_torchscript(write_torchscript(graph, folder, metadata=metadata))


@contextmanager
def _explained(name: str, format: str) -> Iterator[None]:
    """Exporters and runtimes fail in more ways than can be listed; each means the same here."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"{name} cannot be written and run as {format}: {type(error).__name__}: {said}"
        ) from error


def _original(loaded: LoadedNetwork, name: str) -> DepthModel:
    """The original as the exported model is called: margins are not cut off its maps."""
    bare = dataclasses.replace(loaded.family.preprocessing, padded=False)
    return DepthModel(
        loaded.network,
        dataclasses.replace(loaded.family, preprocessing=bare),
        reference=name,
        sha256=loaded.sha256,
        device=torch.device("cpu"),
    )


def _facts(
    loaded: LoadedNetwork,
    graph: DepthGraph | None,
    *,
    format: str,
    of: Provenance,
) -> dict[str, Any]:
    family = loaded.family
    any_batch = graph.any_batch if graph else not family.one_by_one
    height, width = fixed_size(family) or ("any", "any")
    rule = dataclasses.asdict(family.preprocessing)
    del rule["bucket_ratio"]
    return {
        "model": of.name,
        "sha256": loaded.sha256,
        "licence": of.licence or "unknown",
        "format": format,
        "family": family.name,
        "geometry": family.geometry,
        **rule,
        "batch": "any" if any_batch else 1,
        "height": height,
        "width": width,
        "precision": "fp32",
        "code_version": of.code_version,
    }


def _in_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)

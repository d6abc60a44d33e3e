"""ONNX: written through ``torch.export``, run by onnxruntime on the CPU.

``torch.onnx.export(dynamo=True)``, not the older recorder of TorchScript: that one is faster, gives
the same numbers, and is on its way out of torch. What is imported here beside torch comes with the
extra ``[export]`` and is imported when it is needed.
"""

import importlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.export_graph import INPUT, OUTPUT, DepthGraph
from model.export_parity import Runner
from model.loading import quiet_transformers

INSTALL = "pip install 'pseudo-label-factory[export]'"
FILE = "model.onnx"

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_LARGEST_BATCH = 1 << 12
_MOST_UNITS = 1 << 12  # of the multiple, per side


def missing_packages() -> list[str]:
    """Packages of the extra that are not installed."""
    return [name for name in _PACKAGES if importlib.util.find_spec(name) is None]


def write_onnx(graph: DepthGraph, folder: Path, *, metadata: Mapping[str, str]) -> Path:
    """Write ``model.onnx``; beyond 2 GB, which is all one file can hold, also ``model.onnx.data``.

    Input ``pixel_values`` and output ``predicted_depth`` are those of the graph; ``metadata`` goes
    into the file's ``metadata_props``.
    """
    path = folder / FILE
    with _quiet_exporter():
        program = torch.onnx.export(
            graph.module,
            (graph.example(),),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: _dimensions(graph)},
            verbose=False,
        )
        assert program is not None  # as dynamo returns one
        _forget_this_machine(program.model)
        program.model.metadata_props.update(metadata)
        program.save(str(path))
    return path


def load_onnx(path: Path) -> Runner:
    """The written model, run by onnxruntime on the CPU: B x 3 x H x W to B x H' x W', float32."""
    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(pixels_BCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        map_BHW: NDArray[np.float32] = session.run([OUTPUT], {INPUT: pixels_BCHW})[0]
        return map_BHW

    return run


def _forget_this_machine(model: Any) -> None:
    """The exporter notes at each node which line of which file it comes from, with full paths."""
    passes = importlib.import_module("onnx_ir.passes.common")
    passes.ClearMetadataAndDocStringPass()(model)


def _dimensions(graph: DepthGraph) -> dict[int, Any]:
    """Which axes vary, and that sides are multiples."""
    axes: dict[int, Any] = {}
    if graph.any_batch:
        axes[0] = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    if graph.fixed_size is None:
        for axis, name in ((2, "rows"), (3, "columns")):
            axes[axis] = graph.multiple * torch.export.Dim(name, min=1, max=_MOST_UNITS)
    return axes


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Neither reports of what it does without, nor warnings of torch about itself.

    Whether the file is right is not left to warnings: it is run and compared.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

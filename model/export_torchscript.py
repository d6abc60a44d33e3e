"""TorchScript: recorded by ``torch.jit.trace``, for C++ and phones that run nothing newer.

torch calls it deprecated and still ships it; ONNX is the better choice where there is one.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.export_graph import DepthGraph
from model.export_parity import Runner
from model.loading import quiet_transformers

FILE = "model.pt"
METADATA = "metadata.json"


def write_torchscript(graph: DepthGraph, folder: Path, *, metadata: Mapping[str, str]) -> Path:
    """Write ``model.pt``; ``metadata`` is its extra file ``metadata.json``.

    Tracing warns of every decision that it cannot record, and torch of tracing; whether the
    recording is right is not left to warnings: it is run and compared.
    """
    path = folder / FILE
    with quiet_transformers(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            graph.module, graph.example(), check_trace=False
        )
        torch.jit.save(traced, path, _extra_files={METADATA: json.dumps(dict(metadata))})
    return path


def load_torchscript(path: Path) -> Runner:
    """The written model, on the CPU: B x 3 x H x W to B x H' x W', float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return run_module(module)


def run_module(module: nn.Module) -> Runner:
    """A module of torch as what takes and returns arrays."""

    def run(pixels_BCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            map_BHW: NDArray[np.float32] = module(torch.from_numpy(pixels_BCHW)).numpy()
        return map_BHW

    return run

"""The layout of the Hugging Face Hub: configuration, safetensors and a processor's JSON.

Any reference ends so, an original ``.pth`` too. Of a processor that came with the model, every word
is handed on. What it leaves unsaid is said as it was understood here, which is as the authors had
it: transformers would assume other statistics for Depth Anything, for one. That its processor picks
other sizes for small images all the same is told in `model.preprocessing`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.checkpoint_files import PROCESSOR, ModelFolder, find_checkpoint
from model.depth_model import LoadedNetwork, load_network
from model.errors import ExportError
from model.export_graph import WholeNetwork
from model.export_parity import Runner
from model.export_torchscript import run_module
from model.families import Family
from model.loading import quiet_transformers
from model.original_weights import DEPTH_VARIANTS

_PROCESSORS = {
    "depth_anything": "DPTImageProcessor",
    "dpt": "DPTImageProcessor",
    "zoedepth": "ZoeDepthImageProcessor",
    "depth_pro": "DepthProImageProcessor",
    "glpn": "GLPNImageProcessor",
    "tipsv2_dpt": "Tipsv2DptImageProcessor",
}
_CUBIC, _LINEAR = 3, 2  # by Pillow's count
_LARGEST_FILE = "5GB"


def write_hub(loaded: LoadedNetwork, folder: Path, *, reference: str) -> Path:
    """Write ``config.json``, ``model.safetensors`` and ``preprocessor_config.json``."""
    with quiet_transformers():
        loaded.network.save_pretrained(folder, max_shard_size=_LARGEST_FILE)
    write_processor({**processor_of(loaded.family), **_own_processor(reference)}, folder)
    return folder


def load_hub(folder: Path, *, like: Family) -> Runner:
    """The written model, loaded by transformers: B x 3 x H x W to B x H' x W', float32.

    Raises:
        ExportError: What is read from the folder is not the family that was written.
    """
    found = load_network(str(folder))
    if found.family.geometry != like.geometry or found.family.preprocessing != like.preprocessing:
        raise ExportError(f"{folder.name}: reads back as {found.family}, not as {like}")
    return run_module(WholeNetwork(found.network.eval(), found.family.read))


def write_processor(processor: Mapping[str, Any], folder: Path) -> None:
    """Write ``preprocessor_config.json``."""
    text = json.dumps(processor, indent=2, sort_keys=True) + "\n"
    (folder / PROCESSOR).write_text(text, encoding="utf-8")


def processor_of(family: Family) -> dict[str, Any]:
    """What transformers needs to know of a family's preprocessing, in its own words."""
    rule = family.preprocessing
    processor: dict[str, Any] = {
        "image_processor_type": _PROCESSORS[family.name],
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "resample": _CUBIC if rule.filter == "cubic" else _LINEAR,
    }
    if rule.rule == "own_size":
        return {**processor, "size_divisor": rule.multiple}
    processor |= {
        "size": {"height": rule.side, "width": rule.wide or rule.side},
        "do_normalize": any(rule.mean) or set(rule.std) != {1.0},
        "image_mean": list(rule.mean),
        "image_std": list(rule.std),
    }
    if family.name == "depth_pro":
        return processor
    return {
        **processor,
        "keep_aspect_ratio": rule.rule != "stretch",
        "ensure_multiple_of": rule.multiple,
        "do_pad": rule.padded,
    }


def _own_processor(reference: str) -> Mapping[str, Any]:
    """The one that came with the model; empty where none did."""
    files = find_checkpoint(reference, variants=DEPTH_VARIANTS)
    return files.processor if isinstance(files, ModelFolder) else {}

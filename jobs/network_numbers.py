"""Numbers of a network from its configuration and the header of its weights: nothing is loaded."""

import json
from collections.abc import Sequence
from typing import Any

from pipeline.catalog import ModelRow
from pipeline.storage import Store

LARGEST_HEADER_BYTES = 64_000_000


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

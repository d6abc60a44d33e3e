"""What the card beside an exported model says of it: how it is run, and how exact it is."""

from collections.abc import Mapping
from typing import Any

from jobs.card_usage import needs_of
from jobs.model_card import Usage

GUIDE = "docs/export.md of the factory"

_LIBRARIES = {"hf": "transformers", "onnx": "onnx", "torchscript": None}
_SNIPPETS = {
    "hf": """\
from PIL import Image
from transformers import pipeline

depth = pipeline("depth-estimation", model=".")  # the folder of this card
result = depth(Image.open("photo.jpg").convert("RGB"))
result["predicted_depth"]  # float tensor, as high and wide as the image""",
    "onnx": """\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
maps = session.run(["predicted_depth"], {"pixel_values": pixels})[0]""",
    "torchscript": """\
import torch

model = torch.jit.load("model.pt")
maps = model(pixels)""",
}


def usage_of(facts: Mapping[str, Any]) -> Usage:
    """Of an export, from what its ``export.json`` says."""
    format = facts["format"]
    lines = ["```python", *_SNIPPETS[format].splitlines(), "```"]
    lines += (
        needs_of(facts["family"]) if format == "hf" else ("", _input(facts), "", _output(facts))
    )
    lines.append("")
    return Usage(_LIBRARIES[format], (*lines, _exactness(facts["parity"])))


def _input(facts: Mapping[str, Any]) -> str:
    sides = (
        f"{facts['height']} x {facts['width']} pixels (height, width)"
        if facts["height"] != "any"
        else f"of any height and width that are multiples of {facts['multiple']}"
    )
    number = "any number of" if facts["batch"] == "any" else "one of the"
    return (
        f"`pixel_values` is float32, B x 3 x H x W: {number} images, {sides}, RGB as "
        f"`(value / 255 - mean) / std` with mean {_numbers(facts['mean'])} and std "
        f"{_numbers(facts['std'])}. `export.json`, and the metadata of the file, say how an image "
        f"is brought to its size; {GUIDE} does it in a few lines without torch."
    )


def _output(facts: Mapping[str, Any]) -> str:
    margins = (
        " The images come with margins of their mirror image, which are to be cut off the maps."
        if facts["padded"]
        else ""
    )
    return f"`predicted_depth` is float32, B x H x W: {facts['geometry']}.{margins}"


def _exactness(parity: Mapping[str, Any]) -> str:
    return (
        f"Over {parity['maps']} maps of {parity['images']} photographs it differs from the "
        f"original by {parity['max_difference']:.1e} of a map's range at most and by "
        f"{parity['mean_difference']:.1e} on average; correlation {parity['correlation']:.7f} at "
        "worst."
    )


def _numbers(values: Any) -> str:
    return ", ".join(f"{value:g}" for value in values)

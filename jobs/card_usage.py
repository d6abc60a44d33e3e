"""How a model is used, as its card says: through transformers, and through this factory."""

from jobs.card_facts import CardFacts

_SNIPPET = """\
```python
from PIL import Image
from transformers import pipeline

depth = pipeline("depth-estimation", model="{folder}")  # the folder of this card, or its id
result = depth(Image.open("photo.jpg").convert("RGB"))
result["predicted_depth"]  # float tensor, as high and wide as the image: {meaning}
result["depth"]  # the same as a grey picture, from its smallest value to its largest
```"""
_MEANINGS = {
    "disparity_affine_invariant": "larger is nearer, no unit",
    "disparity_metric": "metres, which transformers makes of what the network says",
    "depth_metric": "metres",
    "depth_scale_invariant": "larger is farther, no unit",
}
# What their processors do at the end, or all they do, is written for torchvision in transformers 5.
_NEED_TORCHVISION = ("depth_pro", "tipsv2_dpt", "zoedepth")


def needs_of(family: str) -> tuple[str, ...]:
    """Lines that say what transformers needs for a family beside itself."""
    if family not in _NEED_TORCHVISION:
        return ()
    return ("", "For this family transformers also needs torchvision (`pip install torchvision`).")


def transformers_usage(facts: CardFacts) -> tuple[str, ...]:
    """Lines for a folder in Hugging Face format; first, how to get one where there is none."""
    folder = _folder(facts)
    lines = []
    if facts.reference and "#" in facts.reference:
        lines += [
            "Its weights are in the layout of their authors; this makes a folder for transformers "
            "of them:",
            "",
            *_shell(f"factory export {facts.name} --format hf --out {folder}"),
            "",
        ]
    snippet = _SNIPPET.format(folder=folder, meaning=_MEANINGS.get(facts.geometry, "see above"))
    lines += [*snippet.splitlines(), *needs_of(facts.family), ""]
    lines += [
        "With the factory that made this card (16-bit depth, floats as they are, a picture):",
        "",
        *_shell(f"factory predict {folder} photo.jpg --out predictions"),
    ]
    if facts.family == "depth_anything":
        lines += [
            "",
            "For images whose shorter side is smaller than the size of the network, and that are "
            "not square, the two differ: the processor of transformers then looks at a smaller "
            "image than Depth Anything's own rule, which the factory follows.",
        ]
    return tuple(lines)


def _folder(facts: CardFacts) -> str:
    """Names of the catalog are letters, digits, dots, dashes and underscores."""
    return facts.bases[0] if not facts.trained_here and facts.bases else facts.name


def _shell(command: str) -> tuple[str, ...]:
    return "```sh", command, "```"

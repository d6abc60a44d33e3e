"""The licence of a model from elsewhere: as its model card says, or as its owners have announced.

A model card is a README.md that begins with YAML between two lines of dashes, as the Hugging Face
Hub has them: ``license: apache-2.0``. One beside the weights counts more than the list here, which
knows whole ids only: a folder may have any name.
"""

import re
from pathlib import Path

# Licence of weights by Hugging Face id, as their cards and repositories say.
# Depth Anything: README of either version. V2's gives Small Apache-2.0 and the larger ones
# CC-BY-NC-4.0. Its metric models are left out: the cards of some say Apache-2.0 for Large too, of
# others nothing. DINOv2, with registers, a classifier or neither: code and weights Apache-2.0.
# MiDaS 3 as Intel published it: Apache-2.0; 3.1: MIT, as the MiDaS repository. ZoeDepth: MIT. GLPN:
# Apache-2.0. Depth Pro: Apple's model licence for research, since February 2025; its sample code
# licence (apple-ascl) before.
_ANNOUNCED = {
    r"liheyoung/depth-anything-(small|base|large)-hf": "Apache-2.0",
    r"liheyoung/depth_anything_vit[sbl]14": "Apache-2.0",
    r"depth-anything/depth-anything-v2-small(-hf)?": "Apache-2.0",
    r"depth-anything/depth-anything-v2-(base|large|giant)(-hf)?": "CC-BY-NC-4.0",
    r"facebook/dinov2-(with-registers-)?(small|base|large|giant)(-imagenet1k-1-layer)?": (
        "Apache-2.0"
    ),
    r"intel/dpt-(large|hybrid-midas)": "Apache-2.0",
    r"intel/dpt-(beit|swinv2)-(tiny|base|large)-(256|384|512)": "MIT",
    r"intel/zoedepth-(nyu|kitti|nyu-kitti)": "MIT",
    r"vinvino02/glpn-(nyu|kitti)": "Apache-2.0",
    r"apple/depthpro(-hf|-mixin)?": "apple-amlr",
}
_NOT_SAID = ("unknown", "")
_CARD = "README.md"
_CARD_CHARACTERS = 65_536


def licence_of_model(reference: str) -> str | None:
    """Licence of what a path or id names; None where nobody says."""
    path = Path(reference.partition("#")[0]).expanduser()
    if reference and path.exists():
        return _card_licence((path if path.is_dir() else path.parent) / _CARD)
    repository = reference.partition("@")[0].lower()  # at whatever revision
    announced = (licence for name, licence in _ANNOUNCED.items() if re.fullmatch(name, repository))
    return next(announced, None)


def _card_licence(card: Path) -> str | None:
    """What a model card says between its dashes."""
    import yaml

    try:
        with card.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_CARD_CHARACTERS)
    except OSError:
        return None
    found = re.match(r"---\s*\n(.*?)\n---\s*(?:\n|$)", text, re.DOTALL)
    if found is None:
        return None
    try:
        facts = yaml.safe_load(found[1])
    except yaml.YAMLError:
        return None
    if not isinstance(facts, dict):
        return None
    said = facts.get("license_name") if facts.get("license") == "other" else facts.get("license")
    said = ", ".join(map(str, said)) if isinstance(said, list) else said
    return None if str(said or "").lower() in _NOT_SAID else str(said)

"""The licence of a model from elsewhere: as its model card says, or as its owners have announced.

A model card is a README.md that begins with YAML between two lines of dashes, as the Hugging Face
Hub has them: ``license: apache-2.0``. One beside the weights counts more than the list here, which
knows whole ids only: a folder may have any name.
"""

import re
from pathlib import Path

# Licence of weights by Hugging Face id. Depth Anything: README of either version (V2: Small is
# Apache-2.0, the larger ones CC-BY-NC-4.0). DINOv2: code and weights Apache-2.0.
_ANNOUNCED = {
    r"liheyoung/depth-anything-(small|base|large)-hf": "Apache-2.0",
    r"depth-anything/depth-anything-v2-small(-hf)?": "Apache-2.0",
    r"depth-anything/depth-anything-v2-(base|large|giant)(-hf)?": "CC-BY-NC-4.0",
    r"facebook/dinov2-(small|base|large|giant)": "Apache-2.0",
}
_CARD = "README.md"
_CARD_CHARACTERS = 65_536


def licence_of_model(reference: str) -> str | None:
    """Licence of what a path or id names; None where nobody says."""
    path = Path(reference.partition("#")[0]).expanduser()
    if reference and path.exists():
        return _card_licence((path if path.is_dir() else path.parent) / _CARD)
    announced = (
        licence for name, licence in _ANNOUNCED.items() if re.fullmatch(name, reference.lower())
    )
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
    return str(said) if said else None

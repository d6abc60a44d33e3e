"""`factory catalog card`: the card of a model, as the catalog knows it now."""

from typing import Any

from jobs.catalog_config import CatalogCardConfig
from jobs.console import Reporter
from jobs.files import written_whole
from jobs.model_card import model_card
from jobs.workspace import check_store_exists, open_workspace


def write_card(config: CatalogCardConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Write the card, or hand it back.

    Returns:
        ``model``, and ``out`` or, without a file, the ``card`` itself.

    Raises:
        CatalogMissingError: No model has that name.
        ConfigError: The file cannot be written.
    """
    check_store_exists(config)
    with open_workspace(config) as workspace:
        card = model_card(workspace, config.ref)
    if config.out is None:
        return {"model": config.ref, "card": card}
    with written_whole(config.out) as scratch:
        scratch.write_text(card, encoding="utf-8")
    return {"model": config.ref, "out": config.out}

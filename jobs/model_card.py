"""The card of a model: Markdown with Hugging Face front matter, from lineage alone.

`docs/licences.md` says what the licences in it mean. A card repeats what the catalog knows at this
moment; results that come later are in the next one.
"""

from dataclasses import dataclass

from jobs.card_facts import CardFacts, gather, hub_id, shown
from jobs.card_front_matter import front_matter
from jobs.card_results import results_section
from jobs.card_sections import (
    data_section,
    licence_section,
    limits_section,
    lineage_section,
    recipe_section,
    what_section,
)
from jobs.card_usage import transformers_usage
from jobs.model_licences import licence_of_model
from jobs.workspace import Workspace

CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Usage:
    """How what lies beside a card is used.

    Attributes:
        library: As the Hub names libraries; None where it has no name for it.
        lines: Markdown, without a heading.
    """

    library: str | None
    lines: tuple[str, ...]


def model_card(workspace: Workspace, name: str, *, usage: Usage | None = None) -> str:
    """The card of a model of the catalog.

    Args:
        workspace: Where it is known.
        name: In the catalog.
        usage: Of another format than that of transformers.

    Raises:
        CatalogMissingError: No model has that name.
    """
    return render(gather(workspace, name), usage=usage)


def card_of_reference(
    reference: str,
    *,
    sha256: str,
    family: str,
    geometry: str,
    licence: str | None = None,
    usage: Usage | None = None,
) -> str:
    """The card of a model that is in no catalog: what its files say, and that the rest is unknown.

    Args:
        reference: As people wrote it.
        sha256: Of its weights and configuration.
        family: As `DepthModel` has it.
        geometry: As `DepthModel` has it.
        licence: Without one, what its own card or its owners say.
        usage: Of another format than that of transformers.
    """
    place, hub = shown(reference), hub_id(reference)
    facts = CardFacts(
        name=place.partition("/")[2] or place,  # an id without its owner; revisions have slashes
        sha256=sha256,
        family=family,
        geometry=geometry,
        made="imported",
        licence=licence or licence_of_model(reference),
        reference=place,
        bases=(hub,) if hub else (),
    )
    return render(facts, usage=usage)


def render(facts: CardFacts, *, usage: Usage | None = None) -> str:
    """The whole card, its last line ended."""
    usage = usage or Usage("transformers", transformers_usage(facts))
    sections = [
        what_section(facts),
        ["## How to use it", "", *usage.lines],
        data_section(facts),
        recipe_section(facts),
        results_section(facts),
        licence_section(facts),
        lineage_section(facts),
        limits_section(facts),
    ]
    body = "\n\n".join("\n".join(lines).strip() for lines in sections if lines)
    return f"{front_matter(facts, library=usage.library)}\n{body}\n"

"""What may be made of what: licences of everything behind a thing, against what is allowed.

Training says which of them forbid commercial use, tie it to conditions or are unknown. With
``--allow-licence`` it refuses whatever is not on the list. Labelling asks nothing: labels stay in
the store beside their images, and what is made of them later answers for their sources and their
teacher.
"""

from collections.abc import Callable, Iterable, Sequence

from jobs.errors import ConfigError
from jobs.model_licences import licence_of_model
from jobs.training_config import LoopOptions
from pipeline.catalog import Catalog
from pipeline.licences import UNKNOWN, allows, names
from pipeline.lineage_nodes import STARTED_FROM
from pipeline.origins import MADE_OF_NOTHING, Kind, Origin, Origins

SHOWN = 12


def check_licences(
    catalog: Catalog,
    things: Sequence[tuple[Kind, str]],
    *,
    allowed: Sequence[str],
    warn: Callable[[str], None],
) -> None:
    """Refuse what is not allowed, and say what may not be used commercially without question.

    Args:
        catalog: Where sources, label sets and models are known.
        things: What is going to be learnt from, by kind and name.
        allowed: Patterns of licences; without any, nothing is refused.
        warn: Hears of the rest. A licence that is allowed by its own name is not spoken of.

    Raises:
        ConfigError: Names every source and model whose licence is not allowed.
        CatalogMissingError: There is no such source or label set.
    """
    origins = origins_of(catalog).behind(*things)
    refused = [origin for origin in origins if allowed and not allows(allowed, origin.licence)]
    if refused:
        listed = ", ".join(allowed)
        raise ConfigError([f"{in_words(origin)}: not allowed by {listed}" for origin in refused])
    doubtful = [o for o in origins if o.commercial != "yes" and not names(allowed, o.licence)]
    if doubtful:
        warn(_doubt(doubtful))


def check_training(
    config: LoopOptions, pseudo: Sequence[str], catalog: Catalog, *, warn: Callable[[str], None]
) -> None:
    """The same for a training run, before anything is fetched or started."""
    began = (str(value) for key in STARTED_FROM if (value := getattr(config, key, None)))
    things: list[tuple[Kind, str]] = [("source", name) for name in config.labelled]
    things += [("label-set", name) for name in pseudo]
    things += [("model", name) for name in began if not name.startswith(MADE_OF_NOTHING)]
    check_licences(catalog, things, allowed=config.allow_licence, warn=warn)


def check_rehost(catalog: Catalog, sources: Iterable[str]) -> None:
    """Refuse to publish images of sources whose owners have not said that others may.

    Raises:
        ConfigError: Names every source that forbids it, or of which nobody knows.
        CatalogMissingError: There is no such source.
    """
    origins = origins_of(catalog).behind(*(("source", name) for name in sources))
    problems = [
        f"{in_words(origin)}: its images may not be published again by others ({origin.rehost})"
        for origin in origins
        if origin.rehost in ("no", UNKNOWN)
    ]
    if problems:
        raise ConfigError(problems)


def origins_of(catalog: Catalog) -> Origins:
    """What walks back from things to sources, and to models with the licences of their cards."""
    return Origins(catalog, licence_of_model)


def licences_behind(origins: Sequence[Origin]) -> list[str]:
    """Each licence once."""
    return sorted({origin.licence or UNKNOWN for origin in origins})


def in_words(origin: Origin) -> str:
    """For example ``source kitti (CC-BY-NC-SA-3.0; behind label-set k)``."""
    via = f"; behind {origin.via}" if origin.via else ""
    return f"{origin.kind} {origin.name} ({origin.licence or 'licence unknown'}{via})"


def _doubt(origins: Sequence[Origin]) -> str:
    shown = [f"{in_words(origin)}: {origin.commercial}" for origin in origins[:SHOWN]]
    more = f", and {len(origins) - SHOWN} more" if len(origins) > SHOWN else ""
    return (
        "commercial use of what this makes is not plainly permitted by "
        f"{'; '.join(shown)}{more}. --allow-licence sets which licences may be used"
    )

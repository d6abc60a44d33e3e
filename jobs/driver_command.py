"""The command line that goes on with what a command has begun, from its configuration."""

import shlex
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, replace
from typing import Any

from jobs.config import Common
from jobs.settings import flag_name
from pipeline.catalog_values import without_credentials

PLACES = tuple(each.name for each in fields(Common))


def command_again(verb: str, config: Any) -> str:
    """For example ``factory label photos --teacher dav2-l``: flags that are not as by default.

    Store, catalog and cluster are left out: they are where whoever reads it is. Training goes on
    only with ``--resume``. Credentials are masked.
    """
    if hasattr(config, "resume") and not config.resume_if_any:
        config = replace(config, resume=True)
    named = [each for each in fields(config) if each.name not in PLACES]
    arguments = [each for each in named if each.metadata.get("argument")]
    flags = [each for each in named if each not in arguments]
    words = [word for each in arguments for word in _values(getattr(config, each.name))]
    words += [word for each in flags for word in _flag(each, getattr(config, each.name))]
    return without_credentials(shlex.join(["factory", verb, *words]))


def _flag(of: Field[Any], value: Any) -> Iterator[str]:
    if value is None or value == _default(of):
        return
    name = flag_name(of)
    if isinstance(value, bool):
        yield name if value else name.replace("--", "--no-", 1)
        return
    values = _values(value)
    if values:
        yield from (name, *values)


def _values(value: Any) -> list[str]:
    if isinstance(value, tuple | list):
        return [str(each) for each in value]
    return [] if value is None else [f"{value:g}" if isinstance(value, float) else str(value)]


def _default(of: Field[Any]) -> Any:
    if of.default_factory is not MISSING:
        return of.default_factory()
    return None if of.default is MISSING else of.default

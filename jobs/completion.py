"""Words for a shell that completes one: choices, and names of the catalog.

Somebody has pressed a key and waits, so only a catalog in an SQLite file is asked, by what Python
itself has; of a server nothing is offered. Whatever goes wrong offers nothing: an error would be
written into the line that is being typed.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import Field
from pathlib import Path
from typing import Any

import typer

from jobs.config import Common
from pipeline.catalog_names import LABEL_SETS, MODELS, RUNS, SOURCES, names_in

CATALOG_FILE = "catalog.sqlite"  # as in `jobs.workspace`, which takes too long to be imported
EVERYTHING = (SOURCES, LABEL_SETS, MODELS)
# What a field names, by itself or as a field of one class.
NAMES: Mapping[str, tuple[str, ...]] = {
    "sources": (SOURCES,),
    "source": (SOURCES,),
    "labelled": (SOURCES,),
    "validation": (SOURCES,),
    "pseudo": (LABEL_SETS,),
    "label_set": (LABEL_SETS,),
    "teacher": (MODELS,),
    "model": (MODELS,),
    "models": (MODELS,),
    "init": (MODELS,),
    "ExportConfig.target": (MODELS,),
    "ReportConfig.target": (*EVERYTHING, RUNS),
    "StatusConfig.names": EVERYTHING,
    "CatalogConfig.ref": EVERYTHING,
    "CatalogVerifyConfig.ref": (SOURCES, LABEL_SETS),
    "CatalogTermsConfig.ref": (SOURCES,),
    "CatalogCroissantConfig.ref": (SOURCES,),
    "CatalogAttributionConfig.ref": EVERYTHING,
    "CatalogCardConfig.ref": (MODELS,),
}


def completion_of(config_class: type, of: Field[Any]) -> Callable[..., list[str]] | None:
    """What completes a value of a field; None leaves it to the shell, which knows files."""
    choices = of.metadata.get("choices")
    if choices:
        return lambda: list(choices)
    named = NAMES.get(f"{config_class.__name__}.{of.name}", NAMES.get(of.name))
    if named is None:
        return None

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        return catalog_names(ctx.params, os.environ, tables=named, prefix=incomplete)

    return complete


def catalog_names(
    given: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    tables: tuple[str, ...],
    prefix: str = "",
) -> list[str]:
    """Names that begin so, in the catalog that the flags before the cursor lead to."""
    try:
        file = _catalog_file(given, environ)
        return names_in(file, tables, prefix=prefix) if file is not None else []
    except (OSError, ValueError):  # no folder to be in, a path that cannot be one
        return []


def _catalog_file(given: Mapping[str, Any], environ: Mapping[str, str]) -> Path | None:
    catalog = given.get("catalog") or environ.get("FACTORY_CATALOG")
    if catalog:
        driver, _, file = str(catalog).partition(":///")
        return Path(file) if driver.startswith("sqlite") and file else None
    default = str(Common.__dataclass_fields__["store"].default)
    store = str(given.get("store") or environ.get("FACTORY_STORE") or default)
    store = store.removeprefix("file://").removeprefix("local://")
    if "://" in store or "::" in store:
        return None
    return Path(store).expanduser() / CATALOG_FILE

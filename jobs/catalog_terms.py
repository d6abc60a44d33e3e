"""`factory catalog terms`: what the owners of a source permit, shown and set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.catalog_config import CatalogTermsConfig
from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.workspace import check_store_exists, open_workspace
from pipeline.catalog import SourceRow
from pipeline.ledger import record_source
from pipeline.licences import permissions, terms_from, terms_problems


def source_terms(config: CatalogTermsConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Show the terms of a source, after changing them where ``set`` names a file.

    Raises:
        CatalogMissingError: No source has that name.
        ConfigError: What is wrong with the file, all of it.
    """
    given = _read(Path(config.set)) if config.set else {}
    check_store_exists(config)
    with open_workspace(config) as workspace:
        row = workspace.catalog.source(config.ref)
        if given:
            row = workspace.catalog.set_terms(config.ref, _changed(row, given))
            record_source(workspace.store, workspace.catalog, config.ref)
        return {"source": row.name, **terms_record(row), "preset": row.preset}


def terms_record(row: SourceRow) -> dict[str, Any]:
    """What is on record of a source's terms; ``unknown`` where nobody said."""
    terms = row.terms or {}
    allowed = permissions(terms, row.licence)
    return {
        "title": terms.get("title"),
        "licence": row.licence,
        "rehost": allowed.rehost,
        "commercial": allowed.commercial,
        "attribution_required": bool(terms.get("attribution")),
        "attribution": row.attribution,
        "homepage": terms.get("homepage") or None,
        "citation": terms.get("citation") or None,
        "note": terms.get("note") or None,
    }


def _changed(row: SourceRow, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given over what is on record; a new licence brings its own permissions."""
    known = dict(row.terms or {})
    if row.licence:
        known["licence"] = row.licence
    if "licence" in given:
        known = {key: known[key] for key in known if key not in ("rehost", "commercial")}
    return terms_from({**known, **given}, title=row.name)


def _read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"--set {file}: cannot be read: {error.strerror}"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise ConfigError([f"--set {file}: is not YAML: {text}"]) from error
    if not isinstance(given, dict) or not given:
        raise ConfigError([f"--set {file}: expected a mapping such as `licence: CC-BY-4.0`"])
    terms = {str(key): _word(key, value) for key, value in given.items()}
    if problems := terms_problems(terms):
        raise ConfigError([f"--set {file}: {problem}" for problem in problems])
    return terms


def _word(key: object, value: Any) -> Any:
    """YAML takes ``yes`` and ``no`` for truth values, and as permissions they are words."""
    if key in ("rehost", "commercial") and isinstance(value, bool):
        return "yes" if value else "no"
    return value

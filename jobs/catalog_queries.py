"""`factory catalog`: what is there, what was made of what, as plain records.

Lists stay small enough to read: configurations and recipes are left to the lineage of a thing,
which names everything it came from.
"""

from collections.abc import Callable
from typing import Any

from jobs.catalog_terms import terms_record
from jobs.config import CATALOG_QUESTIONS, QUESTIONS_WITH_REF, CatalogConfig
from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.licence_policy import licences_behind, origins_of
from jobs.readable import readable_time
from jobs.workspace import check_store_exists, open_workspace
from pipeline.catalog import Catalog, LabelSetRow, RunRow
from pipeline.errors import CatalogConflictError, CatalogMissingError
from pipeline.lineage import lineage, made_from
from pipeline.presets import presets
from pipeline.records import Role

Record = dict[str, Any]
_ROLES = {role: number for number, role in enumerate(Role)}  # in this order people read them


def query_catalog(config: CatalogConfig, *, reporter: Reporter | None = None) -> Record:
    """Answer one question; see `CATALOG_QUESTIONS`.

    Returns:
        One list of records under the question's name, or for `lineage` two trees: what the thing
        was made ``from``, and what was made of it, the nodes ``into`` which it went. Of `shards`,
        which may be ten thousands, the first ones, and ``shards_in_all``.

    Raises:
        ConfigError: The question needs a name and none was given.
        CatalogMissingError: Nothing has that name.
        CatalogConflictError: Several things have that name; says how to tell them apart.
    """
    if config.question in QUESTIONS_WITH_REF and config.ref is None:
        meaning = CATALOG_QUESTIONS[config.question]
        raise ConfigError([f"catalog {config.question} needs a name: {meaning}"])
    if config.question == "presets":
        return list_presets()
    check_store_exists(config)
    with open_workspace(config) as workspace:
        if config.question == "shards":
            return _shards(workspace.catalog, config.ref or "", limit=config.limit or None)
        return _ANSWERS[config.question](workspace.catalog, config.ref or "")


def list_presets() -> Record:
    """Every data set that `ingest --layout` knows by name; no store is needed."""
    return {
        "presets": [
            {
                "name": preset.name,
                "title": preset.terms.title,
                "role": preset.role.value,
                "images": preset.images,
                "licence": preset.terms.licence,
                "rehost": preset.terms.rehost,
                "commercial": preset.terms.commercial,
                "expected": preset.help,
                "attribution_required": preset.terms.attribution,
                "homepage": preset.terms.homepage,
                "citation": preset.terms.citation,
                "note": preset.terms.note,
            }
            for preset in sorted(
                presets().values(), key=lambda each: (_ROLES[each.role], each.name)
            )
        ]
    }


def _sources(catalog: Catalog, _: str) -> Record:
    return {
        "sources": [
            {
                "name": row.name,
                "role": row.role,
                "images": row.images,
                "shards": row.shards,
                "bytes": row.bytes,
                "dropped": dict(row.dropped),
                **terms_record(row),
                "withdrawn": readable_time(row.withdrawn_at),
                "preset": row.preset,
                "uri": row.uri,
                "layout": row.layout,
                "created": readable_time(row.created_at),
            }
            for row in catalog.sources()
        ]
    }


def _shards(catalog: Catalog, ref: str, *, limit: int | None) -> Record:
    kind, name = find_shards_of(catalog, ref)
    if kind == "source":
        return _image_shards(catalog, name, limit)
    return _label_shards(catalog, name, limit)


def find_shards_of(catalog: Catalog, ref: str) -> tuple[str, str]:
    """What has shards under that name: ``source`` or ``label-set``, and the name alone.

    ``source:NAME`` and ``label-set:NAME`` where both have it.

    Raises:
        CatalogMissingError: Neither has it.
        CatalogConflictError: Both have it.
    """
    asked, _, name = ref.rpartition(":")
    known: dict[str, Callable[[str], object]] = {
        "source": catalog.source,
        "label-set": catalog.label_set,
    }
    found = [kind for kind, find in known.items() if asked in ("", kind) and _is_known(find, name)]
    if not found:
        raise CatalogMissingError(f"no source and no label set is named {name!r}")
    if len(found) > 1:
        raise CatalogConflictError(f"{name!r} is both: say source:{name} or label-set:{name}")
    return found[0], name


def _is_known(find: Callable[[str], object], name: str) -> bool:
    try:
        find(name)
    except CatalogMissingError:
        return False
    return True


def _image_shards(catalog: Catalog, source: str, limit: int | None) -> Record:
    return {
        "source": source,
        "shards_in_all": catalog.source(source).shards,
        "shards": [
            {
                "shard": shard.shard_id,
                "images": shard.rows,
                "bytes": shard.bytes,
                "key": shard.key,
                "sha256": shard.sha256,
            }
            for shard in catalog.image_shards(source, limit=limit)
        ],
    }


def _label_shards(catalog: Catalog, label_set: str, limit: int | None) -> Record:
    return {
        "label_set": label_set,
        "shards_in_all": catalog.label_set(label_set).shards,
        "shards": [
            {
                "shard": row.shard.shard_id,
                "source": row.shard.source,
                "labelled": row.labelled,
                "quarantined": dict(row.quarantined),
                "bytes": row.bytes,
                "key": row.key,
                "sha256": row.sha256,
                "committed": readable_time(row.committed_at),
            }
            for row in catalog.label_shards(label_set, limit=limit)
        ],
        "failed": [
            {"shard": shard_id, "error": error}
            for shard_id, error in catalog.failed_work(label_set)
        ],
    }


def _label_sets(catalog: Catalog, _: str) -> Record:
    return {"label_sets": [_label_set(catalog, row) for row in catalog.label_sets()]}


def _label_set(catalog: Catalog, row: LabelSetRow) -> Record:
    progress = catalog.progress(row.name)
    return {
        "name": row.name,
        "teacher": row.teacher,
        "labelled": row.labelled,
        "quarantined": dict(row.quarantined),
        "shards_done": progress.done,
        "shards_pending": progress.pending,
        "shards_leased": progress.leased,
        "shards_failed": progress.failed,
        "bytes": row.bytes,
        "recipe_hash": row.recipe_hash,
        "created": readable_time(row.created_at),
    }


def _models(catalog: Catalog, _: str) -> Record:
    origins = origins_of(catalog)
    return {
        "models": [
            {
                "name": row.name,
                "made": row.kind,
                "family": row.family,
                "geometry": row.geometry,
                "licence": row.licence,
                "licences_behind": licences_behind(origins.behind(("model", row.name))),
                "place": row.key or row.uri,
                "run": row.run_id,
                "sha256": row.sha256,
                "created": readable_time(row.created_at),
            }
            for row in catalog.models()
        ]
    }


def _runs(catalog: Catalog, _: str) -> Record:
    return {"runs": [_run(row) for row in catalog.runs()]}


def _run(row: RunRow) -> Record:
    return {
        "run": row.run_id,
        "kind": row.kind,
        "name": row.name,
        "state": row.state,
        "metrics": dict(row.metrics),
        "snapshot": row.snapshot_id,
        "code_version": row.code_version,
        "started": readable_time(row.started_at),
        "finished": readable_time(row.finished_at),
    }


def _evaluations(catalog: Catalog, _: str) -> Record:
    return {
        "evaluations": [
            {
                "model": row.model,
                "protocol": f"{row.protocol}@{row.version}",
                "source": row.source,
                "images": row.images,
                "valid_pixels": row.valid_pixels,
                "metrics": dict(row.metrics),
                "model_sha256": row.model_sha256,
                "created": readable_time(row.created_at),
            }
            for row in catalog.evaluations()
        ]
    }


def _lineage(catalog: Catalog, ref: str) -> Record:
    return {"lineage": lineage(catalog, ref), "made_from_it": made_from(catalog, ref)}


_ANSWERS: dict[str, Callable[[Catalog, str], Record]] = {
    "sources": _sources,
    "label-sets": _label_sets,
    "models": _models,
    "runs": _runs,
    "evaluations": _evaluations,
    "lineage": _lineage,
}

"""`factory export SET`: pseudo-labels with their images, or a source with its ground truth.

Shard by shard; what is there from a run that was stopped is kept. `pipeline.export_formats` says
which files a format has. Beside them: ``README.md``, ``attribution.csv``, as ``hf`` also
``croissant.json``, and at last ``provenance.json``, without which an export is not finished.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from jobs.card_facts import shown
from jobs.console import Reporter
from jobs.driver_record import at_work
from jobs.errors import ConfigError, JobError
from jobs.evaluate_config import ExportConfig
from jobs.export_card import data_card, export_croissant
from jobs.export_plan import DataKind, ExportPlan, check_terms, plan_export
from jobs.licence_policy import licences_behind
from jobs.model_card import CARD
from jobs.version import code_version
from jobs.workspace import open_workspace
from pipeline import export_iceberg
from pipeline.attribution_export import Named, write_attribution
from pipeline.export_formats import LOOSE, write_part
from pipeline.export_parts import (
    ExportedFile,
    ExportFolder,
    Part,
    part_name,
    put_file,
    put_scratch_file,
)
from pipeline.export_png16 import has_samples, write_index
from pipeline.export_samples import UNREADABLE
from pipeline.storage import Store

ATTRIBUTION = "attribution.csv"
CROISSANT = "croissant.json"


def export_label_set(
    config: ExportConfig, *, kind: DataKind, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Write a label set or the ground truth of a source; see `ExportConfig`.

    Returns:
        What it is, ``rows == kept + sum(left_out)``, and ``problems`` where images that are stored
        by reference cannot be read, or authors are not known who must be named.

    Raises:
        ConfigError: Images that may not be published again, nothing to export, a folder that holds
            something else, a missing extra.
        ShardCorruptError: A shard cannot be read; what was written stays for the next run.
        JobError: Not one row could be exported.
    """
    reporter = reporter or Reporter.silent()
    out = _out(config)
    with open_workspace(config) as workspace:
        plan = plan_export(config, kind=kind, catalog=workspace.catalog)
        check_terms(plan, workspace, reporter=reporter)
        folder = ExportFolder(out, plan.identity)
        try:
            known = _kept(out, plan, folder.begin())
        except ValueError as error:
            raise ConfigError([f"--out {config.out}: {error}"]) from error
        with at_work(
            workspace.catalog, "export", plan.name, config=config, reporter=reporter
        ) as said:
            parts = _write_parts(workspace.store, out, plan, folder, known, said)
        if not any(part.kept for part in parts):
            reasons = ", ".join(_counts(parts)["left_out"])
            raise JobError(f"not one of {plan.rows:,} images of {plan.words} is left: {reasons}")
        folder.sweep(parts)
        files, named = _write_beside(workspace.store, out, plan, parts)
    folder.finish(_manifest(plan, parts, files))
    reused = sum(part.part in known for part in parts)
    return _summary(plan, parts, [*files], named, out=out.uri, reused=reused)


def _out(config: ExportConfig) -> Store:
    """Where to, checked for what can be known before anything is opened."""
    try:
        out = Store(config.out)
    except ValueError as error:
        raise ConfigError([f"--out: {error}"]) from error
    problems = []
    if config.format == "iceberg" and not export_iceberg.is_installed():
        problems.append(f"--format iceberg needs pyiceberg: {export_iceberg.INSTALL}")
    if config.format == "iceberg" and not out.is_local:
        problems.append(
            f"--out {out.uri}: the catalog of an Iceberg table is an SQLite file, which needs a "
            "folder of this machine"
        )
    path = out.local_path("")
    if path is not None and path.exists() and not path.is_dir():
        problems.append(f"--out {config.out} is a file: name a folder")
    if problems:
        raise ConfigError(problems)
    return out


def _kept(out: Store, plan: ExportPlan, known: Mapping[str, Part]) -> Mapping[str, Part]:
    """Parts of an earlier run, without those of which loose files are gone."""
    if plan.format != LOOSE:
        return known
    return {n: part for n, part in known.items() if has_samples(out, part, pixels=plan.pixels)}


def _write_parts(
    store: Store,
    out: Store,
    plan: ExportPlan,
    folder: ExportFolder,
    known: Mapping[str, Part],
    reporter: Reporter,
) -> list[Part]:
    """Parts in the order of the shards; those of an earlier run as they are."""
    named = {
        part_name(piece, format=plan.format, pixels=plan.pixels): piece for piece in plan.pieces
    }
    done = {name: known[name] for name in named if name in known}
    title = f"export {plan.name} as {plan.format}"
    with reporter.progress(title, plan.rows, unit="images") as bar:
        bar.start_at(sum(part.rows for part in done.values()))
        for name, piece in named.items():
            if name not in done:
                done[name] = write_part(
                    store, out, piece, name=name, format=plan.format, pixels=plan.pixels
                )
                folder.remember(done[name])
                bar.advance(piece.shard.rows)
    return [done[name] for name in named]


def _write_beside(
    store: Store, out: Store, plan: ExportPlan, parts: Sequence[Part]
) -> tuple[list[ExportedFile], Named]:
    """What stands beside the parts, once they are all there."""
    files: list[ExportedFile] = []
    if plan.format == "png16":
        files += write_index(out, parts)
    if plan.format == "iceberg":
        table = export_iceberg.table_name(plan.kind, plan.name)
        export_iceberg.write_table(out, parts, table=table, pixels=plan.pixels)
    if plan.format == "hf":
        metadata = json.dumps(export_croissant(plan, parts), ensure_ascii=False, indent=1)
        files.append(put_file(out, metadata.encode(), CROISSANT))
    with put_scratch_file(out, ATTRIBUTION) as put:
        named = write_attribution(
            store,
            [piece.shard for piece in plan.pieces],
            path=put.scratch,
            demanding={origin.name for origin in plan.behind if origin.attribution},
            public=True,
        )
    return [*files, *put.files, put_file(out, data_card(plan, parts).encode(), CARD)], named


def _manifest(
    plan: ExportPlan, parts: Sequence[Part], files: Sequence[ExportedFile]
) -> dict[str, Any]:
    made = ("name", "teacher", "teacher_sha256", "recipe", "recipe_hash", "code_version")
    return {
        "code_version": code_version(),
        "label_set": plan.label_set and {key: getattr(plan.label_set, key) for key in made},
        "sources": [
            {"name": each.name, "licence": each.licence, "terms": each.terms}
            for each in plan.sources
        ],
        "shards_left": plan.shards_left,
        "images_left": plan.images_left,
        "behind": [asdict(origin) | {"name": shown(origin.name)} for origin in plan.behind],
        **_counts(parts),
        "files": [asdict(file) for file in files],
        "parts": [asdict(part) for part in parts],
    }


def _counts(parts: Sequence[Part]) -> dict[str, Any]:
    left_out: Counter[str] = Counter()
    for part in parts:
        left_out.update(part.left_out)
    return {
        "rows": sum(part.rows for part in parts),
        "kept": sum(part.kept for part in parts),
        "left_out": dict(sorted(left_out.items())),
    }


def _summary(
    plan: ExportPlan,
    parts: Sequence[Part],
    files: Sequence[ExportedFile],
    named: Named,
    *,
    out: str,
    reused: int,
) -> dict[str, Any]:
    table = ".".join(export_iceberg.table_name(plan.kind, plan.name))
    return {
        plan.kind.replace("-", "_"): plan.name,
        "format": plan.format,
        "out": out,
        **({"table": table} if plan.format == "iceberg" else {}),
        "images": plan.pixels,
        **_counts(parts),
        "shards": len(parts),
        "shards_reused": reused,
        "bytes": sum(file.bytes for file in files) + sum(part.bytes for part in parts),
        "licence": ", ".join(licences_behind(plan.behind)),
        "files": sorted(file.path for file in files),
        "problems": [*_unreadable(parts), *_nameless(plan, named)],
    }


def _unreadable(parts: Sequence[Part]) -> list[dict[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for part in parts:
        for reason in UNREADABLE:
            found[part.source, reason] += part.left_out.get(reason, 0)
    return [
        {"what": f"source {source}", "problem": f"{count:,} images left out: {reason}"}
        for (source, reason), count in sorted(found.items())
        if count
    ]


def _nameless(plan: ExportPlan, named: Named) -> list[dict[str, str]]:
    if not plan.pixels:  # nobody's image is published
        return []
    return [
        {"what": f"source {source}", "problem": f"{count:,} images without an author"}
        for source, count in named.nameless.items()
    ]

"""`factory ingest`: a raw data set becomes image shards, each file kept or dropped with a reason.

Safe to run again, after being killed at any moment or when the data set has grown: see
`jobs.intake`.
"""

import os
import time
from contextlib import closing, suppress
from dataclasses import asdict, replace
from typing import Any, cast

from jobs.config import IngestConfig
from jobs.console import Bar, Reporter
from jobs.errors import ConfigError
from jobs.intake import CHANGED, LEASE_S, Intake, Tally, look
from jobs.owner import current_owner, is_dead
from jobs.settings import resolved, value_problems
from jobs.version import code_version
from jobs.workspace import Workspace, open_workspace
from pipeline.catalog import IngestLease
from pipeline.catalog_sources import terms_differ
from pipeline.errors import LeaseLostError, PipelineError, SourceError
from pipeline.filesystems import is_local, public_uri
from pipeline.ledger import record_source
from pipeline.licences import terms_from
from pipeline.lookahead import map_ahead
from pipeline.presets import presets
from pipeline.records import Role
from pipeline.sources import SYNTHETIC, Found, find_members, reader_threads, weight
from pipeline.storage import Store
from pipeline.synthetic import LICENCE

AHEAD_BYTES = 128 << 20
MAX_THREADS = 8
TOGETHER = 16  # handing over a single image costs as much as looking at it


def ingest(config: IngestConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Ingest a data set into a source.

    Returns:
        ``samples_in``, ``kept`` and ``dropped`` (per reason) of the data set at the URI, whether
        they were new or ``already_present``; ``shards`` and ``bytes`` of the whole source as it is
        now, ``shards_written`` by this run; ``by_reference`` images whose bytes were not copied.

    Raises:
        ConfigError: Every problem found, before anything is written.
        SourceError: The data set cannot be read.
        LeaseLostError: Another run took over the source; what this one committed stays.
    """
    reporter = reporter or Reporter.silent()
    started_s = time.monotonic()
    config = _with_preset(config)
    members = _checked_members(config)
    with open_workspace(config) as workspace:
        config = _registered(config, workspace, reporter)
        lease = _begin(config, workspace)
        try:
            # Also what a run that was killed has committed and could not write down.
            record_source(workspace.store, workspace.catalog, config.source)
            with (
                Intake(config, workspace, lease) as intake,
                reporter.progress(f"ingest {config.source}", None, unit="images") as bar,
            ):
                _take_all(config, members, intake, bar)
            summary = _summary(config, workspace, intake.tally, time.monotonic() - started_s)
        except BaseException as error:
            state = "failed" if isinstance(error, Exception) else "stopped"
            with suppress(LeaseLostError):
                workspace.catalog.finish_ingest(lease, {"error": str(error)}, state=state)
            with suppress(OSError, PipelineError):  # what went wrong before is what counts
                record_source(workspace.store, workspace.catalog, config.source)
            raise
        workspace.catalog.finish_ingest(lease, summary)
        record_source(workspace.store, workspace.catalog, config.source)
    _warn(config, summary, reporter)
    return summary


def _with_preset(config: IngestConfig) -> IngestConfig:
    """What was left open is as the preset says."""
    preset = presets().get(config.layout)
    role = config.role or (preset.role.value if preset else Role.UNLABELLED.value)
    return replace(config, role=role)


def _checked_members(config: IngestConfig) -> Found:
    """The members of the data set; nothing but its beginning is read yet."""
    problems = value_problems(config)
    if config.layout == "pairs" and not config.truth:
        problems.append("--layout pairs needs --truth: how are the depth files encoded?")
    if config.truth and config.layout != "pairs":
        problems.append("--truth is for --layout pairs")
    if config.by_reference and not is_local(config.uri) and _public(config.uri) != config.uri:
        problems.append("--by-reference stores the URI: give its credentials by the environment")
    try:
        Store(config.store)
    except ValueError as error:
        problems.append(f"--store: {error}")
    members: Found = iter(())
    if not problems:
        try:
            members = find_members(config.uri, config.layout, truth=config.truth)
        except (SourceError, ValueError) as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    return members


def _public(uri: str) -> str:
    return uri if uri.startswith(SYNTHETIC) else public_uri(uri)


def _registered(config: IngestConfig, workspace: Workspace, reporter: Reporter) -> IngestConfig:
    """Make the source known; the configuration with the licence that its images have."""
    preset = presets().get(config.layout)
    terms = asdict(preset.terms) if preset else _terms_of_made(config)
    row = workspace.catalog.register_source(
        config.source,
        role=config.role or Role.UNLABELLED,
        uri=_public(config.uri),
        layout=config.layout,
        licence=config.licence,
        attribution=config.attribution,
        preset=preset.name if preset else None,
        terms=terms,
    )
    if terms and (other := terms_differ(row.terms, terms)):
        reporter.warn(
            f"the terms on record for {row.name} stay, those of the preset are others "
            f"({'; '.join(other)}): `factory catalog terms` shows and sets them"
        )
    return replace(config, licence=row.licence)


def _terms_of_made(config: IngestConfig) -> dict[str, Any] | None:
    """Rendered images belong to nobody."""
    if not config.uri.startswith(SYNTHETIC):
        return None
    return terms_from({"licence": LICENCE}, title="Rendered scenes")


def _begin(config: IngestConfig, workspace: Workspace) -> IngestLease:
    live = workspace.catalog.live_ingest(config.source)
    return workspace.catalog.begin_ingest(
        config.source,
        owner=current_owner(),
        ttl_s=LEASE_S,
        uri=_public(config.uri),
        config=resolved(config),
        code_version=code_version(),
        dead_owner=live.owner if live and is_dead(live.owner) else None,
    )


def _take_all(config: IngestConfig, members: Found, intake: Intake, bar: Bar) -> None:
    looked = map_ahead(
        lambda item: look(item, config),
        members,
        threads=max(reader_threads(config.uri), min(MAX_THREADS, os.cpu_count() or 1)),
        ahead=256,
        together=TOGETHER,
        weigh=weight,
        max_weight=AHEAD_BYTES,
    )
    with closing(cast(Any, looked)):
        for item in looked:
            intake.take(item)
            bar.advance(1)
    intake.finish()


def _summary(
    config: IngestConfig, workspace: Workspace, tally: Tally, seconds: float
) -> dict[str, Any]:
    source = workspace.catalog.source(config.source)
    return {
        "source": config.source,
        "samples_in": tally.samples_in,
        "kept": tally.kept,
        "already_present": tally.already_present,
        "dropped": dict(sorted(tally.dropped.items())),
        "shards": source.shards,
        "shards_written": tally.shards_written,
        "bytes": source.bytes,
        "by_reference": tally.by_reference,
        "seconds": round(seconds, 3),
        "images_per_s": round(tally.samples_in / seconds, 2),
    }


def _warn(config: IngestConfig, summary: dict[str, Any], reporter: Reporter) -> None:
    new = summary["kept"] - summary["already_present"]
    if summary["kept"] == 0:
        reporter.warn(f"no image of {_public(config.uri)} was kept; dropped: {summary['dropped']}")
    if config.by_reference and summary["by_reference"] < new:
        reporter.warn(
            f"{new - summary['by_reference']} images were copied: they lie in compressed archives, "
            "and cannot be read in place"
        )
    if summary["dropped"].get("changed"):
        reporter.warn(f"{summary['dropped']['changed']} images are not what they were: {CHANGED}")

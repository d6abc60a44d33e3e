"""`factory ingest`: a raw data set becomes image shards, each file kept or dropped with a reason.

The listing is cut into pieces (`pipeline.pieces`), which are read in this process or, where there
is more to do and somebody to do it, by several on Ray. Safe to run again, after being killed at any
moment or when the data set has grown: what was read before and has not changed is not read again.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jobs.config import IngestConfig
from jobs.console import Reporter
from jobs.driver_record import at_work
from jobs.duplicates_ingest import withdraw_copies
from jobs.errors import ConfigError
from jobs.ingest_driver import LEASE_S, IngestDriver
from jobs.ingest_judge import DETAILS
from jobs.ingest_run import data_set, work
from jobs.interrupts import calm_interrupts
from jobs.names import title
from jobs.owner import current_owner, is_dead
from jobs.ray_runtime import ray_cluster
from jobs.settings import resolved, value_problems
from jobs.version import code_version
from jobs.workspace import Workspace, open_workspace
from pipeline.arrow_images import stated_licence
from pipeline.attribution_tables import find_tables
from pipeline.catalog import IngestLease
from pipeline.catalog_sources import terms_differ
from pipeline.data_sets import find_items
from pipeline.errors import LeaseLostError, PipelineError, SourceError
from pipeline.filesystems import is_local, local_path, public_uri
from pipeline.ledger import record_source
from pipeline.licences import terms_from
from pipeline.pieces import Listed
from pipeline.presets import presets
from pipeline.records import Ignored, Role
from pipeline.sources import SYNTHETIC
from pipeline.splits import split_sha256
from pipeline.storage import Store
from pipeline.synthetic import LICENCE


def ingest(config: IngestConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Ingest a data set into a source.

    Returns:
        ``samples_in``, ``kept``, ``dropped`` (per reason) and ``ignored`` (files that are no
        samples, per kind) of the data set at the URI, whether they were new or
        ``already_present``; ``shards`` and ``bytes`` of the whole source as it is now,
        ``shards_written`` by this run; ``by_reference`` images whose bytes were not copied;
        ``pieces`` read by this run, ``pieces_known`` that were not read again, ``pieces_failed``
        with what ``failed``.

    Raises:
        ConfigError: Every problem found, before anything is written.
        SourceError: The data set cannot be read.
        LeaseLostError: Another run took over the source; what this one committed stays.
    """
    reporter = reporter or Reporter.silent()
    started_s = time.monotonic()
    asked, config = config, _with_preset(config)
    listed = _checked_listing(config)
    with (
        calm_interrupts(reporter.note),
        open_workspace(config) as workspace,
        ExitStack() as stack,
    ):
        if config.ray and config.actors != 0:
            name = title("ingest", [config.source])
            stack.enter_context(ray_cluster(config.ray, name=name))
        config = _registered(config, workspace, reporter)
        lease = _begin(config, workspace)
        reporter = stack.enter_context(
            at_work(workspace.catalog, "ingest", config.source, config=asked, reporter=reporter)
        )
        try:
            # Also what a run that was killed has committed and could not write down.
            record_source(workspace.store, workspace.catalog, config.source)
            workspace.store.remove_leftovers()
            driver = work(config, workspace, lease, listed, reporter)
            if config.dedup == "near":
                _drop_copies(config, workspace, lease, driver, reporter)
            _warn_of_places(config.source, workspace, driver.found_again, reporter)
            summary = _summary(config, workspace, driver, time.monotonic() - started_s)
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
    """What was left open is as the preset, or a saved data set itself, says."""
    preset = presets().get(config.layout)
    role = config.role or (preset.role.value if preset else Role.UNLABELLED.value)
    licence = config.licence
    if licence is None and config.layout == "arrow":
        licence = stated_licence(config.uri)
    return replace(config, role=role, licence=licence)


def _checked_listing(config: IngestConfig) -> Iterator[Listed | Ignored]:
    """What the data set consists of; nothing but its beginning is listed yet."""
    problems = value_problems(config)
    if config.layout == "pairs" and not config.truth:
        problems.append("--layout pairs needs --truth: how are the depth files encoded?")
    if config.truth and config.layout != "pairs":
        problems.append("--truth is for --layout pairs")
    if config.dedup == "near" and config.role == Role.BENCHMARK:
        problems.append(
            "--dedup near is not for benchmarks, which stay as they are: "
            "`factory catalog duplicates --withdraw leaks` takes their images out of the rest"
        )
    if config.by_reference and not is_local(config.uri) and _public(config.uri) != config.uri:
        problems.append("--by-reference stores the URI: give its credentials by the environment")
    if config.split and (problem := _unreadable(config.split)):
        problems.append(f"--split {config.split}: {problem}")
    try:
        store = Store(config.store)
        if _holds(config.uri, store):
            problems.append(
                f"--store: {store.uri} lies inside the data set, whose next listing would find "
                "the shards of this one: keep the store elsewhere"
            )
    except ValueError as error:
        problems.append(f"--store: {error}")
    listed: Iterator[Listed | Ignored] = iter(())
    if not problems:
        try:
            listed = find_items(data_set(config))
            find_tables(config.uri, config.layout)
        except (SourceError, ValueError) as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    return listed


def _holds(uri: str, store: Store) -> bool:
    """Whether a data set would be found to hold the store, both on this machine."""
    home = store.local_path("")
    if home is None or uri.startswith(SYNTHETIC) or not is_local(uri):
        return False
    return home.resolve().is_relative_to(Path(local_path(uri)).resolve())


def _unreadable(file: str) -> str | None:
    """What keeps a list of paths from being read."""
    try:
        path = Path(file)
        if path.stat() and not path.is_file():
            return "is no plain file: it is read more than once"
        path.read_text(encoding="utf-8")
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        return "is not UTF-8 text: expected one path per line"
    return None


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


def _on_record(config: IngestConfig) -> dict[str, Any]:
    """The configuration, and by which list of images: the file may be another one tomorrow."""
    listed = {"split_sha256": split_sha256(config.split)} if config.split else {}
    return {**resolved(config), **listed}


def _begin(config: IngestConfig, workspace: Workspace) -> IngestLease:
    live = workspace.catalog.live_ingest(config.source)
    return workspace.catalog.begin_ingest(
        config.source,
        owner=current_owner(),
        ttl_s=LEASE_S,
        uri=_public(config.uri),
        config=_on_record(config),
        code_version=code_version(),
        dead_owner=live.owner if live and is_dead(live.owner) else None,
    )


def _drop_copies(
    config: IngestConfig,
    workspace: Workspace,
    lease: IngestLease,
    driver: IngestDriver,
    reporter: Reporter,
) -> None:
    """Withdraw what looks like something else; in the tally it is dropped, not kept."""
    copies = withdraw_copies(
        workspace,
        lease,
        uri=_public(config.uri),
        reporter=reporter,
        ray=config.ray,
        actors=config.actors,
    )
    driver.tally.move_to_dropped(copies)


def _summary(
    config: IngestConfig, workspace: Workspace, driver: IngestDriver, seconds: float
) -> dict[str, Any]:
    source, tally = workspace.catalog.source(config.source), driver.tally
    return {
        "source": config.source,
        "samples_in": tally.samples_in,
        "kept": tally.kept,
        "already_present": tally.already_present,
        "dropped": dict(sorted(tally.dropped.items())),
        "ignored": dict(sorted(tally.ignored.items())),
        "shards": source.shards,
        "shards_written": driver.shards_written,
        "bytes": source.bytes,
        "by_reference": tally.by_reference,
        "pieces": driver.pieces_done,
        "pieces_known": driver.known.pieces_found,
        "pieces_failed": len(driver.failed),
        "failed": driver.failed,
        "seconds": round(seconds, 3),
        "images_per_s": round(driver.looked / seconds, 2),
    }


def _nothing_kept(config: IngestConfig, dropped: Mapping[str, int]) -> str:
    """What was expected, and what was there."""
    preset = presets().get(config.layout)
    expected = preset.help if preset else "images, loose or in archives"
    found = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
    why = f"{found}: `factory report {config.source}` says which and why" if found else "no file"
    return f"no image of {_public(config.uri)} was kept: expected {expected}; found {why}"


def _warn_of_places(
    source: str, workspace: Workspace, found_again: int, reporter: Reporter
) -> None:
    """What is committed never changes, and so do the places that a source refers to."""
    runs = workspace.catalog.ingests(source)
    if found_again and any(run.state == "done" and run.config.get("by_reference") for run in runs):
        reporter.warn(
            f"{found_again} images were found again in files that moved or were written anew; "
            "those that the source refers to are still looked for where they were at first "
            "(`factory catalog trace --check` looks): put these files back, or ingest the new "
            "ones under another source name"
        )


def _warn(config: IngestConfig, summary: dict[str, Any], reporter: Reporter) -> None:
    new = summary["kept"] - summary["already_present"]
    if summary["kept"] == 0:
        reporter.warn(_nothing_kept(config, summary["dropped"]))
    if config.by_reference and summary["by_reference"] < new:
        reporter.warn(
            f"{new - summary['by_reference']} images were copied: they lie in compressed archives, "
            "and cannot be read in place"
        )
    if summary["dropped"].get("changed"):
        reporter.warn(
            f"{summary['dropped']['changed']} images are not what they were: {DETAILS['changed']}"
        )
    if summary["ignored"]:
        kinds = ", ".join(f"{what} {count:,}" for what, count in summary["ignored"].items())
        reporter.note(f"files that are no samples were left aside: {kinds}")
    if summary["failed"]:
        reporter.warn(
            f"{len(summary['failed'])} pieces of the data set failed, the first: "
            f"{summary['failed'][0]['piece']}; run the same command again to try them once more"
        )

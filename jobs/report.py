"""`factory report`: one self-contained HTML page about a source, a label set, a run or a model."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.config import ReportConfig
from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.files import written_whole
from jobs.report_label_set import label_set_page
from jobs.report_model import model_page
from jobs.report_page import Page, render
from jobs.report_run import run_page
from jobs.report_source import source_page
from jobs.version import code_version
from jobs.workspace import Workspace, check_store_exists, open_workspace
from pipeline.catalog import Catalog
from pipeline.errors import CatalogMissingError
from pipeline.lineage import lineage


def report(config: ReportConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Write the page of what the target names.

    Raises:
        CatalogMissingError: Nothing has that name.
        CatalogConflictError: Several things have it; says how to tell them apart.
        ConfigError: It is a snapshot or a shard, which have no page.
    """
    reporter = reporter or Reporter.silent()
    check_store_exists(config)
    if Path(config.out).is_dir():
        raise ConfigError([f"--out {config.out} is a folder: name the HTML file to write"])
    with open_workspace(config) as workspace:
        kind, name = _found(workspace.catalog, config.target)
        reporter.note(f"looking at {kind} {name}")
        page = _page(workspace, kind, name, config)
    html = render(page).encode("utf-8", "backslashreplace")  # names may hold half a surrogate
    with written_whole(config.out) as scratch:
        scratch.write_bytes(html)
    return {
        "target": name,
        "kind": kind,
        "out": str(Path(config.out).resolve()),
        "images": sum(len(section.figures) for section in page.sections),
        "bytes": len(html),
    }


def _found(catalog: Catalog, target: str) -> tuple[str, str]:
    """Kind and name; a run by its id, or the newest of its name where no model has that."""
    kind, _, name = target.partition(":")
    newest = catalog.newest_run(name if kind == "run" else target)
    if newest is not None and kind == "run":
        return "run", newest.run_id
    try:
        thing = lineage(catalog, target)
    except CatalogMissingError:
        if newest is None:
            raise
        return "run", newest.run_id
    return str(thing["kind"]), str(thing["name"])


def _page(workspace: Workspace, kind: str, name: str, config: ReportConfig) -> Page:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    colophon = f"Pseudo-label factory {code_version()}, {now}, store {workspace.store.uri}"
    if kind == "source":
        return source_page(workspace, name, samples=config.samples, colophon=colophon)
    if kind == "label-set":
        return label_set_page(workspace, name, samples=config.samples, colophon=colophon)
    if kind == "model":
        return model_page(workspace, name, colophon=colophon)
    if kind == "run":
        return run_page(workspace, name, colophon=colophon)
    about = "a report is about a source, a label set, a run or a model"
    raise ConfigError([f"{name!r} is a {kind}: {about}"])

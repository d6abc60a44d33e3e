"""`factory catalog attribution`: who is to be named for the images that a thing was made from."""

from typing import Any

from jobs.catalog_config import CatalogAttributionConfig
from jobs.console import Reporter
from jobs.files import written_whole
from jobs.licence_policy import origins_of
from jobs.workspace import check_store_exists, open_workspace
from pipeline.attribution_export import Named, shards_behind, write_attribution
from pipeline.origins import Kind


def export_attribution(
    config: CatalogAttributionConfig, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Write the CSV file; see `pipeline.attribution_export` for what is in it.

    Returns:
        ``images`` that were looked at, ``lines`` written, and where images lack the author that
        their source demands, or shards cannot be read, ``problems``.

    Raises:
        CatalogMissingError: Nothing has that name.
        CatalogConflictError: Several things have it.
        ConfigError: The file cannot be written.
    """
    reporter = reporter or Reporter.silent()
    check_store_exists(config)
    with open_workspace(config) as workspace:
        origins = origins_of(workspace.catalog)
        kind, name = origins.find(config.ref)
        shards = shards_behind(workspace.catalog, origins, (kind, name))
        images = sum(shard.rows for shard in shards)
        sources = sorted({shard.source for shard in shards})
        demanding = {o.name for o in origins.behind(*_as_sources(sources)) if o.attribution}
        with (
            written_whole(config.out) as scratch,
            reporter.progress(f"attribution {name}", images, unit="images") as bar,
        ):
            named = write_attribution(
                workspace.store,
                shards,
                path=scratch,
                demanding=demanding,
                advance=bar.advance,
            )
    return {
        "kind": kind,
        "name": name,
        "sources": sources,
        "images": images,
        "lines": named.lines,
        "out": config.out,
        "problems": _problems(named),
    }


def _as_sources(names: list[str]) -> list[tuple[Kind, str]]:
    return [("source", name) for name in names]


def _problems(named: Named) -> list[dict[str, Any]]:
    nameless = [
        {"what": f"source {source}", "problem": f"{count:,} images without an author"}
        for source, count in named.nameless.items()
    ]
    return nameless + [{"what": key, "problem": text} for key, text in named.unread.items()]

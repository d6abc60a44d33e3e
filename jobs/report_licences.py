"""Licences of everything behind a thing, what they come to, and who has to be named."""

from collections.abc import Iterator, Sequence

from jobs.card_facts import shown
from jobs.licence_policy import origins_of
from jobs.licence_words import NO_ADVICE, NOT_SETTLED, PERMISSIONS, consequences, publishing
from jobs.readable import readable_time
from jobs.report_page import Section, Table
from pipeline.catalog import Catalog, SourceRow
from pipeline.lineage import lineage, nodes
from pipeline.origins import Kind, Origin

NOT_GIVEN = "not given"


def licences_section(
    catalog: Catalog, ref: str, *, stated: str | None = None, of: str | None = None
) -> Section | None:
    """The section of a page about a label set, a run or a model; None where nothing is behind it.

    Args:
        catalog: Where it is known.
        ref: As of `pipeline.lineage.lineage`.
        stated: The licence that somebody has given to the thing itself.
        of: Under which name `factory catalog attribution` knows it, if not that of ``ref``; empty
            where it does not.
    """
    origins = origins_behind(catalog, ref)
    if not origins:
        return None
    sources = [catalog.source(each.name) for each in origins if each.kind == "source"]
    of = (ref.partition(":")[2] or ref) if of is None else of
    notes = [*_missing(sources)]
    notes += [*consequences(origins, of=of, stated=stated, name=_name), *publishing(origins)]
    return Section(
        "licences",
        "Sources and licences",
        text=f"{NOT_SETTLED} {NO_ADVICE}",
        notes=tuple(notes),
        table=_origins(origins, {row.name: row for row in sources}),
        tables=tuple(_named(sources)) + tuple(_ingested(catalog, sources)),
    )


def _missing(sources: Sequence[SourceRow]) -> Iterator[str]:
    without = sum(not source.licence for source in sources)
    if without:
        yield f"No licence was given for {without} of {len(sources)} sources."


def origins_behind(catalog: Catalog, ref: str) -> list[Origin]:
    """Sources and models from elsewhere, however far behind."""
    found = nodes(lineage(catalog, ref))
    kinds: dict[str, Kind] = {"source": "source", "model": "model"}
    things = [(kinds[node["kind"]], str(node["name"])) for node in found if node["kind"] in kinds]
    return origins_of(catalog).behind(*things)


def _origins(origins: Sequence[Origin], rows: dict[str, SourceRow]) -> Table:
    return Table(
        (
            *("What", "Name", "Licence", "Commercial use", "Images published again"),
            *("Authors named", "Images"),
        ),
        tuple(
            (
                f"{rows[each.name].role} source" if each.name in rows else each.kind,
                _name(each),
                each.licence or NOT_GIVEN,
                PERMISSIONS[each.commercial],
                PERMISSIONS[each.rehost] if each.kind == "source" else "–",
                "each image's" if each.attribution else "–",
                f"{rows[each.name].images:,}" if each.name in rows else "–",
            )
            for each in origins
        ),
        (*(False,) * 6, True),
    )


def _named(sources: Sequence[SourceRow]) -> Iterator[Table]:
    """Attribution and citation, of the sources that have either."""
    rows = []
    for source in sources:
        terms = source.terms or {}
        attribution, citation = source.attribution or "", str(terms.get("citation") or "")
        if attribution or citation:
            rows.append(
                (str(terms.get("title") or source.name), attribution or "–", citation or "–")
            )
    if rows:
        title = "To be named and cited"
        yield Table(("Data set", "Attribution", "Citation"), tuple(rows), (False,) * 3, title=title)


def _ingested(catalog: Catalog, sources: Sequence[SourceRow]) -> Iterator[Table]:
    rows = []
    for source in sources:
        runs = [run for run in catalog.ingests(source.name) if "withdraw" not in run.config]
        said = (
            f"{readable_time(e.started_at)} UTC, {e.state}, code {e.code_version}" for e in runs
        )
        rows.append((source.name, source.uri, "\n".join(said)))
    if rows:
        title = "How images came in"
        columns = ("Source", "Ingested from", "Ingest runs")
        yield Table(columns, tuple(rows), (False,) * 3, title=title)


def _name(origin: Origin) -> str:
    """Of a model from elsewhere, no path of this machine."""
    return shown(origin.name) if origin.kind == "model" else origin.name

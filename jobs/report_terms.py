"""What may be done with a source, and what was taken out of it, as parts of its report."""

from collections import Counter
from collections.abc import Sequence

from jobs.catalog_terms import terms_record
from jobs.licence_words import PERMISSIONS
from jobs.readable import readable_time
from jobs.report_licences import NOT_GIVEN
from jobs.report_page import Fact, Reason, Section
from jobs.workspace import Workspace
from pipeline.catalog import IngestRow, SourceRow


def terms_section(row: SourceRow) -> Section:
    """Licence, what it permits, whom to name and to cite."""
    terms = terms_record(row)
    who = "each image's author, see `catalog attribution`" if terms["attribution_required"] else ""
    facts = [
        Fact("Data set", terms["title"] or row.name, f"preset {row.preset}" if row.preset else ""),
        Fact("Licence", row.licence or NOT_GIVEN),
        Fact("Commercial use", PERMISSIONS[terms["commercial"]]),
        Fact("Publishing images again", PERMISSIONS[terms["rehost"]]),
        Fact("To be named", row.attribution or who or NOT_GIVEN),
        Fact("To be cited", terms["citation"] or NOT_GIVEN),
        Fact("Homepage", terms["homepage"] or NOT_GIVEN),
    ]
    if terms["note"]:
        facts.append(Fact("Note", terms["note"]))
    text = "As far as is known; the owners' own words count."
    return Section("terms", "Terms", text=text, facts=tuple(facts))


def aside_section(runs: Sequence[IngestRow]) -> Section | None:
    """Files that belong to the data set and are no images of it, as the newest runs found them."""
    per_place = {run.uri: run.summary.get("ignored") or {} for run in runs}
    counts: Counter[str] = Counter()
    for ignored in per_place.values():
        counts.update(ignored)
    if not counts:
        return None
    total = counts.total()
    return Section(
        "aside",
        "Left aside",
        text=f"{total:,} files belong to the data set and are no samples of it.",
        reasons=tuple(Reason(what, n, n / total) for what, n in counts.most_common()),
    )


def withdrawn_section(workspace: Workspace, row: SourceRow) -> Section | None:
    """What was taken out again, by reason."""
    rows = workspace.catalog.withdrawals(row.name)
    if not rows:
        return None
    counts: Counter[str] = Counter()
    newest: dict[str, float] = {}
    for each in rows:
        counts[each.reason] += each.samples
        newest[each.reason] = each.withdrawn_at
    total = counts.total()
    facts = tuple(
        Fact(reason, f"{n:,} images", f"{readable_time(newest[reason])} UTC")
        for reason, n in counts.most_common()
    )
    whole = "The whole source was withdrawn. " if row.withdrawn_at else ""
    text = f"{whole}{total:,} images were taken out after they had been ingested."
    return Section("withdrawn", "Withdrawn", text=text, facts=facts)

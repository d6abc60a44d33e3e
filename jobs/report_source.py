"""A source as a page: a contact sheet with ground truth, sizes, what was refused, provenance."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

from jobs.readable import readable_bytes, readable_time
from jobs.report_charts import Chart, histogram
from jobs.report_figures import chosen_figures, image_figures, refused
from jobs.report_images import LONGEST_SIDE, side_for
from jobs.report_lineage import in_short, lineage_sections
from jobs.report_page import Fact, Figure, Page, Section, Table
from jobs.report_reading import Reading
from jobs.report_samples import Placed, example_drops, placed_images, sampled
from jobs.report_terms import aside_section, terms_section, withdrawn_section
from jobs.report_throughput import throughput_section
from jobs.report_worst import image_criteria, worst
from jobs.workspace import Workspace
from pipeline.catalog import IngestRow, SourceRow
from pipeline.catalog_commits import image_commits
from pipeline.records import ImageRecord

ASPECTS = (1 / 8, 1 / 4, 1 / 2, 9 / 16, 2 / 3, 3 / 4, 1, 4 / 3, 3 / 2, 16 / 9, 2, 3, 4, 8)


def source_page(workspace: Workspace, name: str, *, samples: int, colophon: str) -> Page:
    """Build the page of a source."""
    row, shards = workspace.catalog.source(name), workspace.catalog.image_shards(name)
    reading = Reading(workspace.store)
    seen = image_figures(reading, sampled(shards, samples), side=side_for(samples))
    figures = [each.figure for each in seen]
    has_truth = any(len(figure.pictures) > 1 for figure in figures)
    placed = list(placed_images(reading, shards))
    images = [image for _, image in placed]
    # A withdrawal holds the source as an ingest does, and ingests nothing.
    runs = [run for run in workspace.catalog.ingests(name) if "withdraw" not in run.config]
    if_any = (
        aside_section(runs),
        withdrawn_section(workspace, row),
        throughput_section(image_commits(workspace.catalog, name), what="ingested"),
    )
    return Page(
        kind=f"{row.role} source",
        name=name,
        summary=_summary(row),
        tiles=_tiles(row),
        sections=(
            Section(
                "images",
                "Images",
                _sampled(figures, row, samples),
                figures=tuple(figures),
                scale=("far", "near", "no value") if has_truth else (),
            ),
            *filter(None, [_odd(reading, placed)]),
            Section(
                "sizes",
                "Sizes and formats",
                text=f"Of {len(images):,} images." if images else "",
                charts=size_charts(images),
                table=_formats(images),
            ),
            _dropped(reading, row),
            *filter(None, [reading.section()]),
            *(section for section in if_any if section is not None),
            terms_section(row),
            Section("provenance", "Provenance", facts=_provenance(workspace, row, runs)),
            *lineage_sections(workspace.catalog, f"source:{name}"),
        ),
        colophon=colophon,
    )


def size_charts(images: Sequence[ImageRecord]) -> tuple[Chart, ...]:
    """How large images are and what shape they have."""
    sides = [min(each.header.width, each.header.height) for each in images]
    aspects = [each.header.width / each.header.height for each in images]
    charts = (
        histogram(
            "Shorter side",
            sides,
            caption=f"Pixels, {len(images):,} images.",
            unit="pixels",
            log=True,
            text=lambda side: f"{side:.0f}",
        ),
        histogram(
            "Aspect ratio",
            aspects,
            caption=f"Width : height, {len(images):,} images.",
            log=True,
            marks=ASPECTS,
            text=readable_aspect,
        ),
    )
    return tuple(chart for chart in charts if chart is not None)


def readable_aspect(ratio: float) -> str:
    """For example ``1.78 : 1``, ``1 : 1.33``."""
    if abs(ratio - 1) < 0.005:
        return "1 : 1"
    return f"{ratio:.3g} : 1" if ratio > 1 else f"1 : {1 / ratio:.3g}"


def _odd(reading: Reading, placed: Sequence[tuple[Placed, ImageRecord]]) -> Section | None:
    """Images at the ends of what headers say; None where all are alike."""
    chosen = worst(image_criteria([image for _, image in placed]))
    look = partial(image_figures, reading, side=LONGEST_SIDE)
    figures = chosen_figures(look, placed, chosen)
    text = f"{len(figures)} of {len(placed):,} images that were compared, and why each stands out."
    return Section("odd", "Oddest images", text, figures=figures) if figures else None


def _sampled(figures: Sequence[Figure], row: SourceRow, samples: int) -> str:
    if not row.images:
        return "It has no images yet; factory ingest brings them in."
    text = f"{len(figures):,} of {row.images:,} images, evenly spread."
    unreadable = min(samples, row.images) - len(figures)
    if unreadable:
        text += f" {unreadable:,} more could not be read."
    if any(len(figure.pictures) > 1 for figure in figures):
        text += " Ground truth beside them: bright is near, and pixels without a value are grey."
    return text


def _summary(row: SourceRow) -> str:
    layout = "" if row.layout == "auto" else f" ({row.layout})"
    withdrawn = f" Withdrawn on {readable_time(row.withdrawn_at)} UTC." if row.withdrawn_at else ""
    return f"{row.images:,} images from {row.uri}{layout}.{withdrawn}"


def _tiles(row: SourceRow) -> tuple[Fact, ...]:
    dropped = sum(row.dropped.values())
    seen = row.images + dropped
    per_image = readable_bytes(row.bytes / row.images) if row.images else "–"
    return (
        Fact("Images", f"{row.images:,}", f"of {seen:,} files"),
        Fact("Refused", f"{dropped:,}", f"{dropped / seen:.2%} of all" if seen else ""),
        Fact("Shards", f"{row.shards:,}"),
        Fact("Size", readable_bytes(row.bytes), f"{per_image} per image"),
        Fact("Licence", in_short(row.licence)),
    )


def _formats(images: Sequence[ImageRecord]) -> Table | None:
    if not images:
        return None
    formats = Counter(each.header.format for each in images)
    turned = Counter(each.header.format for each in images if each.header.exif_orientation != 1)
    return Table(
        ("Format", "Images", "Share", "Turned by EXIF"),
        tuple(
            (name, f"{count:,}", f"{count / len(images):.1%}", f"{turned[name]:,}")
            for name, count in formats.most_common()
        ),
        (False, True, True, True),
    )


def _dropped(reading: Reading, row: SourceRow) -> Section:
    total = sum(row.dropped.values())
    if not total:
        return Section("refused", "Refused", "Every file was taken." if row.images else "")
    seen = row.images + total
    examples = example_drops(reading, row.name)
    return Section(
        "refused",
        "Refused",
        text=f"{total:,} of {seen:,} files were not taken, each for a reason.",
        reasons=tuple(
            refused(reason, count, count / seen, examples.get(reason, []))
            for reason, count in sorted(row.dropped.items(), key=lambda item: (-item[1], item[0]))
        ),
    )


def _provenance(
    workspace: Workspace, row: SourceRow, runs: Sequence[IngestRow]
) -> tuple[Fact, ...]:
    ingests = tuple(
        Fact(
            f"Ingest run {index}",
            f"{readable_time(run.started_at)} UTC, {run.state}, from {run.uri}",
            f"code {run.code_version}",
        )
        for index, run in enumerate(runs, start=1)
    )
    return (
        Fact(
            "Content", workspace.catalog.source_digest(row.name), "digest of all shards", code=True
        ),
        *ingests,
    )

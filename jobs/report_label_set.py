"""A label set as a page: images beside their depth, distributions, quarantine, provenance."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from jobs.readable import readable_bytes, readable_setting, readable_time
from jobs.report_charts import Chart, histogram
from jobs.report_figures import chosen_figures, labelled_figures, quarantined
from jobs.report_images import LONGEST_SIDE, side_for
from jobs.report_licences import licences_section
from jobs.report_lineage import lineage_sections, short
from jobs.report_page import Fact, Page, Section
from jobs.report_reading import Reading
from jobs.report_samples import (
    Placed,
    example_quarantined,
    image_facts,
    placed_labels,
    sampled_labels,
)
from jobs.report_source import size_charts
from jobs.report_throughput import throughput_section
from jobs.report_worst import label_criteria, worst
from jobs.workspace import Workspace
from pipeline.catalog import LabelProgress, LabelSetRow, LabelShardRow
from pipeline.catalog_commits import label_commits
from pipeline.records import LabelRecord

QUALITY = (
    "What each label says of itself; train-student can leave out what lies beyond a limit on any "
    "of these."
)
SIGNALS = {  # of a LabelRecord: title and caption of its chart
    "saturated": ("Saturated", "Share of pixels at the first or last code of the map"),
    "flat": ("Flat", "Share of pixels equal to their right and lower neighbour"),
    "flip_correlation": ("Agreement", "Correlation with the label of the mirrored image"),
}


def label_set_page(workspace: Workspace, name: str, *, samples: int, colophon: str) -> Page:
    """Build the page of a label set."""
    catalog = workspace.catalog
    row, progress = catalog.label_set(name), catalog.progress(name)
    shards = catalog.label_shards(name)
    ref = f"label-set:{name}"
    groups = sampled_labels(shards, samples)
    reading = Reading(workspace.store)
    seen = labelled_figures(reading, groups, side=side_for(samples))
    placed = list(placed_labels(reading, shards))
    facts = [label for _, label in placed]
    return Page(
        kind="label set",
        name=name,
        summary=_summary(row, progress, shards),
        tiles=_tiles(row, progress, shards),
        sections=tuple(
            section
            for section in (
                Section(
                    "maps",
                    "Images and their depth",
                    _sampled(len(seen), row),
                    figures=tuple(each.figure for each in seen),
                    scale=("far", "near") if seen else (),
                ),
                _worst(reading, placed),
                Section(
                    "values",
                    "Distributions",
                    charts=_charts(reading, shards, facts, [each.values for each in seen]),
                ),
                _quality(facts),
                _quarantine(reading, row, shards),
                reading.section(),
                Section("provenance", "Provenance", facts=_provenance(row)),
                throughput_section(label_commits(catalog, name), what="labelled"),
                licences_section(catalog, ref),
                *lineage_sections(catalog, ref),
            )
            if section is not None
        ),
        colophon=colophon,
    )


def _worst(reading: Reading, placed: Sequence[tuple[Placed, LabelRecord]]) -> Section | None:
    """The labels that are worst by what is known of all; None where they are alike."""
    chosen = worst(label_criteria([label for _, label in placed]))
    look = partial(labelled_figures, reading, side=LONGEST_SIDE)
    figures = chosen_figures(look, placed, chosen)
    text = f"{len(figures)} of {len(placed):,} labels that were compared, and why each stands out."
    scale = ("far", "near")
    worst_of = Section("worst", "Worst labels", text, figures=figures, scale=scale)
    return worst_of if figures else None


def _sampled(shown: int, row: LabelSetRow) -> str:
    if not row.labelled:
        return "No image is labelled yet."
    unit = "1 / metres" if row.recipe.get("geometry") == "disparity_metric" else "no unit"
    return (
        f"{shown:,} of {row.labelled:,} labelled images, evenly spread. "
        f"Bright is near; each map is coloured from its 1st to its 99th percentile ({unit})."
    )


def _summary(row: LabelSetRow, progress: LabelProgress, shards: Sequence[LabelShardRow]) -> str:
    sources = sorted({shard.shard.source for shard in shards})
    names = ", ".join(sources[:4]) + (f" and {len(sources) - 4} more" if len(sources) > 4 else "")
    state = "complete" if progress.done else "nothing is planned"
    if progress.failed:
        state = f"{progress.failed:,} shards failed"
    elif progress.pending + progress.leased:
        state = f"{progress.pending + progress.leased:,} shards still to do"
    return f"Disparity maps by {row.teacher} over {names or 'no source yet'}; {state}."


def _tiles(
    row: LabelSetRow, progress: LabelProgress, shards: Sequence[LabelShardRow]
) -> tuple[Fact, ...]:
    quarantined = sum(row.quarantined.values())
    per_label = readable_bytes(row.bytes / row.labelled) if row.labelled else "–"
    planned = progress.done + progress.failed + progress.pending + progress.leased
    forward_s = sum(shard.forward_s for shard in shards)
    speed = f"{row.images / forward_s:,.1f} images/s" if forward_s > 0 else "–"
    return (
        Fact("Labelled", f"{row.labelled:,}", f"of {row.images:,} images"),
        Fact("Quarantined", f"{quarantined:,}", _share(quarantined, row.images)),
        Fact("Shards", f"{progress.done:,}", f"of {planned:,} planned"),
        Fact("Size", readable_bytes(row.bytes), f"{per_label} per label"),
        Fact("Forward pass", speed, "one actor, network only"),
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%} of all" if whole else ""


def _charts(
    reading: Reading,
    shards: Sequence[LabelShardRow],
    facts: Sequence[LabelRecord],
    maps: Sequence[NDArray[np.float32]],
) -> tuple[Chart, ...]:
    ranges = [
        each.maximum - each.minimum
        for each in facts
        if each.maximum is not None and each.minimum is not None
    ]
    values = np.concatenate([np.empty(0, np.float32), *maps])
    shares = np.concatenate([np.empty(0, np.float32), *map(_shares, maps)])
    shown = f"Values of {len(maps):,} maps, those above."
    relative = "The same, each from the smallest (0) to the largest (1) of its own map."
    measured = f"Largest minus smallest disparity of {len(ranges):,} maps."
    images = list(image_facts(reading, [shard.shard for shard in shards]))
    charts = (
        histogram("Disparity", values, caption=shown),
        histogram("Disparity within a map", shares, caption=relative, span=(0, 1)),
        histogram("Dynamic range of a map", ranges, caption=measured),
        *size_charts(images),
    )
    return tuple(chart for chart in charts if chart is not None)


def _shares(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """As shares of their own range; nothing of a map of one value."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values[:0]


def _quality(facts: Sequence[LabelRecord]) -> Section | None:
    """What the labels say of themselves; None for a set that is older than these signals."""
    found = {
        signal: [value for each in facts if (value := getattr(each, signal)) is not None]
        for signal in SIGNALS
    }
    charts = [
        histogram(title, found[signal], caption=f"{caption}, {len(found[signal]):,} labels.")
        for signal, (title, caption) in SIGNALS.items()
    ]
    drawn = tuple(chart for chart in charts if chart is not None)
    return Section("quality", "Quality", QUALITY, charts=drawn) if drawn else None


def _quarantine(
    reading: Reading, row: LabelSetRow, shards: Sequence[LabelShardRow]
) -> Section | None:
    total = sum(row.quarantined.values())
    if not total:
        return Section("quarantine", "Quarantined", "Every image has a label.") if shards else None
    examples = example_quarantined(reading, shards)
    most_first = sorted(row.quarantined.items(), key=lambda item: (-item[1], item[0]))
    return Section(
        "quarantine",
        "Quarantined",
        text=f"{total:,} of {row.images:,} images have no label, each for a reason.",
        reasons=tuple(
            quarantined(reason, count, count / row.images, examples.get(reason, []))
            for reason, count in most_first
        ),
    )


def _provenance(row: LabelSetRow) -> tuple[Fact, ...]:
    recipe = [
        Fact(key.replace("_", " ").capitalize(), readable_setting(value))
        for key, value in row.recipe.items()
        if key != "teacher_sha256"
    ]
    return (
        Fact("Teacher", row.teacher),
        Fact("Teacher's weights", row.teacher_sha256, "sha256", code=True),
        *recipe,
        Fact("Recipe", short(row.recipe_hash), "covers all that changes a pixel", code=True),
        Fact("Code", row.code_version, code=True),
        Fact("Begun", f"{readable_time(row.created_at)} UTC"),
    )

"""The images on which a model did worst in its last evaluation, from the scores that were kept.

Scores may be gone: results in the catalog do not rest on them. Nothing is predicted again.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

from jobs.evaluation_words import arrow, number
from jobs.report_charts import histogram
from jobs.report_evaluations import SETTINGS, newest
from jobs.report_figures import image_figures
from jobs.report_images import side_for
from jobs.report_page import Figure, Section
from jobs.report_reading import Reading
from jobs.report_samples import Placed, grouped
from jobs.workspace import Workspace
from model.metrics import HIGHER_IS_BETTER
from pipeline.catalog import EvaluationRow, ModelRow
from pipeline.records import ShardRef
from pipeline.scores import PartScores, ScorePart, ScoreRow, scores_of
from pipeline.shards import read_sample_keys

SHOWN = 8  # images of a result
RESULTS_SHOWN = 3
MOST_PARTS = 512  # objects of scores that are read, of up to a hundred images each


@dataclass(frozen=True, slots=True)
class Scored:
    """One image, its shard, and its score."""

    row: ScoreRow
    shard_id: str
    value: float


def worst_sections(
    workspace: Workspace, rows: Sequence[EvaluationRow], model: ModelRow
) -> tuple[Section, ...]:
    """Sections of a model's page, the newest result first; none where no scores are left.

    Args:
        workspace: Catalog and store.
        rows: All results under the model's name, oldest first.
        model: Whose weights count.
    """
    found: list[Section] = []
    reading = Reading(workspace.store)
    for row in reversed(newest([row for row in rows if row.model_sha256 == model.sha256])):
        name = _measure(row)
        scored = [] if name is None else list(_scored(workspace, row, name))
        if name is not None and scored and len(found) < RESULTS_SHOWN:
            anchor = f"worst-{len(found) + 1}"
            shards = {each.shard_id: each for each in workspace.catalog.image_shards(row.source)}
            worst = ranked(scored, name)
            found.append(_section(reading, row, name, worst, shards=shards, anchor=anchor))
    return (*found, *filter(None, [reading.section()]))


def ranked(scored: Sequence[Scored], name: str) -> list[Scored]:
    """Worst first; of equal scores, the lower sample id."""
    sign = 1 if name.rpartition("/")[2] in HIGHER_IS_BETTER else -1
    return sorted(scored, key=lambda each: (sign * each.value, each.row.sample_id))


def _measure(row: EvaluationRow) -> str | None:
    """Space and metric to rank by: the protocol's first that has a mean."""
    rules = row.config.get("protocol") or {}
    names = (
        f"{space}/{metric}" for space in rules.get("spaces", ()) for metric in rules["metrics"]
    )
    return next((name for name in names if row.metrics.get(name) is not None), None)


def _scored(workspace: Workspace, row: EvaluationRow, name: str) -> Iterator[Scored]:
    current = {shard.shard_id: shard.sha256 for shard in workspace.catalog.image_shards(row.source)}
    found = scores_of(workspace.store, row.source, model_sha256=row.model_sha256, limit=MOST_PARTS)
    ways: dict[str, list[tuple[ScorePart, PartScores]]] = {}
    for part, scores in found:
        if current.get(part.shard_id) == part.image_shard_sha256 and _is_way_of(row, part.settings):
            ways.setdefault(part.digest, []).append((part, scores))
    if not ways:
        return
    for part, scores in max(ways.values(), key=len):  # the same way by another version is a part
        for image in scores.rows:
            value = image.metrics.get(name)
            if value is not None and math.isfinite(value):
                yield Scored(image, part.shard_id, value)


def _is_way_of(row: EvaluationRow, settings: Mapping[str, Any]) -> bool:
    """Whether scores were made as a result says that its own were."""
    rules = settings.get("protocol") or {}
    named = (str(rules.get("name")), str(rules.get("version")))
    size, precision, upsampling = map(row.config.get, SETTINGS)
    made = itemgetter("side", "precision", "upsampling")(settings)
    return named == (row.protocol, row.version) and made == (size, precision, upsampling)


def _section(
    reading: Reading,
    row: EvaluationRow,
    name: str,
    scored: Sequence[Scored],
    *,
    shards: Mapping[str, ShardRef],
    anchor: str,
) -> Section:
    space, _, metric = name.partition("/")
    measure = f"{space} {metric}{arrow(metric)}"
    chart = histogram(
        f"{space} {metric}",
        [each.value for each in scored],
        caption=f"Of {len(scored):,} images of {row.source}.",
    )
    figures = _figures(reading, scored[:SHOWN], shards=shards, metric=metric)
    title = f"Where it did worst: {row.protocol}@{row.version} on {row.source}"
    text = (
        f"{len(figures)} of {len(scored):,} images, that of the worst {measure} first; the mean is "
        f"{number(row.metrics[name])}. Beside them the truth, where it is a map; bright is near."
    )
    charts = () if chart is None or len(scored) < 2 else (chart,)
    return Section(anchor, title, text, charts=charts, figures=figures, below=True)


def _figures(
    reading: Reading, worst: Sequence[Scored], *, shards: Mapping[str, ShardRef], metric: str
) -> tuple[Figure, ...]:
    """Images with their truth, worst first; those that cannot be read are left out."""
    places = []
    for shard_id in dict.fromkeys(each.shard_id for each in worst):
        keys = reading.rows(read_sample_keys, shards[shard_id].key)
        index = {sample_id: number for number, (sample_id, _, _) in enumerate(keys)}
        places += [
            Placed(
                shards[shard_id],
                index[each.row.sample_id],
                whys=(f"{metric} {number(each.value)}, {each.row.valid_pixels:,} pixels scored",),
            )
            for each in worst
            if each.shard_id == shard_id and each.row.sample_id in index
        ]
    rank = {each.row.sample_id: place for place, each in enumerate(worst)}
    look = partial(image_figures, reading, side=side_for(len(worst)))
    seen = sorted(look(grouped(places)), key=lambda each: rank[each.sample_id])
    return tuple(each.figure for each in seen)

"""How a labelling run went: its summary, and what is said where it was stopped.

Keys of the summary, all of the label set and the sources that were named unless said otherwise:

- ``label_set``, ``teacher``
- ``shards_done``; ``shards_skipped`` of them were done before this run; ``shards_failed``
- ``failed``: shard and last error of each that failed, in this run or before
- ``labelled``; ``quarantined``: images per reason; ``images_left``: neither done nor failed
- ``images_per_s``: of this run, from the first shard handed out to the last one committed;
  ``forward_images_per_s``: per second of a device
- ``device_busy``: share of the time of all actors that their devices computed, 0..1
- ``stages``: seconds of this run per stage, added up over actors and threads
- ``batch_size``: images per forward pass; ``actors``: the most there were at once
- ``warnings``: how many were shown; ``lost_leases``: shards of which the result was dropped because
  somebody else had taken them over
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.config import LabelConfig
from jobs.label_engine import LabelJob
from jobs.label_tally import LabelTally
from pipeline.catalog import Catalog
from pipeline.errors import StorageError

SHARDS_NAMED = 3


def summarise(
    config: LabelConfig, catalog: Catalog, job: LabelJob, *, done_before: int, tally: LabelTally
) -> dict[str, Any]:
    """The summary of a run that came to its end."""
    progress = catalog.progress(job.label_set, sources=config.sources)
    failed = catalog.failed_work(job.label_set, config.sources)
    busy = tally.whole()
    return {
        "label_set": job.label_set,
        "teacher": job.teacher,
        "shards_done": progress.done,
        "shards_skipped": done_before,
        "shards_failed": progress.failed,
        "failed": [{"shard": shard, "error": error} for shard, error in failed],
        "labelled": progress.labelled,
        "quarantined": dict(progress.quarantined),
        "images_left": progress.images_left,
        "images_per_s": _rate(tally.images, tally.wall_s),
        "forward_images_per_s": _rate(tally.images, tally.forward_s),
        "device_busy": _share(tally.forward_s, busy.actor_s),
        "stages": {stage: round(seconds, 3) for stage, seconds in tally.stages.items()},
        "batch_size": tally.batch_size or job.batch_size,
        "actors": tally.actors,
        "warnings": tally.warnings,
        "lost_leases": tally.lost_leases,
    }


def advice_for_failed(failed: Sequence[Mapping[str, str]]) -> str:
    """What to do about shards that were given up, in this run or before."""
    named = ", ".join(each["shard"] for each in failed[:SHARDS_NAMED])
    more = f" and {len(failed) - SHARDS_NAMED} more" if len(failed) > SHARDS_NAMED else ""
    return (
        f"{_count(len(failed), 'shard')} failed and will not be tried again by itself: {named}"
        f"{more}; repair what the errors name, then run the same command with --retry failed"
    )


def stopped(
    config: LabelConfig, catalog: Catalog, label_set: str, tally: LabelTally
) -> tuple[str, dict[str, Any]]:
    """What is done, what was given back and what comes next: for people, and for programs."""
    facts: dict[str, Any] = {
        "label_set": label_set,
        "shards_done_by_this_run": tally.shards,
        "images_done_by_this_run": tally.images,
        "shards_given_back": tally.given_back,
    }
    ours = f"{_count(tally.shards, 'shard')} ({tally.images:,} images) by this run"
    given = f"{_count(tally.given_back, 'shard')} under way given back"
    try:
        progress = catalog.progress(label_set, sources=config.sources)
    except StorageError:  # the catalog may be what stopped it
        return f"Done: {ours}; {given}. Run the same command again to go on.", facts
    left = progress.pending + progress.leased
    facts |= {
        "shards_done": progress.done,
        "shards_failed": progress.failed,
        "shards_left": left,
        "images_left": progress.images_left,
    }
    total = progress.done + progress.failed + left
    what_next = (
        f"The same command goes on with {_count(left, 'shard')} ({progress.images_left:,} images)."
    )
    said = f"Label set {label_set}: {progress.done:,} of {_count(total, 'shard')} done, {ours}"
    return f"{said}; {given}. {what_next}", facts


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _rate(images: int, seconds: float) -> float | None:
    return round(images / seconds, 2) if seconds > 0 else None


def _share(part_s: float, whole_s: float) -> float | None:
    return round(min(1.0, part_s / whole_s), 3) if whole_s > 0 else None

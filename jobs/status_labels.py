"""Where label sets stand, in `factory status`: done, left, how fast, at what cost, by whom."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.status_pace import (
    LONG_WINDOW_S,
    WINDOW_S,
    actors_of,
    costs,
    devices_of,
    eta_s,
    images_per_s,
    life_of,
    needs_longer,
    working_s,
)
from pipeline.catalog import Amount, Catalog, SourceWork

Record = dict[str, Any]


def label_set_record(
    catalog: Catalog,
    name: str,
    *,
    teacher: str,
    now: float,
    sources: Sequence[str] | None = None,
    per_gpu_hour: float | None = None,
) -> Record:
    """One label set, or some of its sources; what it cost is of the whole set.

    ``done_images`` are labelled or quarantined; ``images_per_s`` is of the last minutes, over all
    drivers; ``eta_s`` is for all that is left, None where nothing moves.
    """
    drivers = catalog.drivers_of(["label"], name)
    living = [row for row in drivers if life_of(row, now=now) == "running"]
    work = catalog.progress_by_source(name, sources)
    quarantined = catalog.quarantined_by_source(name)
    rates = _rates(catalog, name, working_s(living, now=now)) if living else {}
    rows = [_source(row, quarantined.get(row.source, {}), rates.get(row.source)) for row in work]
    whole = _whole(work)
    known = [row["images_per_s"] for row in rows if row["images_per_s"] is not None]
    rate = sum(known) if known else None
    reasons: Counter[str] = Counter()
    for row in work:
        reasons.update(quarantined.get(row.source, {}))
    return {
        "label_set": name,
        "teacher": teacher,
        **whole,
        "quarantined": dict(reasons.most_common()),
        "images_per_s": rate,
        "eta_s": eta_s(whole["left_images"], rate),
        **costs(drivers, per_gpu_hour=per_gpu_hour),
        "drivers": len(living),
        "actors": actors_of(living),
        "devices": devices_of(living),
        "sources": rows,
    }


def _rates(catalog: Catalog, name: str, working: float | None) -> dict[str, float | None]:
    """Images per second of each source lately."""
    window_s = WINDOW_S
    lately = catalog.labelled_lately(name, within_s=window_s)
    if needs_longer(lately):
        window_s = LONG_WINDOW_S
        lately = catalog.labelled_lately(name, within_s=window_s)
    if working is None and lately:  # by older code, which does not say: since the first commit
        working = catalog.now() - min(each.first_at for each in lately)
    if working is not None:  # what was committed before that is of an earlier run
        window_s = min(window_s, max(working, 1.0))
        lately = catalog.labelled_lately(name, within_s=window_s)
    return {
        each.source: images_per_s(each.images, window_s=window_s, working_s=working)
        for each in lately
    }


def _source(work: SourceWork, quarantined: Mapping[str, int], rate: float | None) -> Record:
    amounts = _whole([work])
    return {
        "source": work.source,
        **amounts,
        "quarantined_images": sum(quarantined.values()),
        "images_per_s": rate,
        "eta_s": eta_s(amounts["left_images"], rate),
    }


def _whole(work: Sequence[SourceWork]) -> Record:
    total = sum((row.total for row in work), Amount())
    done = sum((row.done for row in work), Amount())
    left = sum((row.left for row in work), Amount())
    failed = sum((row.failed for row in work), Amount())
    return {
        "images": total.images,
        "done_images": done.images,
        "left_images": left.images,
        "failed_images": failed.images,
        "shards": total.shards,
        "leased_shards": sum(row.leased.shards for row in work),
        "failed_shards": failed.shards,
    }

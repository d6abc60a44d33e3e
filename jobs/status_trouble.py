"""What waits for somebody, and what went wrong last, in `factory status`."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.config import Common
from jobs.readable import readable_time
from jobs.status_pace import life_of
from pipeline.catalog import DriverRow, WorkError
from pipeline.catalog_values import without_credentials

Record = dict[str, Any]
ERRORS_SHOWN = 10
DEAD = ("silent", "gone", "failed", "stopped")
WHY = {
    "silent": "its driver has not been heard of",
    "gone": "its driver is gone without a word (killed?)",
    "failed": "it failed",
    "stopped": "it was stopped",
    "lost": "another run took its source",
    "running": "no driver is known",
}


def waiting_labels(
    record: Mapping[str, Any], driver: DriverRow | None, place: Sequence[str], *, now: float
) -> Iterator[Record]:
    """A label set with work left and nobody on it; silent drivers are nobody."""
    held = driver is None and record["leased_shards"]  # by a driver of older code
    if not record["left_images"] or record["drivers"] or held:
        return
    life = life_of(driver, now=now) if driver else "none"
    yield {
        "what": f"label set {record['label_set']}",
        "left_images": record["left_images"],
        "why": WHY.get(life, "nobody works on it"),
        "command": _command(driver, place) or _label_command(record, place),
    }


def _label_command(record: Mapping[str, Any], place: Sequence[str]) -> str:
    """Where no driver has left its own: settings of the recipe are as by default."""
    sources = [row["source"] for row in record["sources"] if row["left_images"]]
    into = ["--teacher", record["teacher"], "--label-set", record["label_set"]]
    return shlex.join(["factory", "label", *sources, *into, *place])


def waiting_run(
    what: str, state: str, driver: DriverRow | None, place: Sequence[str]
) -> Iterator[Record]:
    """A run that ended early, or whose driver is not there."""
    if state == "running" and driver is not None:
        return
    if state in (*DEAD, "running"):
        yield {
            "what": what,
            "left_images": None,
            "why": WHY[state],
            "command": _command(driver, place),
        }


def place_flags(config: Common) -> list[str]:
    """How to reach the same store and catalog; nothing where that is the default, or a secret."""
    flags = []
    default = Common.__dataclass_fields__["store"].default
    if config.store != default and without_credentials(config.store) == config.store:
        flags += ["--store", config.store]
    if config.catalog and without_credentials(config.catalog) == config.catalog:
        flags += ["--catalog", config.catalog]
    return flags


def _command(driver: DriverRow | None, place: Sequence[str]) -> str | None:
    """As it was given there, for the store and catalog that are looked at here."""
    said = driver.facts.get("command") if driver else None
    return f"{said} {shlex.join(place)}".strip() if said else None


def error_records(
    failed: Sequence[WorkError], drivers: Sequence[DriverRow], *, now: float
) -> list[Record]:
    """Why shards were charged, why drivers ended, and of what they warned; the newest first."""
    shards = {error.shard_id for error in failed}
    found = [*map(_of_shard, failed)]
    for row in drivers:
        found += _of_driver(row, shards)
    newest = sorted(found, key=lambda each: -float(each["at_s"]))[:ERRORS_SHOWN]
    return [
        {
            "at": readable_time(each["at_s"]),
            "age_s": round(max(0.0, now - each["at_s"]), 1),
            "what": each["what"],
            "error": each["error"],
        }
        for each in newest
    ]


def _of_shard(error: WorkError) -> Record:
    given_up = "given up" if error.state == "failed" else f"attempt {error.attempts}"
    what = f"label set {error.label_set}, shard {error.shard_id} of {error.source} ({given_up})"
    return {"at_s": error.errored_at or 0.0, "what": what, "error": error.error}


def _of_driver(row: DriverRow, shards: set[str]) -> Iterator[Record]:
    what = f"{row.verb} {row.target}"
    if (error := row.facts.get("error")) and row.ended_at is not None:
        yield {"at_s": row.ended_at, "what": what, "error": error}
    for warning in row.facts.get("warnings") or ():
        text = str(warning["text"])
        if not any(f"shard {shard}:" in text for shard in shards):  # that is there already
            yield {"at_s": float(warning["at"]), "what": what, "error": f"warning: {text}"}

"""Where ingests, training runs and evaluations stand, in `factory status`, and who drives them."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.readable import readable_time
from jobs.status_pace import (
    LONG_WINDOW_S,
    WINDOW_S,
    actors_of,
    costs,
    devices_of,
    images_per_s,
    life_of,
)
from pipeline.catalog import Catalog, DriverRow, IngestRow, RunRow

Record = dict[str, Any]
TRAINING_VERBS = ("train-teacher", "train-student", "finetune-metric")


def state_of(recorded: str, driver: DriverRow | None, *, now: float) -> str:
    """How a run is: what is on record as running is as alive as its driver.

    One that is done tells its run before; it drove another one.
    """
    if recorded != "running" or driver is None:
        return recorded
    life = life_of(driver, now=now)
    return recorded if life == "done" else life


def ingest_record(
    catalog: Catalog, run: IngestRow, driver: DriverRow | None, *, now: float
) -> Record:
    """One ingest run: ``images`` and ``dropped_images`` are what it has committed so far."""
    images, dropped = catalog.ingested_by(run)
    looked = (driver.facts.get("doing") or {}).get("done") if driver else None
    return {
        "source": run.source,
        "run": run.run_id,
        "state": state_of(run.state, driver, now=now),
        "images": images,
        "dropped_images": dropped,
        "looked_images": looked,
        "images_per_s": _ingest_rate(catalog, run, now=now) if run.state == "running" else None,
        "actors": actors_of([driver] if driver else []),
        "started": readable_time(run.started_at),
        "finished": readable_time(run.finished_at),
    }


def _ingest_rate(catalog: Catalog, run: IngestRow, *, now: float) -> float | None:
    for window_s in (WINDOW_S, LONG_WINDOW_S):
        lately = catalog.ingested_lately(
            run.source, within_s=min(window_s, max(now - run.started_at, 1.0))
        )
        if lately is not None:
            return images_per_s(lately.images, window_s=window_s, working_s=now - run.started_at)
    return None


def training_record(
    run: RunRow,
    drivers: Sequence[DriverRow],
    *,
    now: float,
    per_gpu_hour: float | None = None,
) -> Record:
    """One training run; how far it is was said by its workers when its driver was last seen."""
    mine = [row for row in drivers if row.facts.get("run") in (None, run.run_id)]
    driver = mine[-1] if mine else None
    said: Mapping[str, Any] = (driver.facts.get("training") or {}) if driver else {}
    state = state_of(run.state, driver, now=now)
    moves = state == "running"
    return {
        "run": run.run_id,
        "name": run.name,
        "kind": run.kind,
        "state": state,
        "step": said.get("step", run.metrics.get("steps")),
        "steps": said.get("steps", run.metrics.get("steps")),
        "loss": said.get("loss", run.metrics.get("loss")),
        "validation": said.get("validation"),
        "learning_rate": said.get("learning_rate"),
        "images_per_s": said.get("images_per_s") if moves else None,
        "eta_s": said.get("seconds_left") if moves else None,
        "data_wait_share": said.get("data_wait_share") if moves else None,
        "workers": driver.facts.get("workers") if driver else None,
        "devices": devices_of(mine[-1:]),
        **costs(mine, per_gpu_hour=per_gpu_hour),
        "started": readable_time(run.started_at),
        "finished": readable_time(run.finished_at),
    }


def evaluation_record(driver: DriverRow, *, now: float) -> Record:
    """One evaluation, as its driver said last."""
    doing = driver.facts.get("doing") or {}
    return {
        "models": driver.target,
        "state": life_of(driver, now=now),
        "doing": doing.get("title"),
        "done_images": doing.get("done"),
        "images": doing.get("total"),
        "actors": actors_of([driver]),
        "started": readable_time(driver.started_at),
        "finished": readable_time(driver.ended_at),
    }


def driver_record(driver: DriverRow, *, now: float) -> Record:
    """One process: where it runs, since when, and when it was last heard of."""
    host, pid = _place(driver.owner)
    doing = driver.facts.get("doing") or {}
    return {
        "verb": driver.verb,
        "target": driver.target,
        "state": life_of(driver, now=now),
        "host": host,
        "pid": pid,
        "started": readable_time(driver.started_at),
        "ended": readable_time(driver.ended_at),
        "age_s": round(max(0.0, (driver.ended_at or now) - driver.started_at), 1),
        "seen_s_ago": round(max(0.0, now - driver.seen_at), 1),
        "heartbeat_s": driver.heartbeat_s,
        "doing": doing.get("title"),
        "done": doing.get("done"),
        "of": doing.get("total"),
        "unit": doing.get("unit"),
        "command": driver.facts.get("command"),
    }


def _place(owner: str) -> tuple[str, int | None]:
    """Host and process of an owner (`jobs.owner`)."""
    parts = owner.rsplit(":", 4)
    if len(parts) == 5 and parts[2].isdecimal():
        return parts[0], int(parts[2])
    return owner, None

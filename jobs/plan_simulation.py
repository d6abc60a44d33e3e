"""A forecast with what goes wrong: the same run on simulated clusters (`jobs.simulation`).

Three of them. *Calm* has nothing but shards that differ in length and actors that do not start at
once. In *failures* a process dies every 100 device hours and the driver every 48, one shard in
10,000 kills whoever labels it, one device in twenty takes half as long again, and catalog and store
are away for a minute a day. In *spot* each machine of eight is lost every five hours without
notice, another one comes after ten minutes on average, and twice a day the market gives half of
them for two hours. None of these figures is a measurement; `benchmarks/simulate.py` has the same.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jobs.errors import ConfigError
from jobs.forecast import Forecast, Work
from jobs.simulation import SimulatedCluster, SimulatedRun, simulate
from jobs.simulation_cluster import Failures, Outages, Spot, Stragglers

SCENARIOS = ("calm", "failures", "spot")
MOST_DEVICES, MOST_SHARDS = 4096, 1_000_000
SHARD_SPREAD = 0.2  # of the time a shard takes, over its mean
START_SPREAD = 0.3

_AWAY = Outages(per_hour=1 / 24, mean_s=60.0)
_SPOT = Spot(
    losses_per_hour=1 / 5,
    replacement_s=600.0,
    droughts_per_hour=1 / 12,
    drought_s=7200.0,
    drought_share=0.5,
)


def simulated_runs(
    one: Forecast, work: Work, devices: Sequence[int], *, per_gpu_hour: tuple[float, ...] = ()
) -> list[dict[str, Any]]:
    """A row for each number of devices and each of `SCENARIOS`; none where nothing is to be done.

    Keys: ``devices``, ``scenario``, ``hours``, ``gpu_hours`` of devices that were there,
    ``wasted`` and ``idle`` shares of these (0..1), ``tail_minutes`` from the last lease to the
    end, ``shards_failed``, ``catalog_per_s`` and ``catalog_peak_per_s`` (transactions, mean and in
    the busiest second), ``cost_low`` and ``cost_high`` where there are prices.

    Raises:
        ConfigError: There is too much of it.
    """
    if not work.images:
        return []
    if max(devices) > MOST_DEVICES or work.shards > MOST_SHARDS:
        most = f"{MOST_DEVICES:,} devices and {MOST_SHARDS:,} shards"
        raise ConfigError([f"--simulate: at most {most}; more would take hours"])
    rows = []
    for count in devices:
        calm = _calm(one, work, count)
        for scenario in SCENARIOS:
            run = simulate(troubled(calm, scenario))
            rows.append(_row(count, scenario, run, per_gpu_hour))
    return rows


def _calm(one: Forecast, work: Work, devices: int) -> SimulatedCluster:
    probe, images = one.probe, max(1, round(work.shard_images))
    threads = one.host.threads
    return SimulatedCluster(
        shards=work.shards,
        gpus=devices,
        images_per_s=1 / one.each_s.middle,
        images_per_shard=images,
        shard_spread=SHARD_SPREAD,
        image_bytes=probe.image_bytes,
        label_bytes=probe.label_bytes,
        actor_start_s=one.start_s,
        actor_start_spread=START_SPREAD,
        first_batch_s=probe.batch_size * (probe.read_s + probe.decode_s / threads),
        last_batch_s=probe.batch_size * probe.encode_s / threads + images * probe.write_s,
        shard_timeout_s=max(3600.0, 10 * images * one.each_s.middle),
    )


def troubled(calm: SimulatedCluster, scenario: str) -> SimulatedCluster:
    """The same cluster with what goes wrong in one of `SCENARIOS`."""
    if scenario == "calm":
        return calm
    return replace(
        calm,
        failures=Failures(
            process_deaths_per_hour=1 / 100,
            poison_shards=calm.shards // 10_000,
            driver_deaths_per_hour=1 / 48,
        ),
        stragglers=Stragglers(share=0.05, factor=1.5),
        catalog_outages=_AWAY,
        store_outages=_AWAY,
        spot=_SPOT if scenario == "spot" else Spot(),
    )


def _row(
    devices: int, scenario: str, run: SimulatedRun, per_gpu_hour: tuple[float, ...]
) -> dict[str, Any]:
    row = {
        "devices": devices,
        "scenario": scenario,
        "hours": run.wall_hours,
        "gpu_hours": run.gpu_hours,
        "wasted": run.wasted_share,
        "idle": (run.gpu_hours_idle + run.gpu_hours_without_actor) / run.gpu_hours,
        "tail_minutes": 60 * run.tail_hours,
        "shards_failed": run.shards_failed,
        "catalog_per_s": run.catalog.per_s,
        "catalog_peak_per_s": run.catalog.peak_per_s,
    }
    if per_gpu_hour:
        row["cost_low"] = min(per_gpu_hour) * run.gpu_hours
        row["cost_high"] = max(per_gpu_hour) * run.gpu_hours
    return row

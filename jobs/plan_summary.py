"""A forecast as `factory plan` says it.

Keys, with the unit in the name where it is not images, shards or text:

- ``label_set``, ``teacher``, ``precision``
- ``basis``: what was measured where, and what was made of it, in a sentence
- ``batch_size``, ``measured_images`` of ``measured_sizes`` different sizes, ``refused_images``
- ``images`` and ``shards`` that it is about
- of one device: ``images_per_s`` with ``_low`` and ``_high``; ``limited_by``; ``threads`` and
  ``threads_needed`` to decode and encode as fast as the network; ``start_s``
- of all the work: ``device_hours`` with ``_low`` and ``_high``, without start and end;
  ``bytes_to_read``, ``bytes_per_label``, ``bytes`` of labels; ``cost_per_month`` of these
- ``stage_rates``: what each stage could do alone
- ``per_source``: each source's part
- ``on_devices``: wall time and what is paid for, for each number of devices
- ``simulated``: with ``--simulate``, the same with what goes wrong (`jobs.plan_simulation`)
- ``measurement``: for ``--measured``
"""

from collections.abc import Mapping
from typing import Any

from jobs.forecast import BYTES_PER_GB, Forecast, Work
from jobs.gpu_kinds import ASSUMED_SHARE, GPU_KINDS
from jobs.plan_config import PlanConfig
from jobs.plan_measurement import Measurement
from jobs.plan_simulation import simulated_runs
from jobs.readable import readable_number

ROUNDED = 4  # significant digits: what was measured on a few batches knows no more


def summarise(
    config: PlanConfig,
    measured: Measurement,
    one: Forecast,
    work: Work,
    by_source: Mapping[str, Work],
) -> dict[str, Any]:
    """Everything, rounded."""
    probe = measured.probe
    facts: dict[str, Any] = {
        "label_set": config.label_set or measured.label_set,
        "teacher": measured.teacher,
        "device": config.gpu or measured.device_name,
        "basis": basis(config, measured),
        "precision": measured.precision,
        "batch_size": probe.batch_size,
        "measured_images": probe.images,
        "measured_sizes": probe.sizes,
        "refused_images": probe.refused,
        "images": work.images,
        "shards": work.shards,
    }
    rates = one.rates(work)
    if config.cost_per_gb_month is not None:
        rates["cost_per_month"] = rates["bytes"] / BYTES_PER_GB * config.cost_per_gb_month
    devices = [
        one.on_devices(count, work, per_gpu_hour=config.cost_per_gpu_hour) for count in config.gpus
    ]
    tables = {
        "stage_rates": [_rounded(row) for row in one.stages()],
        "per_source": [_part(source, one, part) for source, part in by_source.items()],
        "on_devices": [_rounded(row) for row in devices],
    }
    if config.simulate:
        runs = simulated_runs(one, work, config.gpus, per_gpu_hour=config.cost_per_gpu_hour)
        tables["simulated"] = [_rounded(run) for run in runs]
    return facts | _rounded(rates) | tables | {"measurement": measured.as_dict()}


def basis(config: PlanConfig, measured: Measurement) -> str:
    """What the forecast rests on, in a sentence."""
    was = f"measured on {measured.device_name}"
    kind = config.gpu
    if kind is None or kind == measured.kind:
        return was
    if measured.kind is not None:
        return f"{was}; scaled to {kind} by datasheets: arithmetic to one side, memory to the other"
    precision = measured.precision if measured.on_gpu else "bf16"
    low, high = ASSUMED_SHARE[precision]
    peak = GPU_KINDS[kind].tflops(precision)
    gflop = readable_number(measured.probe.flops / 1e9)
    return (
        f"{was}, which says nothing of a {kind}'s network: {gflop} GFLOP an image at an assumed "
        f"{low:.0%} to {high:.0%} of its datasheet's {peak:g} TFLOP/s; measure on one, and bring "
        "the file with --measured"
    )


def _part(source: str, one: Forecast, work: Work) -> dict[str, Any]:
    rates = one.rates(work)
    names = ("bytes_to_read", "bytes", "device_hours")
    return {
        "source": source,
        "images": work.images,
        "shards": work.shards,
        **_rounded({name: rates[name] for name in names}),
    }


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: float(f"{value:.{ROUNDED}g}") if isinstance(value, float) else value
        for name, value in values.items()
    }

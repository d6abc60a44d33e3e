"""`factory plan`: what labelling would take, before any of it is spent.

A few real batches are labelled here, in this process, and thrown away (`jobs.plan_measuring`), or
somebody did that on a machine like those that will label and brought the file (``--measured``); the
rest is arithmetic (`jobs.forecast`). Nothing is written to store or catalog; no Ray is started.
"""

from dataclasses import fields
from typing import Any

from jobs.config import LabelConfig, LabelOptions
from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.forecast import Forecast, Host, Work
from jobs.gpu_kinds import network_by_operations, network_on
from jobs.label_actors import plan_actors
from jobs.label_ahead import check_images, check_sources, find_aim
from jobs.plan_config import PlanConfig
from jobs.plan_measurement import Measurement, read_measurement
from jobs.plan_measuring import measure
from jobs.plan_summary import summarise
from jobs.ray_runtime import local_resources
from jobs.settings import flag_name, value_problems
from jobs.workspace import Workspace, check_store_exists, open_workspace
from pipeline.catalog import SourceWork

SHARD_IMAGES = 1000  # where there are no shards yet: what `ingest` makes unless told otherwise
# Of `LabelOptions`: what a measurement was made with, and under which name it says so.
MEASURED_WITH = {
    "size": "side",
    "resize": "resize",
    "precision": "precision",
    "bits": "bits",
    "consistency": "consistency",
}


def plan(config: PlanConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Forecast a labelling run; `PlanConfig` has the options, `jobs.plan_summary` the keys."""
    reporter = reporter or Reporter.silent()
    _check(config)
    measured = read_measurement(config.measured) if config.measured else None
    if measured is not None:
        _check_same(config, measured)
        if config.images is not None and not config.sources:  # no catalog has to be at hand
            return _forecast(config, measured, [])
    check_store_exists(config)
    with open_workspace(config) as workspace:
        sources = config.sources or _unlabelled(workspace)
        check_sources(workspace, sources)
        if measured is None:
            measured, work = _measure(config, workspace, sources, reporter)
        else:
            label_set = config.label_set or measured.label_set
            work = workspace.catalog.work_ahead(label_set, sources)
    if config.images is None and not config.all and not any(row.left.images for row in work):
        reporter.note("nothing is left to label here; --all forecasts all of it again")
    if not measured.on_gpu and config.gpu is None:
        reporter.note(
            "measured on a CPU: the figures hold for machines like this one, not for GPUs"
        )
    return _forecast(config, measured, work)


def _check(config: PlanConfig) -> None:
    problems = value_problems(config)
    if not config.teacher and config.measured is None:
        problems.append("--teacher is missing: the model to measure, or --measured with a file")
    problems += [f"--gpus: must be at least 1, got {each}" for each in config.gpus if each < 1]
    if len(config.cost_per_gpu_hour) > 2:
        problems.append("--cost-per-gpu-hour: one price, or the lowest and the highest")
    if problems:
        raise ConfigError(problems)


def _check_same(config: PlanConfig, measured: Measurement) -> None:
    """Refuse to forecast what was not measured; what nobody asks for is as in the file."""
    problems = []
    for option in fields(LabelOptions):
        if option.name not in MEASURED_WITH:
            continue
        wanted, there = getattr(config, option.name), getattr(measured, MEASURED_WITH[option.name])
        if wanted not in (option.default, there):
            flag = flag_name(option)
            problems.append(f"{flag} {wanted}: {config.measured} was measured with {there}")
    if config.batch_size not in (None, measured.probe.batch_size):
        size = measured.probe.batch_size
        problems.append(f"--batch-size {config.batch_size}: {config.measured} has {size}")
    if problems:
        raise ConfigError(problems)


def _unlabelled(workspace: Workspace) -> tuple[str, ...]:
    """Every source that is there to be labelled and has something."""
    found = tuple(
        row.name
        for row in workspace.catalog.sources()
        if row.role == "unlabelled" and row.withdrawn_at is None and row.shards
    )
    if not found:
        raise ConfigError(["the catalog has no unlabelled source with images: ingest one first"])
    return found


def _measure(
    config: PlanConfig, workspace: Workspace, sources: tuple[str, ...], reporter: Reporter
) -> tuple[Measurement, list[SourceWork]]:
    label, resources = _as_label(config, sources), local_resources()
    aim = find_aim(label, workspace, resources)
    work = workspace.catalog.work_ahead(aim.label_set, sources)
    check_images(workspace, work)
    wanted = [row.source for row in work if row.left.images]
    measured = measure(
        label,
        workspace,
        aim,
        actors=plan_actors(label, resources),
        sources=sources if config.all or not wanted else wanted,
        batches=config.batches,
        reporter=reporter,
    )
    return measured, work


def _as_label(config: PlanConfig, sources: tuple[str, ...]) -> LabelConfig:
    """The run that is planned, on this machine."""
    shared = {each.name: getattr(config, each.name) for each in fields(LabelOptions)}
    return LabelConfig(**shared | {"ray": None, "sources": sources})


def _forecast(config: PlanConfig, measured: Measurement, work: list[SourceWork]) -> dict[str, Any]:
    by_source = {
        row.source: Work(amount.images, amount.shards)
        for row in work
        for amount in [row.total if config.all else row.left]
    }
    if config.images is not None:
        by_source = {}
        whole = Work(config.images, -(-config.images // SHARD_IMAGES))
    else:
        images = sum(each.images for each in by_source.values())
        whole = Work(images, sum(each.shards for each in by_source.values()))
    return summarise(config, measured, _on_device(config, measured), whole, by_source)


def _on_device(config: PlanConfig, measured: Measurement) -> Forecast:
    probe, kind = measured.probe, config.gpu
    threads = measured.threads
    if config.cpus_per_gpu is not None:
        threads = max(2, config.cpus_per_gpu)
    network_s = probe.network_s
    if kind is not None and measured.kind is not None:
        network_s = network_on(
            kind, network_s, measured_on=measured.kind, precision=measured.precision
        )
    elif kind is not None:
        precision = measured.precision if measured.on_gpu else "bf16"
        network_s = network_by_operations(kind, probe.flops, precision=precision)
    host = Host(threads, on_gpu=measured.on_gpu or kind is not None)
    return Forecast(probe, host, network_s, measured.start_s)

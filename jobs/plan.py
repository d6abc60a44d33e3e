"""`factory plan`: what labelling some sources would take, before any of it is spent.

A few real batches are labelled here, in this process, and thrown away; the rest is arithmetic
(`jobs.forecast`). Nothing is written to store or catalog, and no Ray is started.
"""

from dataclasses import fields
from typing import Any

from jobs.config import LabelConfig, LabelOptions, PlanConfig
from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.forecast import Host, Probe, Work, costs, forecast, on_devices
from jobs.label_actors import ActorPlan, plan_actors
from jobs.label_ahead import LabelAim, check_images, check_sources, find_aim
from jobs.label_network import LabelNetwork
from jobs.label_probe import probe_labels, sample_rows
from jobs.models import fetch_model
from jobs.ray_runtime import local_resources
from jobs.settings import value_problems
from jobs.workspace import Workspace, check_store_exists, open_workspace
from model.depth_model import load_depth_model
from model.label_pass import LabelPass
from pipeline.catalog import SourceWork
from pipeline.depth_codec import BITS

ROUNDED = 4  # significant digits: what was measured on a few batches knows no more


def plan(config: PlanConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Forecast a labelling run; see `PlanConfig` for the options, `jobs.forecast` for the keys."""
    reporter = reporter or Reporter.silent()
    _check(config)
    check_store_exists(config)
    resources = local_resources()
    label = _as_label(config)
    with open_workspace(config) as workspace:
        check_sources(workspace, config.sources)
        aim = find_aim(label, workspace, resources)
        sources = workspace.catalog.work_ahead(aim.label_set, config.sources)
        check_images(workspace, sources)
        if not config.all and not any(row.left.images for row in sources):
            reporter.note("nothing is left to label here; --all forecasts all of it again")
        work = _work(sources, everything=config.all)
        actors = plan_actors(label, resources)
        probe = _measure(config, workspace, aim, actors, reporter)
    host = Host(actors.threads, on_gpu=actors.device != "cpu")
    if not host.on_gpu:
        reporter.note(
            "measured on a CPU: the figures hold for machines like this one, not for GPUs"
        )
    return _summary(config, aim, work, probe, host)


def _check(config: PlanConfig) -> None:
    problems = value_problems(config)
    if not config.sources:
        problems.append("name at least one source to plan for")
    problems += [f"--gpus: must be at least 1, got {each}" for each in config.gpus if each < 1]
    if problems:
        raise ConfigError(problems)


def _as_label(config: PlanConfig) -> LabelConfig:
    """The run that is planned, on this machine."""
    shared = {each.name: getattr(config, each.name) for each in fields(LabelOptions)}
    return LabelConfig(**shared | {"ray": None})


def _work(sources: list[SourceWork], *, everything: bool) -> Work:
    amounts = [row.total if everything else row.left for row in sources]
    return Work(sum(each.images for each in amounts), sum(each.shards for each in amounts))


def _measure(
    config: PlanConfig,
    workspace: Workspace,
    aim: LabelAim,
    actors: ActorPlan,
    reporter: Reporter,
) -> Probe:
    recipe = aim.recipe
    model = load_depth_model(
        fetch_model(aim.location, workspace.store),
        device=actors.device,
        precision=recipe.precision,
        side=recipe.side,
        resize=recipe.resize,
    )
    label_pass = LabelPass(model, bits=BITS[recipe.codec], consistency=recipe.consistency)
    network = LabelNetwork(
        label_pass, batch_size=config.batch_size, memory_share=actors.memory_share
    )
    shards = [
        shard for source in config.sources for shard in workspace.catalog.image_shards(source)
    ]
    images = list(sample_rows(workspace.store, shards, config.batches * network.room.batch_size))
    reporter.note(f"measuring {len(images)} images in batches of {network.room.batch_size}")
    return probe_labels(images, model, label_pass, recipe=recipe, room=network.room)


def _summary(
    config: PlanConfig, aim: LabelAim, work: Work, probe: Probe, host: Host
) -> dict[str, Any]:
    one = forecast(probe, work, host)
    prices = costs(
        one, per_gpu_hour=config.cost_per_gpu_hour, per_gb_month=config.cost_per_gb_month
    )
    facts = {
        "label_set": aim.label_set,
        "teacher": aim.teacher.name,
        "device": "gpu" if host.on_gpu else "cpu",
        "precision": aim.recipe.precision,
        "batch_size": probe.batch_size,
        "measured_images": probe.images,
        "measured_sizes": probe.sizes,
        "refused_images": probe.refused,
        "images": work.images,
        "shards": work.shards,
    }
    table = [_rounded(on_devices(one, devices, work)) for devices in config.gpus]
    return facts | _rounded(one) | _rounded(prices) | {"on_devices": table}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: float(f"{value:.{ROUNDED}g}") if isinstance(value, float) else value
        for name, value in values.items()
    }

"""Training on Ray Train: pin the data, train, register the model.

Ray gives processes, devices and restarts. What a run *is* lies in the store and the catalog: the
pinned snapshot, the resolved configuration, the checkpoints. Another driver on another cluster can
therefore go on with it.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, fields
from typing import Any

from jobs.console import Reporter
from jobs.driver_facts import training_facts
from jobs.driver_record import at_work
from jobs.errors import ConfigError
from jobs.licence_policy import check_training
from jobs.metric_start import check_metric_sources, locate_metric_start
from jobs.metrics_drivers import DriverMetrics
from jobs.models import ModelLocation, fetch_model, locate_encoder
from jobs.names import title
from jobs.pseudo_labels import check_filter
from jobs.ray_runtime import (
    check_answers,
    cluster_resources,
    gpu_kinds,
    local_resources,
    ray_cluster,
)
from jobs.run_files import RunFiles
from jobs.settings import resolved, value_problems
from jobs.sky import find_sky, locate_segmenter
from jobs.sky_actors import SkySegmenter
from jobs.training_config import FinetuneMetricConfig, LoopOptions, TrainingOptions
from jobs.training_end import already_made, register
from jobs.training_job import TrainingJob
from jobs.training_owner import heartbeat
from jobs.training_place import choose_place
from jobs.training_ray import fit_on_ray, waiting_for_room
from jobs.training_runs import Kind, TrainingRun, open_run, recorded
from jobs.training_trackers import absolute_mlflow, check_trackers
from jobs.training_validation_input import check_validation, validation_shards
from jobs.training_watch import watched
from jobs.version import code_version
from jobs.workspace import Workspace, check_store_exists, open_workspace
from model.encoders import check_encoder
from model.metric_recipe import V2_METRIC
from model.recipes import Recipe, override, parse_overrides, preset
from pipeline.catalog import SnapshotRow
from pipeline.catalog_values import without_credentials
from pipeline.label_filter import EVERY_LABEL, LabelFilter

VERBS = {"teacher": "train-teacher", "student": "train-student", "metric": "finetune-metric"}


def train(
    config: TrainingOptions | FinetuneMetricConfig,
    kind: Kind,
    *,
    pseudo: Sequence[str] = (),
    label_filter: LabelFilter = EVERY_LABEL,
    reporter: Reporter | None,
) -> dict[str, Any]:
    """Train a model and register it under its name; returns the summary of the training verbs."""
    reporter = reporter or Reporter.silent()
    recipe = _recipe(config, kind, pseudo)
    if config.ray is None:
        choose_place(config, local_resources())
    else:
        check_answers(config.ray)
    check_store_exists(config)
    check_trackers(wandb=config.wandb, mlflow=config.mlflow, is_local=config.ray is None)
    with open_workspace(config) as workspace, ExitStack() as stack:
        if config.resume_if_any and (made := already_made(config, kind, workspace)):
            reporter.note(f"run {made['run']} has made model {made['model']}: nothing is left")
            return {**made, "sky": None}
        name = title(VERBS[kind], [config.name])
        if config.ray is not None:  # a cluster that will not do is found before the run is begun
            choose_place(config, stack.enter_context(ray_cluster(config.ray, name=name)))
        check_training(config, pseudo, workspace.catalog, warn=reporter.warn)
        start = _start(config, workspace)
        check_filter(label_filter, pseudo, workspace, reporter)
        segmenter = _segmenter(config, workspace)
        check_validation(config.validation, workspace, labelled=config.labelled, pseudo=pseudo)
        if kind == "metric":
            check_metric_sources(config.validation, workspace)
        run = open_run(config, kind, pseudo, workspace, note=reporter.note)
        verb = VERBS[kind]
        reporter = stack.enter_context(
            at_work(workspace.catalog, verb, config.name, config=config, reporter=reporter)
        )
        with recorded(run, workspace), heartbeat(run.files):
            with ray_cluster(config.ray, name=name) as resources:
                place = choose_place(config, resources)
                sky = find_sky(
                    segmenter, run.snapshot, run.files, resources=resources, reporter=reporter
                )
                job = TrainingJob(
                    run_id=run.run_id,
                    name=config.name,
                    store=workspace.store,
                    encoder=start,
                    recipe=recipe,
                    labelled=sky.added_to(run.shards("labelled")),
                    pseudo=run.shards("pseudo"),
                    steps=_steps(config, recipe, kind, run.snapshot),
                    images_per_pass=recipe.batch_size // (config.workers * config.accumulate),
                    accumulate=config.accumulate,
                    compile=place.compile,
                    checkpoint_activations=config.checkpoint_activations,
                    seed=config.seed,
                    precision=place.precision,
                    checkpoint_steps=config.checkpoint_steps,
                    threads=place.cpus,
                    label_filter=label_filter,
                    max_damaged=config.max_damaged,
                    attempt=run.files.attempt,
                    keep_checkpoints=config.keep_checkpoints,
                    ema=config.ema,
                    validation=validation_shards(config.validation, workspace, run.files),
                    validation_images=config.validation_images,
                    preview_steps=config.preview_steps,
                    wandb=config.wandb,
                    mlflow=absolute_mlflow(config.mlflow),
                )
                _describe(job, config, run, reporter)
                _fit(job, config, reporter, use_gpus=place.use_gpus)
            return {**register(job.name, kind, run, workspace), "sky": sky.summary()}


def _start(config: TrainingOptions | FinetuneMetricConfig, workspace: Workspace) -> ModelLocation:
    """Where the network starts: an encoder or, for a metric model, a whole relative one."""
    if isinstance(config, FinetuneMetricConfig):
        return locate_metric_start(config, workspace)
    encoder = locate_encoder(config.encoder, workspace.catalog)
    check_encoder(fetch_model(encoder, workspace.store))
    return encoder


def _segmenter(
    config: TrainingOptions | FinetuneMetricConfig, workspace: Workspace
) -> SkySegmenter | None:
    """What finds sky; metres have no sky."""
    if isinstance(config, FinetuneMetricConfig):
        return None
    return locate_segmenter(config.sky_segmenter, workspace)


def _recipe(
    config: TrainingOptions | FinetuneMetricConfig, kind: Kind, pseudo: Sequence[str]
) -> Recipe:
    problems = value_problems(config)
    if kind != "student" and not config.labelled:
        problems.append(f"a {kind} model needs at least one --labelled source")
    if kind == "student" and not pseudo:
        problems.append("a student needs at least one --pseudo label set")
    if isinstance(config, TrainingOptions) and config.sky_segmenter and not config.labelled:
        problems.append("--sky-segmenter looks at labelled images: name a --labelled source")
    try:
        recipe, own = _preset(config, kind)
    except ValueError as error:
        raise ConfigError(problems or [str(error)]) from error
    try:
        recipe = parse_overrides(
            recipe,
            config.override,
            steps=config.steps,
            batch_size=config.batch_size,
            size=config.size,
            learning_rate=config.learning_rate,
            **own,
        )
    except ValueError as error:
        problems.append(str(error))
        with suppress(ValueError):  # what does not fit together is said too
            recipe = override(recipe, batch_size=config.batch_size, size=config.size)
    problems += _student_only(recipe, config, kind)
    if recipe.size % 14:
        problems.append(f"the size of the crop must be a multiple of 14, not {recipe.size}")
    if recipe.pseudo_only and config.labelled:
        problems.append(
            f"a {recipe.name} student learns from pseudo-labels alone: leave out --labelled, "
            "or give --override pseudo_only=false"
        )
    passes = max(1, config.workers * config.accumulate)
    if recipe.batch_size % passes:
        problems.append(
            f"--batch-size {recipe.batch_size} cannot be shared out to {config.workers} workers "
            f"in {config.accumulate} forward passes each"
        )
    elif kind == "student" and config.labelled and recipe.batch_size // passes < 2:
        problems.append("a forward pass needs two images, a labelled and a pseudo-labelled one")
    if problems:
        raise ConfigError(problems)
    return recipe


def _student_only(
    recipe: Recipe, config: TrainingOptions | FinetuneMetricConfig, kind: Kind
) -> list[str]:
    """Overrides that would change nothing: only a student has pseudo-labels."""
    if kind == "student":
        return []
    unused = {field.name for field in fields(recipe) if field.metadata.get("student")}
    given = [text.partition("=")[0].strip().replace("-", "_") for text in config.override]
    return [
        f"--override {name}: a {kind} model has no pseudo-labels, only a student uses this value"
        for name in given
        if name in unused
    ]


def _preset(
    config: TrainingOptions | FinetuneMetricConfig, kind: Kind
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe to begin with, and what flags of this verb alone change in it."""
    if isinstance(config, FinetuneMetricConfig):
        return V2_METRIC, {"max_depth": config.max_depth}
    return preset(config.preset, kind), {}


def _steps(config: LoopOptions, recipe: Recipe, kind: Kind, snapshot: SnapshotRow) -> int:
    """As asked, as the recipe says, or its passes over what counts for this kind of model."""
    if config.steps or recipe.steps:
        return config.steps or recipe.steps
    role = "pseudo" if kind == "student" else "labelled"
    images = sum(member.rows for member in snapshot.members if member.role == role)
    forward_passes = config.workers * config.accumulate
    per_pass = recipe.batch_size // forward_passes
    if kind == "student" and any(member.role == "labelled" for member in snapshot.members):
        per_pass = recipe.split(per_pass).pseudo
    return math.ceil(recipe.passes * images / (per_pass * forward_passes))


def _describe(job: TrainingJob, config: LoopOptions, run: TrainingRun, reporter: Reporter) -> None:
    """Write what the run is beside what it will make, and say it."""
    run.files.write_json(
        "config.json",
        {
            "config": resolved(config),
            "recipe": asdict(job.recipe),
            "steps": job.steps,
            "snapshot": run.snapshot.snapshot_id,
            "start": {"kind": job.encoder.kind, "value": without_credentials(job.encoder.value)},
            "code_version": code_version(),
        },
    )
    reporter.note(
        f"run {job.run_id}: {job.steps} steps of {job.recipe.batch_size} images "
        f"on {config.workers} worker(s), snapshot {run.snapshot.snapshot_id[:12]}"
    )


def _fit(job: TrainingJob, config: LoopOptions, reporter: Reporter, *, use_gpus: bool) -> None:
    files = RunFiles(job.store, job.run_id, attempt=job.attempt)
    facts = training_facts(job.run_id, workers=config.workers, use_gpus=use_gpus, kinds=gpu_kinds())
    reporter.tell(lambda: facts)

    def why_waiting() -> str:
        has = cluster_resources()
        return waiting_for_room(job, workers=config.workers, use_gpus=use_gpus, has=has)

    with (
        closing(DriverMetrics.of("train", config.name)),
        watched(files, job, reporter, why_waiting=why_waiting),
    ):
        fit_on_ray(job, workers=config.workers, use_gpus=use_gpus, note=reporter.warn)

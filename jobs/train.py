"""Training on Ray Train: pin the data, train, register the model.

Ray gives processes, devices and restarts. What a run *is* lies in the store and the catalog: the
pinned snapshot, the resolved configuration, the checkpoints. Another driver on another cluster can
therefore go on with it.
"""

import math
import signal
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from jobs.console import Reporter
from jobs.errors import ConfigError, JobError
from jobs.models import ModelLocation, fetch_model, locate_encoder
from jobs.pseudo_labels import check_filter
from jobs.ray_runtime import Resources, local_resources, ray_cluster
from jobs.run_files import RunFiles
from jobs.settings import resolved, value_problems
from jobs.sky import find_sky, locate_segmenter
from jobs.training_config import TrainingOptions
from jobs.training_job import TrainingJob, Worker
from jobs.training_runs import Kind, TrainingRun, open_run, recorded
from jobs.training_worker import run_training
from jobs.version import code_version
from jobs.workspace import Workspace, check_store_exists, open_workspace
from model.depth_model import load_depth_model
from model.encoders import check_encoder
from model.errors import NonFiniteLossError
from model.recipes import Recipe, parse_overrides, preset
from pipeline.catalog import SnapshotRow
from pipeline.label_filter import EVERY_LABEL, LabelFilter
from pipeline.ledger import record_model, record_run
from pipeline.storage import model_prefix

WORKER_RESTARTS = 2
WATCH_INTERVAL_S = 1.0


def train(
    config: TrainingOptions,
    kind: Kind,
    *,
    pseudo: Sequence[str] = (),
    label_filter: LabelFilter = EVERY_LABEL,
    reporter: Reporter | None,
) -> dict[str, Any]:
    """Train a model and register it under its name; returns the summary of both training verbs."""
    reporter = reporter or Reporter.silent()
    recipe = _recipe(config, kind, pseudo)
    if config.ray is None:
        _check_fits(config, local_resources())
    check_store_exists(config)
    with open_workspace(config) as workspace:
        encoder = locate_encoder(config.encoder)
        check_encoder(fetch_model(encoder, workspace.store))
        check_filter(label_filter, pseudo, workspace, reporter)
        segmenter = locate_segmenter(config.sky_segmenter, workspace)
        run = open_run(config, kind, pseudo, workspace)
        with recorded(run, workspace):
            with ray_cluster(config.ray) as resources:
                sky = find_sky(
                    segmenter, run.snapshot, run.files, resources=resources, reporter=reporter
                )
                job = TrainingJob(
                    run_id=run.run_id,
                    name=config.name,
                    store=workspace.store,
                    encoder=encoder,
                    recipe=recipe,
                    labelled=sky.added_to(run.shards("labelled")),
                    pseudo=run.shards("pseudo"),
                    steps=_steps(config, recipe, kind, run.snapshot),
                    images_per_pass=recipe.batch_size // (config.workers * config.accumulate),
                    accumulate=config.accumulate,
                    seed=config.seed,
                    precision=_precision(config, resources),
                    checkpoint_steps=config.checkpoint_steps,
                    threads=_cpus_per_worker(config, resources),
                    label_filter=label_filter,
                )
                _describe(job, config, run, reporter)
                with _watched(run.files, job, reporter):
                    _fit_on_ray(job, config, resources)
            return {**_register(job, kind, run, workspace), "sky": sky.summary()}


def _recipe(config: TrainingOptions, kind: Kind, pseudo: Sequence[str]) -> Recipe:
    problems = value_problems(config)
    if kind == "teacher" and not config.labelled:
        problems.append("a teacher needs at least one --labelled source")
    if kind == "student" and not pseudo:
        problems.append("a student needs at least one --pseudo label set")
    recipe = preset(config.preset, kind)
    try:
        recipe = parse_overrides(
            recipe,
            config.override,
            batch_size=config.batch_size,
            size=config.size,
            learning_rate=config.learning_rate,
        )
    except ValueError as error:
        problems.append(str(error))
    if recipe.size % 14:
        problems.append(f"the size of the crop must be a multiple of 14, not {recipe.size}")
    if recipe.pseudo_only and config.labelled:
        problems.append(
            f"a {config.preset} student learns from pseudo-labels alone: leave out --labelled, "
            "or give --override pseudo_only=false"
        )
    passes = config.workers * config.accumulate
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


def _check_fits(config: TrainingOptions, resources: Resources) -> None:
    """Refuse workers that this machine could never start together; a cluster may still grow."""
    there, what = (resources.gpus, "GPUs") if resources.gpus else (resources.cpus, "CPUs")
    if config.workers > there:
        raise ConfigError([f"--workers {config.workers}: this machine has {there} {what}"])


def _steps(config: TrainingOptions, recipe: Recipe, kind: Kind, snapshot: SnapshotRow) -> int:
    """As asked, as the recipe says, or its passes over what counts for this kind of model."""
    if config.steps or recipe.steps:
        return config.steps or recipe.steps
    role = "labelled" if kind == "teacher" else "pseudo"
    images = sum(member.rows for member in snapshot.members if member.role == role)
    forward_passes = config.workers * config.accumulate
    per_pass = recipe.batch_size // forward_passes
    if kind == "student" and any(member.role == "labelled" for member in snapshot.members):
        per_pass = recipe.split(per_pass).pseudo
    return math.ceil(recipe.passes * images / (per_pass * forward_passes))


def _describe(
    job: TrainingJob, config: TrainingOptions, run: TrainingRun, reporter: Reporter
) -> None:
    """Write what the run is beside what it will make, and say it."""
    run.files.write_json(
        "config.json",
        {
            "config": resolved(config),
            "recipe": asdict(job.recipe),
            "steps": job.steps,
            "snapshot": run.snapshot.snapshot_id,
            "code_version": code_version(),
        },
    )
    reporter.note(
        f"run {job.run_id}: {job.steps} steps of {job.recipe.batch_size} images "
        f"on {config.workers} worker(s), snapshot {run.snapshot.snapshot_id[:12]}"
    )


def _fit_on_ray(job: TrainingJob, config: TrainingOptions, resources: Resources) -> None:
    """Run the workers; a worker that dies is started again from the newest checkpoint.

    Raises:
        NonFiniteLossError: The loss is not a number; starting again would end the same way.
        JobError: Workers died more often than they may, or failed for another reason.
        KeyboardInterrupt: Somebody pressed Ctrl-C, and Ray has stopped the workers.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    files = RunFiles(job.store, job.run_id)
    files.forget("failure.json")
    trainer = TorchTrainer(
        _train_in_worker,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=config.workers,
            use_gpu=resources.gpus > 0,
            resources_per_worker={"CPU": _cpus_per_worker(config, resources)}
            | ({"GPU": 1} if resources.gpus else {}),
        ),
        run_config=RunConfig(
            # Ray resumes by itself under a name it knows; our own checkpoints say where to go on.
            name=f"{job.run_id}-{uuid.uuid4().hex[:6]}",
            storage_path=f"{job.store.uri}/{files.key('ray')}",
            failure_config=FailureConfig(max_failures=WORKER_RESTARTS),
        ),
    )
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except SystemExit as error:  # this is how Ray's own handler of Ctrl-C ends
        raise KeyboardInterrupt from error
    except Exception as error:  # Ray wraps whatever happened in a worker in errors of its own
        raise JobError(f"training {job.name}: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, on_interrupt)
    failure = files.read_json("failure.json")
    if failure is not None:
        raise NonFiniteLossError(f"training {job.name}: {failure['error']}")


def _train_in_worker(loop_config: dict[str, Any]) -> None:
    """What Ray Train runs in each worker process."""
    import ray.train
    import ray.train.torch

    job: TrainingJob = loop_config["job"]
    context = ray.train.get_context()
    worker = Worker(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=str(ray.train.torch.get_device()),
        wrap=ray.train.torch.prepare_model,
    )
    try:
        run_training(job, worker)
    except NonFiniteLossError as error:
        if worker.rank == 0:
            RunFiles(job.store, job.run_id).write_json("failure.json", {"error": str(error)})


@contextmanager
def _watched(files: RunFiles, job: TrainingJob, reporter: Reporter) -> Iterator[None]:
    """Show the progress that rank 0 writes into the store, while Ray blocks this thread."""
    done = threading.Event()

    def watch() -> None:
        with reporter.progress(f"train {job.name}", total=job.steps, unit="steps") as bar:
            shown = 0
            while True:
                ended = done.wait(WATCH_INTERVAL_S)
                progress = files.read_json("progress.json") or {"step": shown}
                bar.advance(max(0, progress["step"] - shown))
                shown = max(shown, progress["step"])
                if "loss" in progress:
                    bar.describe(f"loss {progress['loss']:.4f}")
                if ended:
                    return

    watcher = threading.Thread(target=watch, name="watch-training", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _register(
    job: TrainingJob, kind: Kind, run: TrainingRun, workspace: Workspace
) -> dict[str, Any]:
    """Enter the saved model into the catalog; only now does it exist."""
    result = run.files.read_json("result.json")
    if result is None:
        raise JobError(f"training {job.name}: the run ended without a result")
    prefix = model_prefix(job.name)
    folder = fetch_model(ModelLocation("store", prefix), workspace.store)
    model = load_depth_model(folder, device="cpu", precision="fp32")
    workspace.catalog.register_model(
        job.name,
        key=prefix,
        sha256=model.sha256,
        family=model.family,
        geometry=model.geometry,
        kind=kind,
        run_id=run.run_id,
    )
    metrics = {**result, "steps": result["step"]}
    workspace.catalog.finish_run(run.run_id, state="done", metrics=metrics)
    record_run(workspace.store, workspace.catalog, run.run_id)
    record_model(workspace.store, workspace.catalog, job.name)
    return {
        "model": job.name,
        "run": run.run_id,
        "snapshot": run.snapshot.snapshot_id,
        "steps": result["step"],
        "final_loss": result["loss"],
        "losses": {name: result.get(name) for name in ("labelled", "pseudo", "feature")},
        "skipped": result["skipped"],
        "checkpoint": prefix,
    }


def _precision(config: TrainingOptions, resources: Resources) -> str:
    if config.precision != "auto":
        return config.precision
    return "bf16" if resources.gpus else "fp32"


def _cpus_per_worker(config: TrainingOptions, resources: Resources) -> int:
    # Ray Train's controller takes no CPU of its own, so the workers may have all.
    return resources.cpus_each(config.workers, gpus=1.0 if resources.gpus else 0.0)

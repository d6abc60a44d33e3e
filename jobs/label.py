"""`factory label`: every image of some sources labelled by a teacher, exactly once.

The driver leases shards from the catalog, hands them to actors and commits what they wrote. It is
the only one that talks to the catalog. Killed at any moment it can be started again: what was
committed stays, what was leased is leased again, and an object without a commit is an orphan.
"""

from contextlib import ExitStack
from typing import Any

from jobs.actor_pool import ActorPool
from jobs.config import LabelConfig
from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.label_driver import LabelDriver, LabelTally
from jobs.label_engine import LabelEngine, LabelJob, LabelTask
from jobs.label_recipe import recipe_of
from jobs.models import locate_model
from jobs.ray_runtime import Resources, local_resources, ray_cluster
from jobs.settings import value_problems
from jobs.teachers import enter_teacher, inspect_teacher
from jobs.version import code_version
from jobs.workspace import Workspace, check_store_exists, open_workspace
from pipeline.depth_codec import CODECS

SHARDS_PER_ACTOR = 2  # the second one's reading overlaps the first one's writing


def label(config: LabelConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Label sources; see `LabelConfig` for the options and design §3 for the summary's keys."""
    reporter = reporter or Reporter.silent()
    _check(config)
    check_store_exists(config)
    with open_workspace(config) as workspace, ExitStack() as stack:
        for source in config.sources:
            workspace.catalog.source(source)
        joined = stack.enter_context(ray_cluster(config.ray)) if config.ray else None
        resources = joined or local_resources()
        if joined is None:
            _check_fits(config, resources)
        job = _open_label_set(config, workspace, resources)
        before = workspace.catalog.progress(job.label_set, sources=config.sources)
        left = before.pending + before.leased
        reporter.note(f"label set {job.label_set}: {before.done} shards done, {left} to do")
        tally = LabelTally()
        if left:
            if joined is None:
                stack.enter_context(ray_cluster(None, num_cpus=resources.cpus))
            tally = _run(config, workspace, job, resources, reporter)
        return _summary(config, workspace, job, before.done, tally)


def _check(config: LabelConfig) -> None:
    problems = value_problems(config)
    if not config.sources:
        problems.append("name at least one source to label")
    if problems:
        raise ConfigError(problems)


def _check_fits(config: LabelConfig, resources: Resources) -> None:
    """Refuse actors that this machine could never start; a cluster may still grow."""
    wanted = {
        "--gpus-per-actor": (config.gpus_per_actor, resources.gpus, "GPUs"),
        "--cpus-per-actor": (config.cpus_per_actor, resources.cpus, "CPUs"),
    }
    problems = [
        f"{flag} {each:g}: this machine has {there} {what}"
        for flag, (each, there, what) in wanted.items()
        if each is not None and each > there
    ]
    if problems:
        raise ConfigError(problems)


def _open_label_set(config: LabelConfig, workspace: Workspace, resources: Resources) -> LabelJob:
    """Look at the teacher, open the set under its recipe, and add the shards that are new."""
    location = locate_model(config.teacher, workspace.catalog)
    teacher = inspect_teacher(
        location,
        workspace,
        precision=_precision(config, resources),
        side=config.size,
        resize=config.resize,
    )
    recipe = recipe_of(teacher, codec=CODECS[config.bits], consistency=config.consistency)
    name = config.label_set or f"{teacher.name}-labels"
    enter_teacher(teacher, location, workspace)
    workspace.catalog.open_label_set(
        name,
        teacher=teacher.name,
        teacher_sha256=teacher.sha256,
        recipe=recipe.as_dict(),
        recipe_hash=recipe.digest(),
        code_version=code_version(),
    )
    workspace.catalog.plan_work(name, config.sources)
    workspace.catalog.retry_failed(name, config.sources)  # who runs it again has repaired it
    return LabelJob(
        store=workspace.store,
        label_set=name,
        teacher=teacher.name,
        location=location,
        recipe=recipe,
        code_version=code_version(),
        batch_size=config.batch_size,
        threads=max(2, _cpus_per_actor(config, resources)),
    )


def _run(
    config: LabelConfig,
    workspace: Workspace,
    job: LabelJob,
    resources: Resources,
    reporter: Reporter,
) -> LabelTally:
    pool: ActorPool[LabelTask] = ActorPool(
        lambda: _start_actor(config, job, resources),
        size=_actor_count(config, resources),
        concurrency=SHARDS_PER_ACTOR,
        task_timeout_s=config.shard_timeout_s,
    )
    driver = LabelDriver(
        catalog=workspace.catalog,
        label_set=job.label_set,
        sources=config.sources,
        pool=pool,
        lease_s=config.lease_s,
        reporter=reporter,
    )
    progress = workspace.catalog.progress(job.label_set, sources=config.sources)
    try:
        with reporter.progress(f"label {job.label_set}", total=progress.images_left) as bar:
            return driver.run(bar)
    finally:
        pool.close()


def _start_actor(config: LabelConfig, job: LabelJob, resources: Resources) -> Any:
    import ray

    gpus = _gpus_per_actor(config, resources)
    actor = ray.remote(LabelEngine).options(
        num_cpus=_cpus_per_actor(config, resources),
        num_gpus=gpus,
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=SHARDS_PER_ACTOR,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": str(_cpus_per_actor(config, resources))}},
    )
    return actor.remote(job, device="cuda" if gpus else "cpu")


def _precision(config: LabelConfig, resources: Resources) -> str:
    if config.precision != "auto":
        return config.precision
    return "bf16" if _gpus_per_actor(config, resources) else "fp32"


def _gpus_per_actor(config: LabelConfig, resources: Resources) -> float:
    if config.gpus_per_actor is not None:
        return config.gpus_per_actor
    return 1.0 if resources.gpus else 0.0


def _actor_count(config: LabelConfig, resources: Resources) -> int:
    gpus = _gpus_per_actor(config, resources)
    return config.actors or (max(1, int(resources.gpus / gpus)) if gpus else 1)


def _cpus_per_actor(config: LabelConfig, resources: Resources) -> int:
    if config.cpus_per_actor is not None:
        return max(1, int(config.cpus_per_actor))
    gpus = _gpus_per_actor(config, resources)
    return resources.cpus_each(_actor_count(config, resources), gpus=gpus)


def _summary(
    config: LabelConfig, workspace: Workspace, job: LabelJob, done_before: int, tally: LabelTally
) -> dict[str, Any]:
    progress = workspace.catalog.progress(job.label_set, sources=config.sources)
    failed = workspace.catalog.failed_work(job.label_set, config.sources)
    return {
        "label_set": job.label_set,
        "teacher": job.teacher,
        "shards_done": progress.done,
        "shards_skipped": done_before,
        "shards_failed": progress.failed,
        "failed": [{"shard": shard, "error": error} for shard, error in failed],
        "labelled": progress.labelled,
        "quarantined": dict(progress.quarantined),
        "images_per_s": _rate(tally.images, tally.wall_s),
        "forward_images_per_s": _rate(tally.images, tally.forward_s),
    }


def _rate(images: int, seconds: float) -> float | None:
    return round(images / seconds, 2) if seconds > 0 else None

"""`factory label`: every image of some sources labelled by a teacher, exactly once.

The driver leases shards from the catalog, hands them to actors and commits what they wrote. It is
the only one that talks to the catalog. Killed at any moment it can be started again: what was
committed stays, what was leased is leased again, and an object without a commit is an orphan.
"""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from jobs.actor_pool import ActorPool
from jobs.config import LabelConfig
from jobs.console import Reporter
from jobs.driver_facts import device_in_words, label_facts
from jobs.driver_record import at_work
from jobs.errors import ConfigError, Interrupted, JobError
from jobs.interrupts import calm_interrupts
from jobs.label_actors import (
    SHARDS_PER_ACTOR,
    ActorPlan,
    check_fits,
    plan_actors,
    start_actor,
    waiting_for_room,
)
from jobs.label_ahead import (
    LabelAim,
    check_images,
    check_sources,
    find_aim,
    foresee,
    other_drivers,
)
from jobs.label_driver import LabelDriver
from jobs.label_engine import LabelEngine, LabelJob, LabelTask
from jobs.label_faults import may_be_actor
from jobs.label_summary import advice_for_failed, stopped, summarise
from jobs.label_tally import LabelTally
from jobs.names import title
from jobs.patience import Patience
from jobs.ray_runtime import (
    cluster_resources,
    free_resources,
    gpu_kinds,
    local_resources,
    ray_cluster,
)
from jobs.settings import value_problems
from jobs.teachers import enter_teacher
from jobs.version import code_version
from jobs.workspace import Workspace, check_store_exists, open_workspace
from pipeline.errors import PipelineError, StorageError
from pipeline.ledger import record_label_set
from pipeline.storage import source_prefix


def label(config: LabelConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Label sources; `LabelConfig` has the options, `jobs.label_summary` the summary's keys.

    Raises:
        Interrupted: By Ctrl-C or SIGTERM; everything leased was given back.
    """
    reporter = reporter or Reporter.silent()
    config = replace(config, sources=tuple(dict.fromkeys(config.sources)))
    _check(config)
    check_store_exists(config)
    with (
        calm_interrupts(reporter.note),
        open_workspace(config) as workspace,
        ExitStack() as stack,
    ):
        check_sources(workspace, config.sources)
        name = title("label", config.sources, by=config.teacher)
        joined = stack.enter_context(ray_cluster(config.ray, name=name)) if config.ray else None
        resources = joined or local_resources()
        if joined is None:
            check_fits(config, resources)
        aim = find_aim(config, workspace, resources)
        plan = plan_actors(config, resources)
        check_images(workspace, workspace.catalog.work_ahead(aim.label_set, config.sources))
        if config.dry_run:
            return foresee(config, workspace.catalog, aim, plan)
        job = _open_label_set(config, workspace, aim, plan)
        stack.callback(_write_down, workspace, job.label_set, reporter)
        reporter = stack.enter_context(
            at_work(workspace.catalog, "label", job.label_set, config=config, reporter=reporter)
        )
        before = workspace.catalog.progress(job.label_set, sources=config.sources)
        left = before.pending + before.leased
        reporter.note(f"label set {job.label_set}: shards done {before.done}, to do {left}")
        tally = LabelTally()
        if left:
            _greet(reporter, workspace, job.label_set)
            if joined is None:
                stack.enter_context(ray_cluster(None, num_cpus=resources.cpus, name=name))
            tally = _run(config, workspace, job, plan, reporter)
        patience = Patience(config.catalog_patience_s, warn=reporter.warn, note=reporter.note)
        summary = patience.ask(
            summarise, config, workspace.catalog, job, done_before=before.done, tally=tally
        )
        if summary["failed"]:
            reporter.warn(advice_for_failed(summary["failed"]))
        return summary


def _check(config: LabelConfig) -> None:
    problems = value_problems(config)
    if not config.sources:
        problems.append("name at least one source to label")
    if problems:
        raise ConfigError(problems)


def _greet(reporter: Reporter, workspace: Workspace, label_set: str) -> None:
    for other in other_drivers(workspace.catalog, label_set):
        reporter.note(f"{other} labels this set too: the work is shared")


def _open_label_set(
    config: LabelConfig, workspace: Workspace, aim: LabelAim, plan: ActorPlan
) -> LabelJob:
    """Open the set under its recipe, add the shards that are new, and what is to be retried."""
    catalog = workspace.catalog
    enter_teacher(aim.teacher, aim.location, workspace)
    catalog.open_label_set(
        aim.label_set,
        teacher=aim.teacher.name,
        teacher_sha256=aim.teacher.sha256,
        recipe=aim.recipe.as_dict(),
        recipe_hash=aim.recipe.digest(),
        code_version=code_version(),
    )
    catalog.plan_work(aim.label_set, config.sources)
    if "failed" in config.retry:
        catalog.retry_failed(aim.label_set, config.sources)
    if "quarantined" in config.retry:
        catalog.retry_quarantined(aim.label_set, config.sources)
    return LabelJob(
        store=workspace.store,
        label_set=aim.label_set,
        teacher=aim.teacher.name,
        location=aim.location,
        recipe=aim.recipe,
        code_version=code_version(),
        batch_size=config.batch_size,
        threads=plan.threads,
        memory_share=plan.memory_share,
    )


def _write_down(workspace: Workspace, label_set: str, reporter: Reporter) -> None:
    """For `catalog rebuild`; footers say most of it, so a run does not fail for the rest."""
    try:
        record_label_set(workspace.store, workspace.catalog, label_set)
    except (OSError, PipelineError) as error:
        reporter.warn(f"what a rebuild of the catalog would need is not up to date: {error}")


def _run(
    config: LabelConfig, workspace: Workspace, job: LabelJob, plan: ActorPlan, reporter: Reporter
) -> LabelTally:
    may_grow = config.ray is not None and config.actors is None
    pool: ActorPool[LabelTask] = ActorPool(
        lambda: _start_actor(job, _plan_now(config, plan)),
        size=plan.count,
        concurrency=SHARDS_PER_ACTOR,
        task_timeout_s=config.shard_timeout_s,
        may_be_actor=may_be_actor,
        wanted=(lambda: _plan_now(config, plan).count) if may_grow else None,
    )
    driver = LabelDriver(
        catalog=workspace.catalog,
        label_set=job.label_set,
        sources=config.sources,
        pool=pool,
        lease_s=config.lease_s,
        reporter=reporter,
        limit=config.limit,
        patience_s=config.catalog_patience_s,
        threads=job.threads,
        has_images=lambda source: workspace.store.exists(source_prefix(source)),
        why_no_actor=lambda: waiting_for_room(plan, has=cluster_resources(), free=free_resources()),
    )
    device = device_in_words(gpus=plan.gpus, kinds=gpu_kinds())
    reporter.tell(lambda: label_facts(driver.tally, pool, plan, device=device))
    try:
        return driver.run()
    except KeyboardInterrupt:
        said, facts = stopped(config, workspace.catalog, job.label_set, driver.tally)
        raise Interrupted(f"Interrupted. {said}", facts) from None
    except (JobError, StorageError):
        reporter.note(stopped(config, workspace.catalog, job.label_set, driver.tally)[0])
        raise
    finally:
        pool.close()


def _plan_now(config: LabelConfig, plan: ActorPlan) -> ActorPlan:
    """As many as a cluster has room for that may have grown; what each gets follows from that."""
    return plan if config.ray is None else plan_actors(config, cluster_resources())


def _start_actor(job: LabelJob, plan: ActorPlan) -> Any:
    return start_actor(
        LabelEngine, replace(job, threads=plan.threads), plan, doing=f"label {job.label_set}"
    )

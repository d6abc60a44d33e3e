"""`factory evaluate`: models scored on benchmarks they were not trained on, and compared.

Scores of each row group are put into the store as soon as they are there. Killed at any moment, the
same command goes on with what is left, and gives the same numbers: the very same where
``--batch-size`` is given and the device is the same, else up to the rounding of the network.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.console import Reporter
from jobs.driver_record import at_work
from jobs.errors import Interrupted, JobError
from jobs.evaluate_benchmarks import find_benchmarks, parse_benchmarks
from jobs.evaluate_config import EvaluateConfig
from jobs.evaluate_driver import EvaluationDriver
from jobs.evaluate_engine import EvaluationJob, EvaluationTask
from jobs.evaluate_pictures import picture_tasks
from jobs.evaluate_plan import (
    Evaluation,
    check_options,
    evaluation_tasks,
    find_evaluations,
)
from jobs.evaluate_results import doubts, record_result, result_of
from jobs.evaluate_workers import Workers, choose_place, find_workers
from jobs.evaluation_files import write_results
from jobs.evaluation_result import BenchmarkResult, Leaks, ScoredPicture
from jobs.evaluation_summary import compare_results, summarise_results
from jobs.files import make_folder
from jobs.interrupts import calm_interrupts
from jobs.leakage import FoundLeaks, find_leaks
from jobs.names import title
from jobs.ray_runtime import local_resources, ray_cluster
from jobs.readable import readable_time
from jobs.version import code_version
from jobs.workspace import Workspace, check_store_exists, open_workspace

Tasks = dict[Evaluation, list[EvaluationTask]]


def evaluate(config: EvaluateConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Score models and compare them; `jobs.evaluation_summary` has the summary's keys.

    With parts that were given up there are ``shards_failed`` and ``failed`` too, and no result of
    that model on that benchmark. With ``out`` there is ``written``.

    Raises:
        ConfigError: Something does not fit; nothing was started.
        Interrupted: By Ctrl-C or SIGTERM; what was scored stays.
        JobError: Not one image of a benchmark could be scored.
    """
    reporter = reporter or Reporter.silent()
    check_options(config)
    parse_benchmarks(config.benchmark)
    check_store_exists(config)
    with (
        calm_interrupts(reporter.note),
        open_workspace(config) as workspace,
        ExitStack() as stack,
    ):
        return _Run(config, workspace, reporter, stack).run()


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of the command."""

    config: EvaluateConfig
    workspace: Workspace
    reporter: Reporter
    stack: ExitStack

    def run(self) -> dict[str, Any]:
        config = self.config
        benchmarks = find_benchmarks(config.benchmark, self.workspace)
        joined = None
        if config.ray:
            name = title("evaluate", config.models)
            joined = self.stack.enter_context(ray_cluster(config.ray, name=name))
        place = choose_place(config, joined or local_resources())
        evaluations = find_evaluations(
            config,
            self.workspace,
            benchmarks,
            precision=place.precision,
            warn=self.reporter.warn,
        )
        tasks = evaluation_tasks(
            evaluations,
            self.workspace,
            device=place.device,
            code_version=code_version(),
            fresh=config.fresh,
        )
        job = EvaluationJob(store=self.workspace.store, batch_size=config.batch_size)
        workers = find_workers(config, job, place, self.stack)
        if config.out is not None:
            make_folder(config.out)
        names = " ".join(dict.fromkeys(each.model.name for each in evaluations))
        reporter = self.stack.enter_context(
            at_work(
                self.workspace.catalog, "evaluate", names, config=config, reporter=self.reporter
            )
        )
        reporter.tell(workers.facts)
        return replace(self, reporter=reporter)._work(tasks, workers)

    def _work(self, tasks: Tasks, workers: Workers) -> dict[str, Any]:
        driver = self._score(tasks, workers)
        results = self._results(tasks, driver)
        summary = self._summary(tasks, driver, results, workers)
        self._check_scored(results)
        return summary

    def _score(self, tasks: Tasks, workers: Workers) -> EvaluationDriver:
        every = [task for some in tasks.values() for task in some]
        total = sum(task.rows for task in every)
        names = list(dict.fromkeys(evaluation.model.name for evaluation in tasks))
        said = "evaluate " + (", ".join(names) if len(names) <= 3 else f"{len(names)} models")
        with self.reporter.progress(said, total=total) as bar:
            driver = EvaluationDriver(
                self.workspace.store, bar, self.reporter.warn, target=title("", names)
            )
            try:
                workers.score(driver, driver.recall(every))
            except KeyboardInterrupt:
                done = sum(task.rows for task in every if task.part.key in driver.done)
                said = f"{done:,} of {total:,} images scored; the same command goes on there"
                facts = {"images_done": done, "images": total}
                raise Interrupted(f"Interrupted. {said}", facts) from None
        if driver.recalled:
            self.reporter.note(
                f"{driver.recalled} of {len(every)} parts were scored by an earlier run "
                "(--fresh scores them again)"
            )
        return driver

    def _results(self, tasks: Tasks, driver: EvaluationDriver) -> dict[Evaluation, BenchmarkResult]:
        """Of whatever is complete: a mean over what happened to work would be another benchmark."""
        known: dict[tuple[str, str], FoundLeaks] = {}
        results = {}
        for evaluation, some in tasks.items():
            if any(task.part.key in driver.failed for task in some):
                continue
            result = result_of(evaluation, some, driver.done)
            results[evaluation] = replace(result, leaks=self._leaks(evaluation, result, known))
        for doubt in dict.fromkeys(doubt for each in results.values() for doubt in doubts(each)):
            self.reporter.warn(doubt)
        return results

    def _leaks(
        self,
        evaluation: Evaluation,
        result: BenchmarkResult,
        known: dict[tuple[str, str], FoundLeaks],
    ) -> Leaks:
        """Of a search that fails, whatever the reason, only that: scores do not hang on it."""
        if self.config.leakage == "none":
            return Leaks(checked="none", why="nobody asked")
        model, source = evaluation.model, evaluation.benchmark.source
        try:
            if (model.sha256, source) not in known:
                known[model.sha256, source] = find_leaks(
                    self.workspace,
                    model=evaluation.spec.location.name or model.sha256,
                    source=source,
                    check=self.config.leakage,
                    reporter=self.reporter,
                )
            return known[model.sha256, source].among({image.sample_id for image in result.images})
        except Exception as error:
            why = f"the search failed ({type(error).__name__}: {error})"
            self.reporter.warn(f"{source}: whether {model.name} was trained on it: {why}")
            return Leaks(checked="none", why=why)

    def _summary(
        self,
        tasks: Tasks,
        driver: EvaluationDriver,
        found: dict[Evaluation, BenchmarkResult],
        workers: Workers,
    ) -> dict[str, Any]:
        scored = {each: result for each, result in found.items() if _is_scored(result)}
        results = list(scored.values())
        comparisons = compare_results(results)
        summary = summarise_results(results, comparisons)
        for result, row in zip(results, summary["results"], strict=True):
            record_result(self.workspace, result, row)
        if self.config.out is not None and results:  # or an empty page would replace an earlier one
            pictures = [self._pictures(tasks, driver, *each, workers) for each in scored.items()]
            missing = [each for each in tasks if each not in scored]
            summary["written"] = write_results(
                Path(self.config.out).expanduser(),
                results,
                comparisons,
                pictures,
                summary=summary,
                colophon=_colophon(missing),
                missing={"not_scored": [*map(_named, missing)], **_failures(driver)},
            )
        return summary | _failures(driver)

    def _pictures(
        self,
        tasks: Tasks,
        driver: EvaluationDriver,
        evaluation: Evaluation,
        result: BenchmarkResult,
        workers: Workers,
    ) -> list[ScoredPicture]:
        wanted = picture_tasks(
            result,
            model=evaluation.spec,
            scoring=evaluation.scoring,
            shard_keys={task.shard.shard_id: task.shard.key for task in tasks[evaluation]},
            count=self.config.pictures,
        )
        return workers.pictures(driver, wanted)

    def _check_scored(self, results: dict[Evaluation, BenchmarkResult]) -> None:
        for result in results.values():
            if not _is_scored(result):
                (row,) = summarise_results([result], [])["results"]
                raise JobError(
                    f"{result.source}: not one of {len(result.images)} images could be scored "
                    f"under {result.protocol.ref}: {_reasons(row['skipped'], result.left_out)}"
                )


def _colophon(missing: Sequence[Evaluation]) -> str:
    """What made a page, and what it does not have though it was asked for."""
    made = f"Pseudo-label factory {code_version()}, {readable_time(time.time())}"
    names = [f"{each.model.name} on {each.benchmark.name}" for each in missing]
    return f"{made}. Not scored, and so not here: {'; '.join(names)}" if names else made


def _named(evaluation: Evaluation) -> dict[str, Any]:
    """A model on a benchmark, as rows of results name the two."""
    rules = evaluation.benchmark.protocol
    return {
        "model": evaluation.model.name,
        "protocol": rules.name,
        "version": rules.version,
        "source": evaluation.benchmark.source,
    }


def _is_scored(result: BenchmarkResult) -> bool:
    return any(image.score.skipped is None for image in result.images)


def _reasons(skipped: Mapping[str, int], left_out: int) -> str:
    counts = dict(skipped) | ({"left out by the protocol": left_out} if left_out else {})
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())


def _failures(driver: EvaluationDriver) -> dict[str, Any]:
    """What was given up, by name; nothing where there is nothing."""
    if not driver.failed:
        return {}
    failed = [
        {
            "model": task.model.name,
            "protocol": task.scoring.protocol.ref,
            "source": task.part.source,
            "shard": task.shard.shard_id,
            "row_group": task.part.group,
            "error": error,
        }
        for task, error in driver.failed.values()
    ]
    return {"shards_failed": len({each["shard"] for each in failed}), "failed": failed}

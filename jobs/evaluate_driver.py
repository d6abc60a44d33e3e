"""The loop between an evaluation and its engines: recall, hand out, collect, give up by name.

Scores lie in the store as soon as a part is done, so there is nothing to lease: a run that was
killed is started again, finds them, and goes on; two runs of the same thing lose nothing but time.
The driver owns every retry: a part that failed three times is given up, and the others go on.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import cast

from jobs.actor_pool import ActorPool, Outcome
from jobs.console import Bar
from jobs.errors import JobError
from jobs.evaluate_actors import Work
from jobs.evaluate_engine import EvaluationEngine, EvaluationTask, PartDone
from jobs.evaluate_pictures import Pictures, PictureTask
from jobs.evaluation_result import ScoredPicture
from jobs.label_batches import done_ahead
from jobs.metrics_drivers import DriverMetrics
from model.errors import CheckpointError
from pipeline.errors import PipelineError, ShardCorruptError, StorageError, StoreFullError
from pipeline.lookahead import map_ahead
from pipeline.scores import read_scores, scores_there
from pipeline.storage import Store

AT_ONCE = 2  # parts under way in one engine
POLL_S = 0.5
WAIT_FOR_ACTORS_S = 60.0
MAX_ATTEMPTS = 3
MAX_FAILED_IN_A_ROW = 10  # then it is not the parts: the store, or the device, is away
RECALLERS = 8
# Of a part itself, as truth that cannot be compared; anything else ends the run.
SPOILT = (PipelineError, FileNotFoundError, ValueError)


@dataclass(slots=True)
class EvaluationDriver:
    """Has parts of benchmarks scored, here or on a pool.

    Args:
        warn: Told of attempts that failed.
        target: What is evaluated, for metrics.

    Attributes:
        done: By key of the part.
        recalled: How many of them an earlier run has scored.
        failed: Parts that were given up, and why.
    """

    store: Store
    bar: Bar
    warn: Callable[[str], None]
    target: str = "models"
    done: dict[str, PartDone] = field(default_factory=dict)
    recalled: int = 0
    failed: dict[str, tuple[EvaluationTask, str]] = field(default_factory=dict)
    _attempts: Counter[str] = field(default_factory=Counter)
    _failed_in_a_row: int = 0
    _metrics: DriverMetrics = field(init=False)

    def __post_init__(self) -> None:
        self._metrics = DriverMetrics.of("evaluate", self.target)

    def recall(self, tasks: Sequence[EvaluationTask]) -> list[EvaluationTask]:
        """Take what earlier runs have scored; returns the tasks that are left.

        Scores that cannot be read are made again.
        """
        kept = [task for task in tasks if task.keep and not task.replace]
        sources = {task.part.source for task in kept}
        there = {key for source in sources for key in scores_there(self.store, source)}
        old = [task for task in kept if task.part.key in there]
        read = map_ahead(self._read, old, threads=RECALLERS, ahead=4 * RECALLERS)
        for task, found in zip(old, read, strict=True):
            if isinstance(found, ShardCorruptError):
                self.warn(f"{found}; it is scored again")
                self.store.delete(task.part.key)
            elif found is not None:
                self.done[task.part.key] = found
        self.recalled = len(self.done)
        self.bar.start_at(sum(task.rows for task in tasks if task.part.key in self.done))
        return [task for task in tasks if task.part.key not in self.done]

    def run_inline(self, engine: EvaluationEngine, tasks: Sequence[EvaluationTask]) -> None:
        """Score parts in this process, two at a time; a part that is spoilt is given up at once.

        Raises:
            StorageError: The store takes no more, or cannot be reached.
        """
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="evaluate") as pool:
            outcomes = done_ahead(
                tasks,
                lambda task: _tried(engine, task, _Advance(self.bar, task)),
                pool,
                ahead=AT_ONCE,
                weigh=lambda task: 0.0,
                max_weight=1.0,
            )
            try:
                for outcome, advance in outcomes:
                    advance.to_the_end()
                    if outcome.error is None:
                        self._commit(outcome.task, outcome.result)
                    else:
                        self._give_up(outcome.task, outcome.error)
            except BaseException:  # an interrupt above all: a part may take half an hour
                engine.stop()
                raise

    def run_on(
        self,
        pool: ActorPool[Work],
        tasks: Sequence[EvaluationTask],
        *,
        why_no_actor: Callable[[], str],
    ) -> None:
        """Score parts in the actors of a pool, until all are done or given up.

        Raises:
            StorageError: The store takes no more, or cannot be reached.
            CheckpointError: A model cannot be loaded there.
            JobError: Actors cannot start, or one part after the other fails.
        """
        for task in tasks:
            pool.submit(task)
        began_s, is_said = time.monotonic(), False
        with closing(self._metrics):
            while not pool.is_idle:
                if not is_said and time.monotonic() - began_s > WAIT_FOR_ACTORS_S:
                    is_said = True
                    if pool.ready_actors == 0:
                        self.warn(why_no_actor())
                for outcome in pool.wait(POLL_S):
                    self._settle(pool, outcome)
                self._metrics.turn(pool)

    def pictures_on(
        self, pool: ActorPool[Work], tasks: Sequence[PictureTask]
    ) -> list[ScoredPicture]:
        """Pictures made by the actors of a pool; of those that fail it is told why."""
        for task in tasks:
            pool.submit(task)
        made: list[ScoredPicture] = []
        try:
            while not pool.is_idle:
                for outcome in pool.wait(POLL_S):
                    failed = Pictures([], [str(outcome.error)])
                    made += self.pictures_of(failed if outcome.error else outcome.result)
        except JobError as error:  # no actor starts
            self.warn(f"pictures are missing: {error}")
        return made

    def pictures_of(self, done: Pictures) -> list[ScoredPicture]:
        """Those that there are; a person hears of the others."""
        for why in done.missing:
            self.warn(f"a picture is missing: {why}")
        return done.made

    def _read(self, task: EvaluationTask) -> PartDone | ShardCorruptError | None:
        try:
            scores = read_scores(self.store, task.part)
            if (known := len(scores.rows) + scores.left_out) != task.rows:
                where = f"{task.part.key} in {self.store.uri}"
                raise ShardCorruptError(f"{where} has {known} of {task.rows} images")
            return PartDone(scores)
        except FileNotFoundError:  # removed meanwhile
            return None
        except ShardCorruptError as error:
            return error

    def _settle(self, pool: ActorPool[Work], outcome: Outcome[Work]) -> None:
        task = cast(EvaluationTask, outcome.task)
        if outcome.error is None:
            self.bar.advance(task.rows)
            self._commit(task, outcome.result)
        else:
            self._put_down(pool, task, outcome)

    def _commit(self, task: EvaluationTask, done: PartDone) -> None:
        self._failed_in_a_row = 0
        of = {"model": task.model.name, "source": task.part.source}
        self._metrics.record.count("factory_evaluated_images_total", task.rows, **of)
        self.done[task.part.key] = done
        self.bar.describe(f"{task.model.name} on {task.part.source}")

    def _put_down(
        self, pool: ActorPool[Work], task: EvaluationTask, outcome: Outcome[Work]
    ) -> None:
        """Try again, alone, or give up."""
        kind, error = outcome.kind or Exception, str(outcome.error)
        # A store that is away would fail all parts alike; the same command goes on when it is back.
        for ends in (StoreFullError, StorageError, CheckpointError):
            if issubclass(kind, ends):
                raise ends(error.partition(": ")[2] or error)
        self._attempts[task.part.key] += 1
        attempt = self._attempts[task.part.key]
        if attempt >= MAX_ATTEMPTS:
            self._give_up(task, error)
            return
        self.warn(
            f"{name_of(task)}: {error} (attempt {attempt} of {MAX_ATTEMPTS}; will be tried again, "
            "alone)"
        )
        pool.submit(task, alone=True)

    def _give_up(self, task: EvaluationTask, error: str) -> None:
        self.warn(f"{name_of(task)}: {error} (given up)")
        self.failed[task.part.key] = (task, error)
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= MAX_FAILED_IN_A_ROW:
            raise JobError(f"{self._failed_in_a_row} parts in a row failed, the last: {error}")


def name_of(task: EvaluationTask) -> str:
    """A part as a person finds it."""
    where = f"shard {task.shard.shard_id} of {task.part.source}, row group {task.part.group}"
    return f"{where}, by {task.model.name}"


class _Advance:
    """Advances a bar by the images of a part, and by those that were left out at its end."""

    def __init__(self, bar: Bar, task: EvaluationTask) -> None:
        self._bar = bar
        self._left = task.rows

    def __call__(self, images: int) -> None:
        self._left -= images
        self._bar.advance(images)

    def to_the_end(self) -> None:
        self(self._left)


def _tried(
    engine: EvaluationEngine, task: EvaluationTask, advance: _Advance
) -> tuple[Outcome[EvaluationTask], _Advance]:
    try:
        return Outcome(task, result=engine.score(task, advance=advance)), advance
    except StorageError:
        raise
    except SPOILT as error:
        said = f"{type(error).__name__}: {error}"
        return Outcome(task, error=said, kind=type(error)), advance

"""What the driver shows while Ray Train blocks it: read from the files that the workers write."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from jobs.console import Bar, Reporter
from jobs.run_files import RunFiles
from jobs.training_job import TrainingJob
from jobs.training_pace import in_words
from pipeline.errors import StorageError

WATCH_INTERVAL_S = 1.0
START_PATIENCE_S = 20.0  # Ray needs about ten seconds for workers that have room


@contextmanager
def watched(
    files: RunFiles, job: TrainingJob, reporter: Reporter, *, why_waiting: Callable[[], str]
) -> Iterator[None]:
    """Show how far the workers are, that they were started again, or why there are none yet."""
    done = threading.Event()

    def watch() -> None:
        with reporter.progress(f"train {job.name}", total=job.steps, unit="steps") as bar:
            watch = _Watch(files, job, reporter, bar, why_waiting)
            reporter.tell(watch.facts)
            ended = False
            while not ended:
                ended = done.wait(WATCH_INTERVAL_S)
                with suppress(StorageError, OSError):  # what cannot be read now may be later
                    watch.look()

    watcher = threading.Thread(target=watch, name="watch-training", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


@dataclass(slots=True)
class _Watch:
    """What was shown so far."""

    files: RunFiles
    job: TrainingJob
    reporter: Reporter
    bar: Bar
    why_waiting: Callable[[], str]
    _shown: int = 0
    _warned: int = 0
    _writer: dict[str, Any] = field(default_factory=dict)
    _said: str = ""
    _began_s: float = field(default_factory=time.monotonic)
    _progress: dict[str, Any] = field(default_factory=dict)
    _working_since_s: float | None = None

    def facts(self) -> dict[str, Any]:
        """How far the workers are, and since when there are any."""
        since = self._working_since_s
        working_s = 0.0 if since is None else round(time.monotonic() - since, 1)
        return {"training": self._progress, "working_s": working_s}

    def look(self) -> None:
        """Read what the workers wrote, and show what is new."""
        self._look_at_workers()
        self._pass_on_warnings()
        if not self._writer:
            return
        progress = self.files.read_json("progress.json") or {"step": 0}
        self._progress = progress
        self.bar.describe(in_words(progress))
        self.bar.advance(max(0, progress["step"] - self._shown))
        self._shown = max(self._shown, progress["step"])

    def _pass_on_warnings(self) -> None:
        for text in self.files.warnings()[self._warned :]:
            self.reporter.warn(text)
            self._warned += 1

    def _look_at_workers(self) -> None:
        writer = self.files.read_json("writer.json") or {}
        if writer.get("attempt") != self.job.attempt:
            self._say_what_is_in_the_way()
        elif writer != self._writer:
            if self._writer:
                step = writer["step"]
                self.reporter.warn(f"workers died: started again on {writer['host']}, step {step}")
            else:
                self._shown = writer["step"]
                self.bar.start_at(self._shown)
                self._working_since_s = time.monotonic()
            self._writer = writer

    def _say_what_is_in_the_way(self) -> None:
        if time.monotonic() - self._began_s < START_PATIENCE_S:
            return
        said = self.why_waiting()
        if said != self._said:
            self.reporter.note(said)
            self._said = said

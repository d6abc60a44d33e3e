"""What people read while a command works: progress, notes and warnings.

A verb is handed a `Reporter` and never prints. On a terminal, progress is a bar with rate and time
left; in a log it is a plain line every ten seconds and one at the end; a Python caller who passes
none hears nothing.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from jobs.readable import printable, readable_duration, readable_rate

LINE_INTERVAL_S = 10.0
FRAME_INTERVAL_S = 0.25


class Bar(Protocol):
    """A piece of work under way."""

    def advance(self, n: int = 1) -> None:
        """Say that ``n`` more units are done."""

    def start_at(self, n: int) -> None:
        """Say that ``n`` units were done before: they count as done, and in no rate."""

    def describe(self, text: str) -> None:
        """Say what is being done now."""


class View(Protocol):
    """A state of some work that says more than a bar can."""

    def line(self) -> str:
        """All of it in one line."""

    def block(self, *, height: int) -> RenderableType:
        """All of it on at most ``height`` lines of a terminal."""


class Screen(Protocol):
    """Where such states are shown, one after another."""

    def show(self, view: Callable[[], View]) -> None:
        """Say that there may be a new one; it is made only where it is time to show it."""


class Reporter(ABC):
    """Where a verb tells people what it is doing."""

    @abstractmethod
    def note(self, text: str) -> None:
        """Say something worth knowing."""

    @abstractmethod
    def warn(self, text: str) -> None:
        """Say something that somebody should look at."""

    @abstractmethod
    def progress(
        self, title: str, total: int | None, *, unit: str = "images"
    ) -> AbstractContextManager[Bar]:
        """Show work under way; ``total`` is None where nobody knows how much there is."""

    @abstractmethod
    def screen(self) -> AbstractContextManager[Screen]:
        """Show work under way as views; the last one stays."""

    def tell(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Name what can say numbers for those who follow from elsewhere, from another thread too.

        Whoever is here sees them in progress and screen, so that nothing is done with it.
        """
        del facts

    @staticmethod
    def silent() -> "Reporter":
        """For Python callers who want to hear nothing."""
        return SilentReporter()


class SilentReporter(Reporter):
    """Says nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def progress(self, title: str, total: int | None, *, unit: str = "images") -> Iterator[Bar]:
        """Show nothing."""
        yield _SilentBar()

    @contextmanager
    def screen(self) -> Iterator[Screen]:
        """Show nothing."""
        yield _SilentScreen()


class LineReporter(Reporter):
    """Plain lines, for logs."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock

    def note(self, text: str) -> None:
        """Write one line."""
        print(printable(text), file=self._stream, flush=True)

    def warn(self, text: str) -> None:
        """Write one line that says it is a warning."""
        self.note(f"warning: {text}")

    @contextmanager
    def progress(self, title: str, total: int | None, *, unit: str = "images") -> Iterator[Bar]:
        """Write a line every `LINE_INTERVAL_S` and one at the end, also where the work fails."""
        bar = _LineBar(self.note, self._clock, title=title, total=total, unit=unit)
        try:
            yield bar
        except BaseException:
            self.note(f"{title}: stopped after {bar.amount()}")
            raise
        self.note(f"{title}: {bar.amount()} in {bar.elapsed()}, {bar.rate()}")

    @contextmanager
    def screen(self) -> Iterator[Screen]:
        """Write a line every `LINE_INTERVAL_S` and one at the end, also where the work fails."""
        screen = _LineScreen(self.note, self._clock)
        try:
            yield screen
        finally:
            screen.show_newest()


class TerminalReporter(Reporter):
    """Live bars; notes and warnings scroll above them. Bars may be nested."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Progress | None = None

    def note(self, text: str) -> None:
        """Print above the bars."""
        self._console.print(Text(printable(text)))

    def warn(self, text: str) -> None:
        """Print above the bars, in yellow."""
        self._console.print(Text(printable(f"warning: {text}"), style="yellow"))

    @contextmanager
    def progress(self, title: str, total: int | None, *, unit: str = "images") -> Iterator[Bar]:
        """Add a bar to those that are shown; the outermost one starts and stops the display."""
        if self._live is not None:
            yield self._bar(self._live, title, total, unit)
            return
        with Progress(*_columns(), console=self._console) as self._live:
            try:
                yield self._bar(self._live, title, total, unit)
            finally:
                self._live = None

    @contextmanager
    def screen(self) -> Iterator[Screen]:
        """Draw the newest view over the one before it."""
        with Live(console=self._console, auto_refresh=False) as live:
            screen = _TerminalScreen(live)
            try:
                yield screen
            finally:
                screen.show_newest()

    @staticmethod
    def _bar(live: Progress, title: str, total: int | None, unit: str) -> "_TerminalBar":
        return _TerminalBar(live, live.add_task(printable(title), total=total, unit=unit, doing=""))


def reporter_for(stream: TextIO) -> Reporter:
    """Live bars on a terminal, plain lines anywhere else."""
    console = Console(file=stream, highlight=False)
    can_redraw = console.is_terminal and not console.is_dumb_terminal
    return TerminalReporter(console) if can_redraw else LineReporter(stream)


class _SilentBar:
    def advance(self, n: int = 1) -> None:
        """Count nothing."""

    def start_at(self, n: int) -> None:
        """Count nothing."""

    def describe(self, text: str) -> None:
        """Say nothing."""


class _SilentScreen:
    def show(self, view: Callable[[], View]) -> None:
        """Show nothing."""


class _LineScreen:
    """Writes a view when the last one is old enough."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._write, self._clock = write, clock
        self._last_line_s = clock()
        self._newest: Callable[[], View] | None = None

    def show(self, view: Callable[[], View]) -> None:
        self._newest = view
        if self._clock() - self._last_line_s >= LINE_INTERVAL_S:
            self.show_newest()

    def show_newest(self) -> None:
        self._last_line_s = self._clock()
        if self._newest is not None:
            self._write(self._newest().line())


class _TerminalScreen:
    """Draws a view when the last one is old enough."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._drawn_s = 0.0
        self._newest: Callable[[], View] | None = None

    def show(self, view: Callable[[], View]) -> None:
        self._newest = view
        if time.monotonic() - self._drawn_s >= FRAME_INTERVAL_S:
            self.show_newest()

    def show_newest(self) -> None:
        self._drawn_s = time.monotonic()
        if self._newest is not None:
            height = self._live.console.height
            self._live.update(self._newest().block(height=height), refresh=True)


class _LineBar:
    """Counts, and writes a line when the last one is old enough."""

    def __init__(
        self,
        write: Callable[[str], None],
        clock: Callable[[], float],
        *,
        title: str,
        total: int | None,
        unit: str,
    ) -> None:
        self._write, self._clock = write, clock
        self._title, self._total, self._unit = title, total, unit
        self._done = 0
        self._before = 0
        self._doing = ""
        self._started_s = self._last_line_s = clock()

    def advance(self, n: int = 1) -> None:
        self._done += n
        now_s = self._clock()
        if now_s - self._last_line_s >= LINE_INTERVAL_S:
            self._last_line_s = now_s
            self._write(self._line())

    def start_at(self, n: int) -> None:
        self._done = self._before = n
        self._started_s = self._last_line_s = self._clock()

    def describe(self, text: str) -> None:
        self._doing = text

    def amount(self) -> str:
        if self._total is None:
            return f"{self._done:,} {self._unit}"
        if self._done == self._total:
            return f"{self._done:,} {self._unit}"
        return f"{self._done:,} of {self._total:,} {self._unit}"

    def elapsed(self) -> str:
        return readable_duration(self._clock() - self._started_s)

    def rate(self) -> str:
        done = self._done - self._before
        return readable_rate(done, self._clock() - self._started_s, self._unit)

    def _line(self) -> str:
        parts = [f"{self._title}: {self.amount()}"]
        if self._total:
            parts[0] += f" ({self._done / self._total:.0%})"
        parts.append(self.rate())
        if self._total and self._before < self._done < self._total:
            per_unit_s = (self._clock() - self._started_s) / (self._done - self._before)
            parts.append(f"{readable_duration((self._total - self._done) * per_unit_s)} left")
        return ", ".join([*parts, *([self._doing] if self._doing else [])])


class _TerminalBar:
    def __init__(self, live: Progress, task: TaskID) -> None:
        self._live = live
        self._task = task

    def advance(self, n: int = 1) -> None:
        self._live.advance(self._task, n)

    def start_at(self, n: int) -> None:
        self._live.reset(self._task, completed=n)

    def describe(self, text: str) -> None:
        self._live.update(self._task, doing=printable(text))


class _AmountColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        total = "" if task.total is None else f" / {int(task.total):,}"
        return Text(f"{int(task.completed):,}{total} {task.fields['unit']}")


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.3g}/s", style="cyan")


class _DoingColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["doing"], style="dim", no_wrap=True, overflow="ellipsis")


def _columns() -> list[ProgressColumn]:
    """In a narrow window what is being done is cut short and the bar shrinks; numbers stay."""

    def whole() -> Column:
        return Column(no_wrap=True)

    return [
        SpinnerColumn(finished_text=" ", table_column=whole()),
        TextColumn("{task.description}", markup=False, table_column=whole()),
        BarColumn(bar_width=28),
        _AmountColumn(whole()),
        _RateColumn(whole()),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=whole()),
        _DoingColumn(),
    ]

"""A command at work is on record in the catalog: that it lives, what it does, and how it ended.

`factory status` reads it, on whatever machine. A command hands its reporter to `at_work` and goes
on with the one that it gets: what that hears of progress and warnings is on record too, every few
seconds, from a thread. A catalog that does not answer harms nothing here: late is no death, and who
needs the catalog says so where it does.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from jobs.console import Bar, Reporter, Screen
from jobs.driver_command import command_again
from jobs.owner import current_owner, is_dead
from pipeline.catalog import Catalog, DriverRow
from pipeline.catalog_values import storable_text
from pipeline.errors import CatalogMissingError, PipelineError

HEARTBEAT_S = 10.0
LAST_WORD_S = 10.0  # a command that has ended waits no longer for a catalog that does not answer
WARNINGS_KEPT = 5
TEXT_CHARACTERS = 500
SURELY_GONE_S = 600.0  # of silence; its leases have run out long before


@contextmanager
def at_work(
    catalog: Catalog,
    verb: str,
    target: str,
    *,
    config: Any,
    reporter: Reporter,
    heartbeat_s: float = HEARTBEAT_S,
) -> Iterator[Reporter]:
    """Be on record as working on a target; yields the reporter to go on with.

    What ends it early is on record as well: ``stopped`` by a person, or ``failed`` with the error.
    """
    record = DriverRecord(catalog, verb, target, heartbeat_s=heartbeat_s)
    command = {"command": command_again(verb, config)}
    record.tell(lambda: command)
    done = threading.Event()
    state = "done"

    def live() -> None:
        while not done.wait(heartbeat_s):
            record.beat()
        record.end(state)

    record.beat()
    thread = threading.Thread(target=live, name="driver-record", daemon=True)
    thread.start()
    try:
        yield _RecordedReporter(reporter, record)
    except KeyboardInterrupt:
        state = "stopped"
        raise
    except BaseException as error:
        state = "failed"
        failure = {"error": _cut(f"{type(error).__name__}: {error}")}
        record.tell(lambda: failure)
        raise
    finally:
        done.set()
        thread.join(LAST_WORD_S)


@dataclass(slots=True)
class DriverRecord:
    """The row of this process, and what it says next."""

    catalog: Catalog
    verb: str
    target: str
    heartbeat_s: float = HEARTBEAT_S
    clock: Callable[[], float] = time.time
    _sayers: tuple[Callable[[], Mapping[str, Any]], ...] = ()
    _warnings: tuple[tuple[float, str], ...] = ()
    _bars: tuple["_RecordedBar", ...] = ()
    _row: DriverRow | None = None
    _clock_ahead_s: float = 0.0  # the database's minus this machine's

    def tell(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Ask this too, each time; what others say under other names stays."""
        self._sayers = (*self._sayers, facts)

    def warned(self, text: str) -> None:
        """Keep a warning; only the last ones stay."""
        self._warnings = (*self._warnings, (self.clock(), _cut(text)))[-WARNINGS_KEPT:]

    def beat(self) -> None:
        """Write to the catalog that this process lives; nothing happens where that fails."""
        try:
            if self._row is None:
                self._begin()
            else:
                self.catalog.beat_driver(self._row.number, facts=self.facts())
        except CatalogMissingError:  # the catalog was made anew; the next beat begins anew
            self._row = None
        except PipelineError:  # late is no death
            return

    def end(self, state: str) -> None:
        """Write how it ended, once."""
        with suppress(PipelineError):  # then it is silent, and found out so
            if self._row is not None:
                self.catalog.end_driver(self._row.number, state=state, facts=self.facts())

    def facts(self) -> dict[str, Any]:
        """All of it, as it is now."""
        facts = {name: value for say in self._sayers for name, value in say().items()}
        if self._warnings:
            facts["warnings"] = [
                {"at": at + self._clock_ahead_s, "text": text} for at, text in self._warnings
            ]
        if self._bars:
            facts["doing"] = self._bars[-1].facts()
        return facts

    def _begin(self) -> None:
        row = self.catalog.begin_driver(
            self.verb,
            self.target,
            owner=current_owner(),
            heartbeat_s=self.heartbeat_s,
            facts=self.facts(),
        )
        self._row, self._clock_ahead_s = row, row.started_at - self.clock()
        for other in self.catalog.drivers_of([self.verb], self.target):
            unheard = other.owner == row.owner and other.number != row.number
            if other.state == "running" and (unheard or _is_gone(other, now=row.started_at)):
                self.catalog.bury_driver(other.number)

    @contextmanager
    def bar(self, bar: Bar, *, title: str, total: int | None, unit: str) -> Iterator[Bar]:
        """Keep what a bar shows; that of the outermost stays when it is over."""
        recorded = _RecordedBar(bar, title, total, unit)
        outer = self._bars if self._bars and not self._bars[0].is_over else ()
        self._bars = (*outer, recorded)
        try:
            yield recorded
        finally:
            recorded.is_over = True
            self._bars = outer or (recorded,)


@dataclass(slots=True)
class _RecordedBar:
    """Passes everything on, and can say where it stands."""

    bar: Bar
    title: str
    total: int | None
    unit: str
    done: int = 0
    is_over: bool = False

    def advance(self, n: int = 1) -> None:
        self.done += n
        self.bar.advance(n)

    def start_at(self, n: int) -> None:
        self.done = n
        self.bar.start_at(n)

    def describe(self, text: str) -> None:
        self.bar.describe(text)

    def facts(self) -> dict[str, Any]:
        return {"title": self.title, "done": self.done, "total": self.total, "unit": self.unit}


class _RecordedReporter(Reporter):
    """Passes everything on to another, and lets the record hear it."""

    def __init__(self, reporter: Reporter, record: DriverRecord) -> None:
        self._reporter, self._record = reporter, record

    def note(self, text: str) -> None:
        self._reporter.note(text)

    def warn(self, text: str) -> None:
        self._record.warned(text)
        self._reporter.warn(text)

    def tell(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        self._record.tell(facts)
        self._reporter.tell(facts)

    @contextmanager
    def progress(self, title: str, total: int | None, *, unit: str = "images") -> Iterator[Bar]:
        with (
            self._reporter.progress(title, total, unit=unit) as bar,
            self._record.bar(bar, title=title, total=total, unit=unit) as recorded,
        ):
            yield recorded

    @contextmanager
    def screen(self) -> Iterator[Screen]:
        with self._reporter.screen() as screen:
            yield screen


def _is_gone(row: DriverRow, *, now: float) -> bool:
    return is_dead(row.owner) or now - row.seen_at > SURELY_GONE_S


def _cut(text: str) -> str:
    text = storable_text(text)  # before it is cut: half a password is not known for one
    return text if len(text) <= TEXT_CHARACTERS else f"{text[: TEXT_CHARACTERS - 1]}…"

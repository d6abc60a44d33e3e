"""`factory status`: what runs now, from any machine that reaches the catalog.

Only the catalog is asked: what was committed and when, leases, and what drivers say of themselves
(`jobs.driver_record`). Nothing is made, migrated or written, and neither the store nor Ray has to
be within reach.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.completion import CATALOG_FILE
from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.readable import readable_time
from jobs.settings import value_problems
from jobs.status_config import StatusConfig
from jobs.status_labels import label_set_record
from jobs.status_pace import HOUR_S
from jobs.status_runs import (
    TRAINING_VERBS,
    driver_record,
    evaluation_record,
    ingest_record,
    training_record,
)
from jobs.status_trouble import (
    ERRORS_SHOWN,
    error_records,
    place_flags,
    waiting_labels,
    waiting_run,
)
from pipeline.catalog import Catalog, DriverRow, IngestRow, RunRow
from pipeline.catalog_reading import catalog_to_read
from pipeline.errors import CatalogMissingError, StorageError
from pipeline.filesystems import is_local, local_file

Record = dict[str, Any]
SHOWN_S = HOUR_S  # what ended is shown for so long
REMEMBERED_S = 7 * 24 * HOUR_S  # what died or was given up, and waits


def status(config: StatusConfig, *, reporter: Reporter | None = None) -> Record:
    """How things stand.

    Returns:
        ``catalog``, ``at`` (UTC, by the clock of the database) and lists of records:
        ``label_sets``, ``ingests``, ``trainings``, ``evaluations``, ``drivers``, ``waiting``
        (with the ``command`` that goes on) and ``errors``, the newest first.

    Raises:
        ConfigError: There is no such store, or a value is wrong.
        CatalogMissingError: There is no catalog, or nothing has one of these names.
        CatalogVersionError: Another version wrote the catalog.
    """
    _check(config)
    with _opened(config) as catalog:
        return _look(config, catalog)


def watch(config: StatusConfig, *, reporter: Reporter | None = None) -> Iterator[Record]:
    """The same again and again; a catalog that does not answer is asked again, and that is said.

    Raises:
        ConfigError: And the others, as `status` does, at the first look.
    """
    reporter = reporter or Reporter.silent()
    _check(config)
    with _opened(config) as catalog:
        while True:
            try:
                yield _look(config, catalog)
            except StorageError as error:
                reporter.warn(f"{error}; asking again every {config.interval_s:g} s")
            time.sleep(config.interval_s)


def _check(config: StatusConfig) -> None:
    if problems := value_problems(config):
        raise ConfigError(problems)


@contextmanager
def _opened(config: StatusConfig) -> Iterator[Catalog]:
    with ExitStack() as stack:
        try:
            url = config.catalog or _default_catalog(config.store)
            catalog = stack.enter_context(catalog_to_read(url))
        except (ValueError, CatalogMissingError) as error:
            raise ConfigError([f"--catalog: {error}"]) from error
        yield catalog


def _default_catalog(store: str) -> str:
    if not is_local(store):
        raise ConfigError([f"--catalog is needed with the remote store {store}: name its database"])
    file = Path(local_file(store)).resolve() / CATALOG_FILE
    if not file.is_file():
        problem = f"there is no store at {file.parent}: check --store, or ingest something first"
        raise ConfigError([problem])
    return f"sqlite:///{file}"


def _look(config: StatusConfig, catalog: Catalog) -> Record:
    return _Look(config, catalog, now=catalog.now()).summary()


@dataclass(slots=True)
class _Look:
    """One look at the catalog.

    Attributes:
        drivers: Those that were heard of within `REMEMBERED_S`, oldest first.
        names: Asked for; empty for all.
    """

    config: StatusConfig
    catalog: Catalog
    now: float
    drivers: list[DriverRow] = field(init=False)
    names: frozenset[str] = field(init=False)
    waiting: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.drivers = self.catalog.recent_drivers(within_s=REMEMBERED_S)
        self.names = frozenset(self.config.names)

    def summary(self) -> Record:
        runs = self.catalog.runs()
        ingests = self.catalog.newest_ingests()
        self._check_names(runs, ingests)
        label_sets = self._label_sets()
        return {
            "catalog": self.catalog.name,
            "at": readable_time(self.now),
            "label_sets": label_sets,
            "ingests": self._ingests(ingests),
            "trainings": self._trainings(runs),
            "evaluations": [
                evaluation_record(row, now=self.now) for row in self._shown(["evaluate"])
            ],
            "drivers": [driver_record(row, now=self.now) for row in self._shown(None)],
            "waiting": self.waiting,
            "errors": self._errors([each["label_set"] for each in label_sets]),
        }

    def _check_names(self, runs: Sequence[RunRow], ingests: Sequence[IngestRow]) -> None:
        known = {*self.catalog.teachers_of_label_sets(), *(row.source for row in ingests)}
        known |= {name for row in runs for name in (row.name, row.run_id)}
        known |= {row.target for row in self.drivers}
        for name in self.config.names:
            if name not in known:
                msg = f"no label set, source or training run is named {name!r}"
                raise CatalogMissingError(msg)

    def _is_asked_for(self, *names: str) -> bool:
        return not self.names or not self.names.isdisjoint(names)

    def _newest(self, verbs: Sequence[str], target: str) -> DriverRow | None:
        found = [row for row in self.drivers if row.verb in verbs and row.target == target]
        return found[-1] if found else None

    def _label_sets(self) -> list[Record]:
        teachers = self.catalog.teachers_of_label_sets()
        over = self.catalog.label_sets_over(list(self.names)) if self.names else []
        if self.names:
            asked = [name for name in teachers if name in self.names or name in over]
        else:
            lately = {row.target for row in self._shown(["label"])}
            open_ones = {*self.catalog.unfinished_label_sets(), *lately}
            asked = [name for name in teachers if name in open_ones]
        place = place_flags(self.config)
        records = []
        for name in asked:
            some = None if name in self.names or not self.names else sorted(self.names)
            record = label_set_record(
                self.catalog,
                name,
                teacher=teachers[name],
                now=self.now,
                sources=some,
                per_gpu_hour=self.config.cost_per_gpu_hour,
            )
            driver = self._newest(["label"], name)
            self.waiting += waiting_labels(record, driver, place, now=self.now)
            records.append(record)
        return records

    def _ingests(self, ingests: Sequence[IngestRow]) -> list[Record]:
        records = []
        for run in ingests:
            driver = self._newest(["ingest"], run.source)
            if driver is not None and driver.started_at < run.started_at - 60:
                driver = None  # of an earlier run
            if not self._is_asked_for(run.source) or not self._is_current(run):
                continue
            record = ingest_record(self.catalog, run, driver, now=self.now)
            what = f"ingest of {run.source}"
            if driver is not None or run.lease_until < self.now:
                self.waiting += waiting_run(what, record["state"], driver, place_flags(self.config))
            records.append(record)
        return records

    def _trainings(self, runs: Sequence[RunRow]) -> list[Record]:
        newest = {run.name: run for run in runs}
        records = []
        for run in newest.values():
            if not self._is_asked_for(run.name, run.run_id) or not self._is_current(run):
                continue
            drivers = self.catalog.drivers_of(TRAINING_VERBS, run.name)
            record = training_record(
                run, drivers, now=self.now, per_gpu_hour=self.config.cost_per_gpu_hour
            )
            driver = drivers[-1] if drivers else None
            what = f"training of {run.name}"
            self.waiting += waiting_run(what, record["state"], driver, place_flags(self.config))
            records.append(record)
        return records

    def _is_current(self, run: IngestRow | RunRow) -> bool:
        """Whether it runs, has ended just now, or has not reached its end and nobody forgot it."""
        if self.names or run.state == "running":
            return True
        ended_s_ago = self.now - (run.finished_at or run.started_at)
        return ended_s_ago < (SHOWN_S if run.state == "done" else REMEMBERED_S)

    def _shown(self, verbs: Sequence[str] | None) -> list[DriverRow]:
        """Drivers that are there, or died without a word, or ended a moment ago."""
        return [
            row
            for row in self.drivers
            if (verbs is None or row.verb in verbs)
            and self._is_asked_for(row.target)
            and (row.ended_at is None or self.now - row.ended_at < SHOWN_S)
        ]

    def _errors(self, label_sets: Sequence[str]) -> list[Record]:
        """Of a database with a long past, only what is new or of what is shown."""
        asked = list(label_sets) if self.names else None
        failed = self.catalog.newest_errors(limit=ERRORS_SHOWN, label_sets=asked)
        drivers = [row for row in self.drivers if self._is_asked_for(row.target)]
        return error_records(failed, drivers, now=self.now)

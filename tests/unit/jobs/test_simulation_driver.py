"""The simulated driver against the real one, on a real catalog, over the same simulated machines.

Time is virtual for both: `time` in the driver's module is the simulation's clock, and each question
to the catalog takes as long as the simulation says. So what they ask must agree to the last
question, and the time they take to the rounding of a float.
"""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import driver_record, label_driver, label_standing
from jobs.console import Reporter
from jobs.label_driver import LabelDriver
from jobs.label_engine import LabelTask
from jobs.simulation_catalog import Lease, SimulatedCatalog
from jobs.simulation_chance import Chance, Troubles, poison, shard_seconds
from jobs.simulation_cluster import (
    ControlPlane,
    Failures,
    Outages,
    SimulatedCluster,
    Spot,
    Stragglers,
)
from jobs.simulation_driver import (
    ASK_INTERVAL_S,
    HEARTBEAT_S,
    MAX_ATTEMPTS,
    POLL_S,
    DriverStopped,
    SimulatedDriver,
)
from jobs.simulation_ledger import Clock, Ledger
from jobs.simulation_pool import SimulatedPool
from pipeline.catalog import Catalog
from pipeline.errors import StorageError
from pipeline.records import LabelManifest
from tests.catalog_factories import fill_source, open_label_set, sha256

COUNTS = {"progress", "progress_by_source"}
WRITES = {"lease": "lease", "commit_label_shard": "commit", "charge": "charge", "renew": "renew"}
WRITES |= {name: name for name in ("release", "release_owner", "live_owners")}
CONTROL = ControlPlane(catalog_write_s=1 / 64, catalog_count_s=1 / 4, driver_shard_s=0.0)
CALM: dict[str, Any] = {
    "shards": 60,
    "gpus": 6,
    "gpus_per_node": 2,
    "images_per_s": 2.0,
    "images_per_shard": 10,
    "shard_spread": 0.5,
    "actor_start_s": 4.0,
    "actor_start_spread": 0.5,
    "first_batch_s": 0.5,
    "last_batch_s": 0.25,
    "store_retry_s": 2.0,
    "control": CONTROL,
}


class TimedCatalog:
    """A catalog that takes virtual time, and is away when the simulated one is."""

    def __init__(self, catalog: Catalog, clock: Clock, outages: Troubles) -> None:
        self._catalog, self._clock, self._outages = catalog, clock, outages
        self.asked: Counter[str] = Counter()
        self.renewed: list[int] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._catalog, name)

        def ask(*arguments: Any, **options: Any) -> Any:
            seconds = CONTROL.catalog_count_s if name in COUNTS else CONTROL.catalog_write_s
            self._clock.now_s += seconds
            if self._outages.until(self._clock.now_s) is not None:
                self.asked["unanswered"] += 1
                raise StorageError("away")
            answer = method(*arguments, **options)
            self.asked[WRITES.get(name, name)] += 1
            if name == "renew":
                self.renewed.append(answer)
            return answer

        return ask


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """An empty catalog."""
    shutil.copy(sqlite_template, tmp_path / "catalog.sqlite")
    return f"sqlite:///{tmp_path / 'catalog.sqlite'}"


def manifest_of(task: LabelTask) -> LabelManifest:
    key = f"labels/set/{task.shard.shard_id}/{task.attempt}.parquet"
    rows = task.shard.rows
    return LabelManifest("set", task.shard.shard_id, key, sha256(key), 500, rows, rows)


def outages_of(cluster: SimulatedCluster) -> Troubles:
    return Troubles(cluster.catalog_outages, Chance(cluster.seed, 99))


def simulated(cluster: SimulatedCluster) -> tuple[Counter[str], list[int], float, set[int]]:
    """What the simulated driver asked, rows per renewal, when it ended, and what failed."""
    clock, ledger, catalog = Clock(), Ledger(), SimulatedCatalog(cluster.shards)
    seconds, poisonous = shard_seconds(cluster), poison(cluster)
    pool: SimulatedPool[Lease] = SimulatedPool(
        cluster,
        clock,
        ledger,
        seconds=lambda lease: seconds[lease.shard],
        is_poison=lambda lease: lease.shard in poisonous,
        result=lambda lease: lease.shard,
    )
    pool.open()
    driver = SimulatedDriver(cluster, clock, ledger, catalog, pool, outages_of(cluster), 0)
    try:
        driver.run()
    except DriverStopped as stopped:
        ledger.operations[str(stopped)] = [clock.now_s]
    asked = Counter({what: len(times) for what, times in ledger.operations.items()})
    return asked, ledger.renewed, clock.now_s, catalog.failed


def real(
    cluster: SimulatedCluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[Counter[str], list[int], float, set[int]]:
    """The same of the driver that is used."""
    clock, ledger = Clock(), Ledger()
    seconds, poisonous = shard_seconds(cluster), poison(cluster)
    with Catalog.open(url) as catalog:
        number = {
            shard.shard_id: place
            for place, shard in enumerate(fill_source(catalog, "photos", cluster.shards))
        }
        open_label_set(catalog, "set")
        catalog.plan_work("set", ["photos"])
        pool: SimulatedPool[LabelTask] = SimulatedPool(
            cluster,
            clock,
            ledger,
            seconds=lambda task: seconds[number[task.shard.shard_id]],
            is_poison=lambda task: number[task.shard.shard_id] in poisonous,
            result=manifest_of,
        )
        timed = TimedCatalog(catalog, clock, outages_of(cluster))
        monkeypatch.setattr(label_driver, "time", clock)
        driver = LabelDriver(
            catalog=timed,  # type: ignore[arg-type]
            label_set="set",
            sources=["photos"],
            pool=pool,  # type: ignore[arg-type]
            lease_s=cluster.control.lease_s,
            reporter=Reporter.silent(),
            patience_s=cluster.control.catalog_patience_s,
        )
        driver._standing.clock = driver._patience.clock = driver.tally.clock = clock.monotonic
        driver._patience.sleep = lambda seconds: setattr(clock, "now_s", clock.now_s + seconds)
        driver._renewed_s = -cluster.control.lease_s  # the first heartbeat is due at once
        pool.open()
        try:
            driver.run()
        except StorageError as error:
            timed.asked[str(error).partition(" (")[0]] += 1
        failed = {number[shard] for shard, _ in catalog.failed_work("set")}
    return timed.asked, timed.renewed, clock.now_s, failed


@pytest.mark.parametrize(
    ("sign", "trouble"),
    [
        ("lease", {}),
        ("lease", {"stragglers": Stragglers(share=0.5, factor=4.0, spells_per_hour=60.0)}),
        ("charge", {"failures": Failures(process_deaths_per_hour=60.0, poison_shards=2)}),
        ("charge", {"spot": Spot(losses_per_hour=90.0, replacement_s=20.0), "actor_start_s": 1.0}),
        ("release", {"spot": Spot(losses_per_hour=90.0, replacement_s=20.0, notice_s=3.0)}),
        ("charge", {"spot": Spot(droughts_per_hour=180.0, drought_s=30.0, drought_share=0.0)}),
        ("release", {"store_outages": Outages(at_s=((9.0, 19.0), (30.0, 31.0), (40.0, 47.0)))}),
        ("unanswered", {"catalog_outages": Outages(at_s=((9.0, 19.0), (30.0, 95.0)))}),
    ],
    ids=["calm", "stragglers", "deaths", "spot", "notice", "drought", "store", "catalog"],
)
def test_the_simulated_driver_asks_what_the_real_one_asks(
    sign: str, trouble: dict[str, Any], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = SimulatedCluster(**CALM | trouble)
    theirs, their_rows, their_end_s, their_failed = real(cluster, sqlite_url, monkeypatch)
    ours, our_rows, our_end_s, our_failed = simulated(cluster)
    assert theirs[sign] > 0, "nothing happened of what was to be tried"
    del theirs["unanswered"]
    assert ours == theirs
    assert our_rows == their_rows
    assert our_end_s == pytest.approx(their_end_s)
    assert our_failed == their_failed
    assert ours["commit"] == cluster.shards - len(our_failed)


def test_a_catalog_that_stays_away_stops_both(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = SimulatedCluster(**CALM, catalog_outages=Outages(at_s=((20.0, 1e6),)))
    theirs, _, their_end_s, _ = real(cluster, sqlite_url, monkeypatch)
    ours, _, our_end_s, _ = simulated(cluster)
    assert theirs.pop("unanswered") > 10
    assert ours.pop("the catalog did not answer") == theirs.pop("away") == 1
    assert ours == theirs
    assert our_end_s == pytest.approx(their_end_s, abs=2 * CONTROL.catalog_write_s)


def test_what_is_written_down_twice_agrees() -> None:
    """The simulation must not load torch and the database for three numbers."""
    assert MAX_ATTEMPTS == label_driver.MAX_ATTEMPTS
    assert POLL_S == label_driver.POLL_S
    assert ASK_INTERVAL_S == label_standing.ASK_INTERVAL_S
    assert HEARTBEAT_S == driver_record.HEARTBEAT_S

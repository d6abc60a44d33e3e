"""What labelling on a cluster takes where things go wrong: simulated event by event.

The protocol is the one that is built: a driver that leases, hands out, commits and renews, and a
pool of actors that come and go. What is simulated are the machines under it. No Ray, no network
and no pixels: 62,300 shards on 64 GPUs take about a second.

What a run computes is conserved (every GPU second is useful, wasted, idle or without an actor), and
every shard is committed once or failed by name; both are checked at the end of every simulation.
"""

from jobs.simulation_catalog import Lease, SimulatedCatalog
from jobs.simulation_chance import HOUR_S, Chance, Troubles, poison, shard_seconds
from jobs.simulation_cluster import SimulatedCluster
from jobs.simulation_driver import HEARTBEAT_S, DriverDied, DriverStopped, SimulatedDriver
from jobs.simulation_ledger import (
    Clock,
    Ledger,
    busiest,
    catalog_load,
    read_per_second,
    total,
    written_per_second,
)
from jobs.simulation_pool import SimulatedPool
from jobs.simulation_run import SimulatedRun

DRIVERS, CATALOG = 30, 31  # purposes of chance
MOST_DRIVERS = 1000  # a run that needs more of them does not get on
MB = 1e6

__all__ = ["SimulatedCluster", "SimulatedRun", "simulate"]


def simulate(cluster: SimulatedCluster) -> SimulatedRun:
    """Let a cluster label everything; the driver is started again whenever it ends too early.

    Raises:
        AssertionError: Something was lost or counted twice: the simulation is wrong.
    """
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
    is_finished = _drive(cluster, clock, ledger, catalog, pool)
    pool.end_of_run()
    catalog.check()
    return _added_up(cluster, ledger, catalog, wall_s=clock.now_s, is_finished=is_finished)


def _drive(
    cluster: SimulatedCluster,
    clock: Clock,
    ledger: Ledger,
    catalog: SimulatedCatalog,
    pool: SimulatedPool[Lease],
) -> bool:
    """One driver after another; whether the work was done in the end."""
    deaths = Chance(cluster.seed, DRIVERS)
    outages = Troubles(cluster.catalog_outages, Chance(cluster.seed, CATALOG))
    for number in range(MOST_DRIVERS):
        began_s = clock.now_s
        dies_s = began_s + deaths.gap_s(cluster.failures.driver_deaths_per_hour)
        pool.open()
        driver = SimulatedDriver(
            cluster, clock, ledger, catalog, pool, outages, number, dies_s=dies_s
        )
        try:
            driver.run()
            return True
        except DriverStopped as stopped:
            ledger.stopped[str(stopped)] += 1
        except DriverDied:
            ledger.stopped["the driver died"] += 1
        finally:
            pool.close("driver")
            ledger.driven_s += clock.now_s - began_s
            ledger.beats(began_s, clock.now_s, every_s=HEARTBEAT_S)
        clock.now_s += cluster.failures.driver_restart_s
    return False


def _added_up(
    cluster: SimulatedCluster,
    ledger: Ledger,
    catalog: SimulatedCatalog,
    *,
    wall_s: float,
    is_finished: bool,
) -> SimulatedRun:
    paid_s, manned_s, idle_s = total(ledger.paid), total(ledger.manned), total(ledger.idle)
    wasted_s = sum(ledger.wasted.values())
    computed_s = ledger.useful_s + wasted_s
    assert abs(manned_s - computed_s - idle_s) <= 1e-6 * paid_s, "GPU time is lost or made up"
    assert manned_s <= paid_s * (1 + 1e-9), "an actor was where no GPU was"
    tail_from_s = wall_s if ledger.nothing_left_s is None else ledger.nothing_left_s
    tail_s = total(ledger.manned, since_s=tail_from_s)
    read_mb = cluster.images_per_shard * cluster.image_bytes / MB
    written_mb = cluster.images_per_shard * cluster.label_bytes / MB
    read = read_per_second(ledger, wall_s=wall_s)
    written = written_per_second(ledger, wall_s=wall_s)
    return SimulatedRun(
        finished=is_finished,
        wall_hours=wall_s / HOUR_S,
        gpu_hours=paid_s / HOUR_S,
        gpu_hours_useful=ledger.useful_s / HOUR_S,
        gpu_hours_wasted={cause: s / HOUR_S for cause, s in sorted(ledger.wasted.items())},
        gpu_hours_idle=idle_s / HOUR_S,
        gpu_hours_without_actor=(paid_s - manned_s) / HOUR_S,
        tail_hours=(wall_s - tail_from_s) / HOUR_S,
        tail_idle_share=total(ledger.idle, since_s=tail_from_s) / tail_s if tail_s else 0.0,
        shards_done=catalog.done,
        shards_failed=len(catalog.failed),
        attempts=catalog.leases_per_shard(),
        actors_lost={cause: n for cause, n in sorted(ledger.actors_lost.items()) if n},
        stopped=dict(ledger.stopped),
        driver_busy_share=1 - ledger.waited_s / ledger.driven_s,
        catalog=catalog_load(ledger, wall_s=wall_s),
        read_mb_per_s=read_mb * len(ledger.reads) / wall_s,
        read_mb_per_s_peak=read_mb * busiest(read),
        written_mb_per_s=written_mb * len(ledger.writes) / wall_s,
        written_mb_per_s_peak=written_mb * busiest(written),
        objects_put=len(ledger.writes),
        orphans=len(ledger.writes) - ledger.commits,
    )

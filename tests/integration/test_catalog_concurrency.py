"""Real processes on one catalog: each shard exactly once, and one schema however many open it."""

import json
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import event

from pipeline.catalog import Catalog
from pipeline.errors import (
    CatalogConflictError,
    CatalogMissingError,
    LeaseLostError,
    WithdrawnError,
)
from tests.catalog_factories import (
    begin_ingest,
    expire_leases,
    fill_source,
    image_shard,
    manifest,
    open_label_set,
)

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 8

# A driver: leases a few, forgets some (as if it had died with them), commits the others.
DRIVER = """
import json, random, sys
from pipeline.catalog import Catalog
from tests.catalog_factories import manifest
url, owner = sys.argv[1:]
chance = random.Random(owner)
committed = []
print("ready", flush=True)
sys.stdin.readline()
with Catalog.open(url) as catalog:
    while True:
        leases = catalog.lease("v1", owner=owner, limit=3, ttl_s=60.0)
        for lease in leases:
            fate = chance.random()
            if fate < 0.1:
                catalog.release(lease)
            elif fate < 0.2:
                catalog.charge(lease, "killed", max_attempts=1000)
            else:
                catalog.commit_label_shard(lease, manifest(lease, blank=1))
                committed.append(lease.shard.shard_id)
        catalog.renew("v1", owner=owner, ttl_s=60.0)
        if not leases:
            break
print(json.dumps(committed))
"""

# The first opening of a catalog, and a source that all of them register.
OPENER = """
import sys
from pipeline.catalog import Catalog
print("ready", flush=True)
sys.stdin.readline()
with Catalog.open(sys.argv[1]) as catalog:
    catalog.register_source("street", role="unlabelled", uri="/x", layout="images", licence="MIT")
"""


def run_together(script, url, count):
    """Start processes, let all go at once when they have imported what they need."""
    command = [sys.executable, "-W", "error", "-c", script, url]
    running = [
        subprocess.Popen(
            [*command, *([] if script is OPENER else [f"driver:{number}"])],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for process in running:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=120) for process in running]
    assert [
        (process.returncode, err) for process, (_, err) in zip(running, answers, strict=True)
    ] == [(0, "")] * count
    return [out for out, _ in answers]


def test_eight_processes_label_each_shard_exactly_once(catalog_url):
    with Catalog.open(catalog_url) as catalog:
        shards = fill_source(catalog, "street", 120)
        open_label_set(catalog, "v1")
        catalog.plan_work("v1", ["street"])
        answers = run_together(DRIVER, catalog_url, PROCESSES)
        # What one released in the last moment may be left over when the others have ended.
        for lease in catalog.lease("v1", owner="last", limit=120, ttl_s=60.0):
            catalog.commit_label_shard(lease, manifest(lease, blank=1))
            answers.append(json.dumps([lease.shard.shard_id]))
        committed = Counter(shard for answer in answers for shard in json.loads(answer))
        assert committed == Counter(shard.shard_id for shard in shards)
        assert [row.shard for row in catalog.label_shards("v1")] == shards
        progress = catalog.progress("v1")
        assert (progress.done, progress.pending, progress.leased) == (120, 0, 0)
        assert (progress.labelled, progress.quarantined) == (1080, {"blank": 120})


def test_several_processes_may_open_a_new_catalog_at_once(database_url):
    run_together(OPENER, database_url, 4)
    with Catalog.open(database_url) as catalog:
        assert [(source.name, source.licence) for source in catalog.sources()] == [
            ("street", "MIT")
        ]


def at_once(*calls):
    """Run calls in threads that begin together; the result or the error of each."""
    barrier = threading.Barrier(len(calls))
    results = [None] * len(calls)

    def run(number):
        barrier.wait()
        try:
            results[number] = calls[number]()
        except (CatalogConflictError, LeaseLostError) as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_two_that_begin_to_ingest_one_wins(catalog_url):
    with Catalog.open(catalog_url) as catalog:
        catalog.register_source("street", role="unlabelled", uri="/x", layout="images")
        for _ in range(5):
            begin = partial(begin_ingest, catalog, "street")
            results = at_once(*(partial(begin, owner=owner) for owner in "abcd"))
            losers = [result for result in results if isinstance(result, CatalogConflictError)]
            assert len(losers) == 3
            assert all("is ingesting into" in str(loser) for loser in losers)
            (winner,) = [result for result in results if result not in losers]
            catalog.finish_ingest(winner, {})


def inherit(catalog, zombie):
    for lease in catalog.lease("v1", owner="heir", limit=9, ttl_s=60.0):
        if lease.shard == zombie.shard:
            catalog.commit_label_shard(lease, manifest(lease))
        else:
            catalog.release(lease)


def test_of_a_zombie_and_its_heir_one_commits(catalog_url):
    with Catalog.open(catalog_url) as catalog:
        fill_source(catalog, "street", 6)
        open_label_set(catalog, "v1")
        catalog.plan_work("v1", ["street"])
        for _ in range(6):
            (zombie,) = catalog.lease("v1", owner="zombie", limit=1, ttl_s=60.0)
            expire_leases(catalog, "zombie")

            late, _ = at_once(
                partial(catalog.commit_label_shard, zombie, manifest(zombie)),
                partial(inherit, catalog, zombie),
            )
            (row,) = [x for x in catalog.label_shards("v1") if x.shard == zombie.shard]
            winner = "zombie" if late is None else "heir"
            assert row.key.endswith(f"{winner}.parquet")
        assert len(catalog.label_shards("v1")) == 6


def test_planners_who_meet_share_the_work(catalog_url):
    with Catalog.open(catalog_url) as catalog:
        fill_source(catalog, "street", 100)
        for number in range(5):
            open_label_set(catalog, f"v{number}")
            plan = partial(catalog.plan_work, f"v{number}", ["street"])
            assert sorted(at_once(*[plan] * 4)) == [0, 0, 0, 100]


def test_renewers_and_undertakers_of_one_owner_come_to_an_end(catalog_url):
    with Catalog.open(catalog_url) as catalog:
        fill_source(catalog, "street", 40)
        open_label_set(catalog, "v1")
        catalog.plan_work("v1", ["street"])

        def repeat(action):
            return lambda: [action() for _ in range(8)]

        leased, renewed, released = at_once(
            repeat(lambda: catalog.lease("v1", owner="a", limit=30, ttl_s=60.0)),
            repeat(lambda: catalog.renew("v1", owner="a", ttl_s=60.0)),
            repeat(lambda: catalog.release_owner("v1", "a")),
        )
        held = sum(map(len, leased)) - sum(released)
        assert catalog.progress("v1").leased == held
        assert all(0 <= count <= 40 for count in renewed)


def test_the_same_things_registered_at_once_are_there_once(catalog_url):
    with Catalog.open(catalog_url) as catalog:
        fill_source(catalog, "street", 50)
        lease = begin_ingest(catalog, "street")
        shard = image_shard("street", 99)
        commit = partial(catalog.commit_image_shard, lease, shard, dropped={"tiny": 1})
        assert sorted(at_once(*[commit] * 4)) == [False, False, False, True]
        pin = partial(catalog.pin_snapshot, labelled=["street"], pseudo=[])
        assert len({snapshot.snapshot_id for snapshot in at_once(*[pin] * 4)}) == 1
        opened = at_once(*[lambda: open_label_set(catalog, "v1")] * 4)
        assert opened == [catalog.label_set("v1")] * 4
        assert catalog.source("street").dropped == {"tiny": 1}


def withdraw_each(catalog, shards):
    lease = begin_ingest(catalog, "street")
    for number, shard in enumerate(shards):
        left = image_shard("street", 100 + number, rows=9)
        facts = {"key": f"k{number}", "samples": 1, "reason": "asked", "ttl_s": 60.0}
        catalog.withdraw_shard(lease, shard.shard_id, replacement=left, **facts)


def label_what_there_is(catalog, label_set, *, rounds):
    open_label_set(catalog, label_set)
    for _ in range(rounds):
        catalog.plan_work(label_set, ["street"])
        for lease in catalog.lease(label_set, owner=label_set, limit=3, ttl_s=60.0):
            with suppress(LeaseLostError):
                catalog.commit_label_shard(lease, manifest(lease))


def pin_what_there_is(catalog, *, rounds):
    for _ in range(rounds):
        with suppress(CatalogMissingError):
            catalog.pin_snapshot(labelled=["street"], pseudo=["v0"])


def test_nothing_is_labelled_that_is_withdrawn_meanwhile(catalog_url):
    with Catalog.open(catalog_url) as catalog:
        shards = fill_source(catalog, "street", 30)
        at_once(
            partial(withdraw_each, catalog, shards),
            *(partial(label_what_there_is, catalog, f"v{n}", rounds=10) for n in range(3)),
            partial(pin_what_there_is, catalog, rounds=5),
        )
        gone = {shard.shard_id for shard in shards}
        assert gone.isdisjoint(shard.shard_id for shard in catalog.image_shards("street"))
        for label_set in ("v0", "v1", "v2"):
            label_what_there_is(catalog, label_set, rounds=10)
            labelled = [row.shard.shard_id for row in catalog.label_shards(label_set)]
            assert gone.isdisjoint(labelled) and len(labelled) == 30


def test_a_label_set_that_is_opened_while_a_shard_is_withdrawn_does_not_get_it(catalog_url):
    """The withdrawal has looked which label sets there are, and is not committed yet."""
    with Catalog.open(catalog_url) as catalog:
        shard, _ = fill_source(catalog, "street", 2)
        lease = begin_ingest(catalog, "street")
        planner = threading.Thread(target=partial(label_what_there_is, catalog, "new", rounds=1))

        def after(connection, cursor, statement, *rest):
            if "FROM label_sets" in statement and not planner.ident:
                planner.start()
                planner.join(timeout=1.0)

        event.listen(catalog._reader, "after_cursor_execute", after)
        facts = {"key": "k", "samples": 1, "reason": "asked", "ttl_s": 60.0}
        catalog.withdraw_shard(lease, shard.shard_id, replacement=None, **facts)
        planner.join()
        assert shard.shard_id not in {row.shard.shard_id for row in catalog.label_shards("new")}
        assert len(catalog.label_shards("new")) == 1


def test_an_ingest_that_begins_while_its_source_is_withdrawn_does_not(catalog_url):
    with Catalog.open(catalog_url) as catalog:
        fill_source(catalog, "street", 1)

        def withdraw_all():
            lease = begin_ingest(catalog, "street", owner="other")
            catalog.withdraw_source(lease, reason="asked", ttl_s=60.0)
            catalog.finish_ingest(lease, {})

        withdrawer = threading.Thread(target=withdraw_all)

        def before(connection, cursor, statement, *rest):
            # The first thing that another transaction can get in between.
            if "FOR NO KEY UPDATE" in statement and not withdrawer.ident:
                withdrawer.start()
                withdrawer.join()

        event.listen(catalog._reader, "before_cursor_execute", before)
        if catalog_url.startswith("sqlite"):  # which lets nobody in between
            withdraw_all()
        with pytest.raises(WithdrawnError, match="asked"):
            begin_ingest(catalog, "street")

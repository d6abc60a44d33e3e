"""Any sequence of what drivers do to a label set, against a model in plain Python."""

from dataclasses import dataclass
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from pipeline.catalog import Amount, Catalog
from pipeline.errors import LeaseLostError
from tests.catalog_factories import (
    begin_ingest,
    expire_leases,
    image_shard,
    manifest,
    open_label_set,
)

OWNERS = ("here:1", "there:7", "far:9")


@dataclass
class Row:
    """What one shard should look like in the catalog."""

    state: str = "pending"
    epoch: int = 0
    attempts: int = 0
    owner: str | None = None
    expired: bool = False
    labelled_by: tuple[str, int] | None = None

    @property
    def can_be_tried_again(self):
        has_quarantined = self.labelled_by is not None and self.labelled_by[1] > 0
        return has_quarantined and self.state in ("done", "failed")

    def is_held_by(self, lease):
        return (self.state, self.owner, self.epoch) == ("leased", lease.owner, lease.epoch)


class LeaseMachine(RuleBasedStateMachine):
    """Drivers that lease, commit, fail, die, come back late, beside sources that grow.

    The expected state is a dict of rows, changed by the rules of the design, in plain Python.
    """

    catalog: Catalog
    leases = Bundle("leases")

    @initialize()
    def begin(self):
        self.name = f"x{uuid4().hex[:12]}"  # several examples share a database
        self.rows: dict[str, Row] = {}
        self.catalog.register_source(self.name, role="unlabelled", uri="/x", layout="images")
        self.ingest = begin_ingest(self.catalog, self.name)
        open_label_set(self.catalog, self.name)

    @rule(count=st.integers(1, 3))
    def grow(self, count):
        for _ in range(count):
            shard = image_shard(self.name, len(self.rows))
            self.catalog.commit_image_shard(self.ingest, shard, dropped={})
            self.rows[shard.shard_id] = Row()
        assert self.catalog.plan_work(self.name, [self.name]) == count
        assert self.catalog.plan_work(self.name, [self.name]) == 0

    @rule(target=leases, owner=st.sampled_from(OWNERS), limit=st.integers(1, 4))
    def lease(self, owner, limit):
        pending = [shard for shard, row in self.rows.items() if row.state == "pending"]
        expired = [
            shard for shard, row in self.rows.items() if row.state == "leased" and row.expired
        ]
        in_turn = [sorted(free, key=lambda x: self.rows[x].attempts) for free in (pending, expired)]
        expected = [*in_turn[0], *in_turn[1]][:limit]
        got = self.catalog.lease(self.name, owner=owner, limit=limit, ttl_s=1e6)
        assert [lease.shard.shard_id for lease in got] == expected
        for lease in got:
            row = self.rows[lease.shard.shard_id]
            row.state, row.owner, row.expired, row.epoch = "leased", owner, False, row.epoch + 1
            assert (lease.epoch, lease.attempts) == (row.epoch, row.attempts)
            assert lease.previous == (row.labelled_by[0] if row.labelled_by else None)
        return multiple(*got)

    @rule(lease=leases, blank=st.integers(0, 2))
    def commit(self, lease, blank):
        row = self.rows[lease.shard.shard_id]
        written = manifest(lease, blank=blank)
        if row.is_held_by(lease):
            self.catalog.commit_label_shard(lease, written)
            row.state, row.labelled_by = "done", (written.key, blank)
        elif row.labelled_by is not None and row.labelled_by[0] == written.key:
            self.catalog.commit_label_shard(lease, written)  # said twice, done once
        else:
            with pytest.raises(LeaseLostError):
                self.catalog.commit_label_shard(lease, written)

    @rule(lease=leases)
    def release(self, lease):
        row = self.rows[lease.shard.shard_id]
        held = row.is_held_by(lease)
        assert self.catalog.release(lease) is held
        if held:
            row.state = "pending"

    @rule(lease=leases)
    def charge(self, lease):
        row = self.rows[lease.shard.shard_id]
        if not row.is_held_by(lease):
            with pytest.raises(LeaseLostError):
                self.catalog.charge(lease, "killed", max_attempts=3)
            return
        row.attempts += 1
        row.state = "failed" if row.attempts >= 3 else "pending"
        assert self.catalog.charge(lease, "killed", max_attempts=3) == row.state

    def held_by(self, owner):
        rows = self.rows.values()
        return [row for row in rows if row.state == "leased" and row.owner == owner]

    @rule(owner=st.sampled_from(OWNERS))
    def expire(self, owner):
        expire_leases(self.catalog, owner)
        for row in self.held_by(owner):
            row.expired = True

    @rule(owner=st.sampled_from(OWNERS))
    def renew(self, owner):
        held = self.held_by(owner)
        assert self.catalog.renew(self.name, owner=owner, ttl_s=1e6) == len(held)
        for row in held:
            row.expired = False

    @rule(owner=st.sampled_from(OWNERS))
    def bury(self, owner):
        held = self.held_by(owner)
        assert self.catalog.release_owner(self.name, owner) == len(held)
        for row in held:
            row.state = "pending"

    @rule()
    def retry_failed(self):
        failed = [row for row in self.rows.values() if row.state == "failed"]
        assert self.catalog.retry_failed(self.name) == len(failed)
        for row in failed:
            row.state, row.attempts = "pending", 0

    @rule()
    def retry_quarantined(self):
        again = [row for row in self.rows.values() if row.can_be_tried_again]
        (ahead,) = self.catalog.work_ahead(self.name, [self.name])
        assert ahead.quarantined == Amount(len(again), sum(row.labelled_by[1] for row in again))
        assert self.catalog.retry_quarantined(self.name, [self.name]) == len(again)
        for row in again:
            row.state, row.attempts = "pending", 0

    @invariant()
    def nothing_is_lost_and_nothing_is_there_twice(self):
        rows = list(self.rows.values())
        live = [row for row in rows if row.state == "leased" and not row.expired]
        counted = {state: sum(row.state == state for row in rows) for state in ("done", "failed")}
        progress = self.catalog.progress(self.name)
        assert (progress.done, progress.failed) == (counted["done"], counted["failed"])
        assert progress.leased == len(live)
        assert progress.pending == len(rows) - len(live) - sum(counted.values())
        assert progress.images == 10 * len(rows)
        labelled = [row for row in rows if row.labelled_by]
        assert progress.labelled + sum(progress.quarantined.values()) == 10 * len(labelled)
        assert sum(progress.quarantined.values()) == sum(row.labelled_by[1] for row in labelled)
        for each in self.catalog.progress_by_source(self.name):
            amounts = (each.pending, each.leased, each.done, each.failed, each.total)
            shards = (progress.pending, progress.leased, *counted.values(), len(rows))
            assert amounts == tuple(Amount(count, 10 * count) for count in shards)
        assert self.catalog.live_owners(self.name) == sorted({row.owner for row in live})

    def teardown(self):
        if not hasattr(self, "rows"):
            return
        labels = self.catalog.label_shards(self.name)
        expected = {shard: row.labelled_by for shard, row in self.rows.items() if row.labelled_by}
        found = {x.shard.shard_id: (x.key, x.quarantined.get("blank", 0)) for x in labels}
        assert found == expected
        assert len(labels) == len(expected)


def run_machine(url, *, examples, steps):
    class Machine(LeaseMachine):
        catalog = Catalog.open(url)

    options = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    try:
        run_state_machine_as_test(Machine, settings=options)
    finally:
        Machine.catalog.close()


def test_any_sequence_of_events_loses_and_doubles_nothing_sqlite(tmp_path):
    run_machine(f"sqlite:///{tmp_path / 'catalog.sqlite'}", examples=20, steps=40)


def test_any_sequence_of_events_loses_and_doubles_nothing_postgres(postgres_catalog_url):
    run_machine(postgres_catalog_url, examples=5, steps=20)

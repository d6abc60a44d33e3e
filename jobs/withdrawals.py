"""Samples taken out of a source that is committed: by a person, or because they are duplicates.

Under the ingest lease of the source, so that no ingest runs beside it. Shards are replaced in
threads, row group by row group, and committed one by one: killed at any moment, the same call goes
on with the shards that are left. What it removes from the catalog is still in the store until
`factory catalog gc` runs.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

from jobs.console import Bar, Reporter
from jobs.owner import current_owner, is_dead
from jobs.version import code_version
from jobs.workspace import Workspace
from pipeline.catalog import Amount, IngestLease
from pipeline.errors import LeaseLostError, PipelineError
from pipeline.ledger import record_label_set, record_source
from pipeline.lookahead import map_ahead
from pipeline.records import ShardRef
from pipeline.sample_search import FoundSample, Wanted, find_samples
from pipeline.withdrawn import Replacement, replace_shard

LEASE_S = 300.0
RENEW_S = 60.0
THREADS = 4
AHEAD = 2 * THREADS

Reasons = Mapping[str, tuple[str, str]]  # per sample id a short stable code, and a sentence


@dataclass(slots=True)
class Withdrawal:
    """What was withdrawn.

    Attributes:
        shards: Ids of the shards that count no more, each with the samples withdrawn from it.
        replaced: How many of them another shard replaces; of the others nothing was left.
        label_sets: Per label set the label shards that count no more, and the images in them.
    """

    source: str
    shards: dict[str, int] = field(default_factory=dict)
    replaced: int = 0
    label_sets: dict[str, Amount] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """All of them."""
        return sum(self.shards.values())

    def note(self, replacement: Replacement, lost: Mapping[str, Amount]) -> None:
        """Count a shard that was withdrawn."""
        self.shards[replacement.replaced.shard_id] = replacement.samples
        self.replaced += replacement.shard is not None
        for label_set, amount in lost.items():
            self.label_sets[label_set] = self.label_sets.get(label_set, Amount()) + amount


def withdraw_samples(
    workspace: Workspace,
    source: str,
    samples: Reasons,
    *,
    reason: str,
    shards: Sequence[ShardRef] | None = None,
    lease: IngestLease | None = None,
    reporter: Reporter | None = None,
) -> Withdrawal:
    """Take samples out of a source; those it does not hold (any more) are left alone.

    Memory holds the ids asked for, and 64 images for each of a few threads.

    Args:
        workspace: Store and catalog.
        source: Whose samples.
        samples: Reason and detail of each. The reason ``withdrawn`` keeps the same bytes out of the
            source for good, any other only the same path.
        reason: Of the withdrawal as a whole, for `factory catalog`.
        shards: Those that hold the samples, where the caller knows them; else all are searched.
        lease: Of the caller, who renews it no more often than this does; a new one if None.
        reporter: Hears of the progress.

    Raises:
        CatalogMissingError: No source has that name.
        CatalogConflictError: Somebody ingests into the source.
        WithdrawnError: The source was withdrawn as a whole.
        LeaseLostError: Another run took over the source; what is committed stays.
    """
    reporter = reporter or Reporter.silent()
    facts = {"withdraw": reason, "samples": len(samples)}
    held = nullcontext(lease) if lease else held_source(workspace, source, facts)
    with held as lease:
        done = Withdrawal(source)
        beat = heartbeat(workspace, lease)
        wanted = Wanted(ids=frozenset(samples))
        shards = _still_there(workspace, source, shards)
        found = dict(
            Counter(
                each.shard for each in search(workspace, source, wanted, reporter, beat, shards)
            )
        )
        try:
            title = f"withdraw from {source}"
            with reporter.progress(title, len(found), unit="shards") as bar:
                _replace_all(workspace, lease, found, samples, reason, done, bar)
        finally:
            _write_down(workspace, done)
        return done


def _still_there(
    workspace: Workspace, source: str, shards: Sequence[ShardRef] | None
) -> Sequence[ShardRef] | None:
    """Those shards; None, for all, where one was withdrawn since the caller looked.

    What was taken out of a shard is named by one object. Replacing the shard a second time would
    write that anew, and what it named before could come back.
    """
    if shards is None:
        return None
    there = {shard.shard_id for shard in workspace.catalog.image_shards(source)}
    return shards if all(shard.shard_id in there for shard in shards) else None


def search(
    workspace: Workspace,
    source: str,
    wanted: Wanted,
    reporter: Reporter,
    beat: Callable[[], None] = lambda: None,
    shards: Sequence[ShardRef] | None = None,
) -> Iterator[FoundSample]:
    """Look through all shards of a source, or some; ``beat`` is called for each of them."""
    shards = workspace.catalog.image_shards(source) if shards is None else shards
    with reporter.progress(f"search {source}", len(shards), unit="shards") as bar:

        def advance(count: int) -> None:
            bar.advance(count)
            beat()

        yield from find_samples(workspace.store, shards, wanted, advance=advance)


def _replace_all(
    workspace: Workspace,
    lease: IngestLease,
    found: Mapping[ShardRef, int],
    samples: Reasons,
    reason: str,
    done: Withdrawal,
    bar: Bar,
) -> None:
    def replace(shard: ShardRef) -> Replacement:
        return replace_shard(
            workspace.store, shard, samples, summary=reason, code_version=code_version()
        )

    for made in map_ahead(replace, found, threads=THREADS, ahead=AHEAD):
        lost = workspace.catalog.withdraw_shard(
            lease,
            made.replaced.shard_id,
            replacement=made.shard,
            key=made.key,
            samples=made.samples,
            reason=reason,
            ttl_s=LEASE_S,
        )
        done.note(made, lost)
        bar.advance()


def _write_down(workspace: Workspace, done: Withdrawal) -> None:
    record_source(workspace.store, workspace.catalog, done.source)
    for label_set in done.label_sets:
        record_label_set(workspace.store, workspace.catalog, label_set)


def heartbeat(workspace: Workspace, lease: IngestLease) -> Callable[[], None]:
    """What renews a lease that is held, when it is called often enough."""
    renewed_s = time.monotonic()

    def beat() -> None:
        nonlocal renewed_s
        if time.monotonic() - renewed_s > RENEW_S:
            workspace.catalog.renew_ingest(lease, LEASE_S)
            renewed_s = time.monotonic()

    return beat


@contextmanager
def held_source(
    workspace: Workspace, source: str, facts: Mapping[str, Any]
) -> Iterator[IngestLease]:
    """Hold a source as an ingest does; ``facts`` are the configuration of that run.

    Raises:
        CatalogConflictError: Somebody ingests into it.
        WithdrawnError: It was withdrawn.
    """
    catalog = workspace.catalog
    uri = catalog.source(source).uri
    live = catalog.live_ingest(source)
    lease = catalog.begin_ingest(
        source,
        owner=current_owner(),
        ttl_s=LEASE_S,
        uri=uri,
        config=facts,
        code_version=code_version(),
        dead_owner=live.owner if live and is_dead(live.owner) else None,
    )
    try:
        yield lease
    except BaseException as error:
        state = "failed" if isinstance(error, Exception) else "stopped"
        with suppress(PipelineError):  # what went wrong before is what counts
            catalog.finish_ingest(lease, {"error": str(error)}, state=state)
        raise
    with suppress(LeaseLostError):  # all of it is committed
        catalog.finish_ingest(lease, dict(facts))

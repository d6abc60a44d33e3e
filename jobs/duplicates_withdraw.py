"""Takes copies out of their sources, of whole shards at a time."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from jobs.console import Reporter
from jobs.withdrawals import Withdrawal, withdraw_samples
from jobs.workspace import Workspace
from pipeline.catalog import IngestLease
from pipeline.pairs_file import NamedPair
from pipeline.records import ShardRef

AT_ONCE = 200_000  # samples whose names are in memory
REASONS = {"exact": "duplicate", "near": "near_duplicate"}


def withdraw_pairs(
    workspace: Workspace,
    pairs: Iterable[NamedPair],
    shards: Sequence[ShardRef],
    *,
    reason: str,
    reporter: Reporter,
    lease: IngestLease | None = None,
) -> list[Withdrawal]:
    """Take out the image of each pair that comes later; one entry per source, or several.

    Killed at any moment, the same again goes on with what is left.

    Args:
        workspace: Store and catalog.
        pairs: Those of a shard together, those of a source together.
        shards: All that were searched.
        reason: Of the withdrawal as a whole.
        reporter: Hears of the progress.
        lease: Of the caller, on the only source there is.
    """
    known = {shard.shard_id: shard for shard in shards}
    done = []
    for source, some in _batches(pairs):
        held = dict.fromkeys(pair.shard_id for pair in some)
        done.append(
            withdraw_samples(
                workspace,
                source,
                {pair.sample_id: why(pair) for pair in some},
                reason=reason,
                shards=[known[shard_id] for shard_id in held],
                lease=lease,
                reporter=reporter,
            )
        )
    return done


def why(pair: NamedPair) -> tuple[str, str]:
    """Reason and detail of taking out an image."""
    twin = f"{pair.twin_source}/{pair.twin_path}"
    bits = "bit" if pair.distance == 1 else "bits"
    how = "the same bytes as" if pair.kind == "exact" else f"within {pair.distance} {bits} of"
    return "leak" if pair.leak else REASONS[pair.kind], f"{how} {twin}"


def _batches(pairs: Iterable[NamedPair]) -> Iterator[tuple[str, list[NamedPair]]]:
    """Pairs of one source each, all of a shard together, so that no shard is replaced twice."""
    batch: list[NamedPair] = []
    for (source, _), some in groupby(pairs, key=lambda pair: (pair.source, pair.shard_id)):
        if batch and (batch[0].source != source or len(batch) >= AT_ONCE):
            yield batch[0].source, batch
            batch = []
        batch += some
    if batch:
        yield batch[0].source, batch

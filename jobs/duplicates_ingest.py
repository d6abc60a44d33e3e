"""`factory ingest --dedup near`: what was ingested and looks like something earlier goes again.

After the last image, because what looks alike is found by comparing all with all. What other
sources have stays; of images of this one that look alike, the first does.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator

from jobs.console import Reporter
from jobs.duplicates import compare, in_order, scratch_folder
from jobs.duplicates_config import DISTANCE
from jobs.duplicates_pairs import named_pairs
from jobs.duplicates_withdraw import why, withdraw_pairs
from jobs.withdrawals import heartbeat
from jobs.workspace import Workspace
from pipeline.catalog import IngestLease
from pipeline.pairs_file import NamedPair


def withdraw_copies(
    workspace: Workspace,
    lease: IngestLease,
    *,
    uri: str,
    reporter: Reporter,
    ray: str | None = None,
    actors: int | None = None,
) -> Counter[str]:
    """Take images out of the source of a lease that are like others in the store.

    Also those that a run brought in which was killed before it came to this; of images that came
    from another place than ``uri``, nothing is counted.

    Returns:
        How many by reason: ``near_duplicate``, ``duplicate`` and, like an image of a benchmark,
        ``leak``.
    """
    rows = in_order(workspace.catalog.sources())
    others = [row for row in rows if row.name != lease.source]
    mine = [row for row in rows if row.name == lease.source]
    with scratch_folder() as folder:
        compared = compare(
            workspace,
            [*others, *mine],
            fixed=others,
            distance=DISTANCE,
            folder=folder,
            reporter=reporter,
            ray=ray,
            actors=actors or None,
            tick=heartbeat(workspace, lease),
        )
        counted: Counter[str] = Counter()
        pairs = named_pairs(workspace.store, compared.searched, first=compared.searched.fixed)
        withdraw_pairs(
            workspace,
            _counted(pairs, workspace.catalog.shards_from(lease.source, uri), counted),
            compared.searched.shards,
            reason="they look like other images, by ingest --dedup near",
            reporter=reporter,
            lease=lease,
        )
    return counted


def _counted(
    pairs: Iterable[NamedPair], shards: Container[str], counted: Counter[str]
) -> Iterator[NamedPair]:
    """The same pairs; those of these shards are counted as they go by."""
    for pair in pairs:
        if pair.shard_id in shards:
            counted[why(pair)[0]] += 1
        yield pair

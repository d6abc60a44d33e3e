"""`factory catalog duplicates`: images that are in the store twice, and leaks of benchmarks.

By bytes, for which the columns of the shards are enough, or by looks (`pipeline.perceptual_hash`),
for which each image is decoded small, once. Nothing is compared with everything
(`pipeline.near_duplicates`), and nothing is in memory as a whole.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from jobs.console import Reporter
from jobs.duplicates_config import CatalogDuplicatesConfig
from jobs.duplicates_hashes import Hashing, make_hashes
from jobs.duplicates_pairs import Counts, count_pairs, named_pairs
from jobs.duplicates_search import Searched, search_duplicates
from jobs.errors import ConfigError
from jobs.settings import value_problems
from jobs.withdrawals import Withdrawal, withdraw_samples
from jobs.workspace import Workspace, check_store_exists, open_workspace
from pipeline.catalog import IngestLease, SourceRow
from pipeline.errors import CatalogMissingError
from pipeline.pairs_file import ENDINGS, NamedPair, write_pairs
from pipeline.records import Role, ShardRef

LISTED = 20  # leaks in the summary; --out has all of them
AT_ONCE = 200_000  # samples that are withdrawn together, of whole shards
REASONS = {"exact": "duplicate", "near": "near_duplicate"}
_ORDER = {Role.BENCHMARK: 0, Role.LABELLED: 1, Role.UNLABELLED: 2}


@dataclass(frozen=True, slots=True)
class Compared:
    """Sources that were searched, and what was found.

    Attributes:
        benchmark_images: So many come first.
        shards_made: Shards whose images were looked at now.
    """

    sources: tuple[str, ...]
    searched: Searched
    counts: Counts
    benchmark_images: int
    shards_made: int


def find_duplicates(
    config: CatalogDuplicatesConfig, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Find copies among sources, and withdraw them if asked to.

    Returns:
        ``images`` compared; how many of them are like an earlier one that stays, by their bytes
        (``exact``) or looks (``near``), in how many ``groups``, and ``between`` which sources;
        ``leaks``, images of benchmarks outside of them, the first of them ``leaked`` by name;
        images that have no hash, ``unhashed`` per reason; ``withdrawn``; and ``shards_failed``
        with what ``failed``.

    Raises:
        ConfigError: Every problem found, before anything is read.
        CatalogMissingError: A source is not in the catalog.
        CatalogConflictError: Somebody ingests into a source from which images are withdrawn.
    """
    reporter = reporter or Reporter.silent()
    started_s = time.monotonic()
    _check(config)
    check_store_exists(config)
    with open_workspace(config) as workspace, scratch_folder() as folder:
        sources = in_order(workspace.catalog.sources(), config.sources)
        compared = compare(
            workspace,
            sources,
            fixed=[row for row in sources if row.role == Role.BENCHMARK],
            distance=config.distance if config.near else None,
            folder=folder,
            reporter=reporter,
            ray=config.ray,
            actors=config.actors,
        )
        facts = _facts(compared, workspace)
        if config.out is not None:
            facts["pairs_written"] = write_pairs(_pairs(compared, workspace), Path(config.out))
        if config.withdraw is not None:
            leaks_only = config.withdraw == "leaks"
            done = withdraw(compared, workspace, leaks_only=leaks_only, reporter=reporter)
            facts["withdrawn"] = sum(each.samples for each in done)
            facts["withdrawn_from"] = [_withdrawn(each) for each in done]
        elif compared.counts.leaks:
            reporter.warn(
                f"{compared.counts.leaks} images of benchmarks are in sources for training: "
                "--withdraw leaks takes them out there"
            )
        return {**facts, "seconds": round(time.monotonic() - started_s, 3)}


def _check(config: CatalogDuplicatesConfig) -> None:
    problems = value_problems(config)
    if config.out is not None and Path(config.out).suffix.lower() not in ENDINGS:
        problems.append(f"--out {config.out}: its name must end in {' or '.join(ENDINGS)}")
    if config.out is not None and not Path(config.out).absolute().parent.is_dir():
        problems.append(f"--out {config.out}: there is no such folder")
    if config.actors is not None and not config.near:
        problems.append("--actors is for --near: bytes are compared without looking at images")
    if problems:
        raise ConfigError(problems)


def in_order(rows: Iterable[SourceRow], names: Sequence[str] = ()) -> list[SourceRow]:
    """Sources in order of precedence: benchmarks, then as named; by default labelled ones first.

    Raises:
        CatalogMissingError: A name is not among them, or was withdrawn.
    """
    known = {row.name: row for row in rows if row.withdrawn_at is None}
    if missing := [name for name in names if name not in known]:
        raise CatalogMissingError(
            f"no source is named {missing[0]!r}, or it was withdrawn (known: {', '.join(known)})"
        )
    if names:
        named = [known[name] for name in dict.fromkeys(names)]
        return sorted(named, key=lambda row: row.role != Role.BENCHMARK)
    return sorted(known.values(), key=lambda row: (_ORDER[Role(row.role)], row.created_at))


def compare(
    workspace: Workspace,
    sources: Sequence[SourceRow],
    *,
    fixed: Sequence[SourceRow],
    distance: int | None,
    folder: Path,
    reporter: Reporter,
    ray: str | None = None,
    actors: int | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Compared:
    """Search all images of sources in order of precedence.

    Args:
        workspace: Store and catalog.
        sources: What to search.
        fixed: The first of them, whose images stay whatever they are like.
        distance: Bits in which hashes may differ; None to compare bytes only.
        folder: For scratch files.
        reporter: Hears of the progress.
        ray: Address of a cluster that looks at images.
        actors: Processes there.
        tick: Called now and then, for leases that must be renewed.
    """
    per_source = {row.name: workspace.catalog.image_shards(row.name) for row in sources}
    shards: list[ShardRef] = [shard for each in per_source.values() for shard in each]
    hashing = Hashing()
    if distance is not None:
        hashing = make_hashes(
            workspace.store, shards, ray=ray, actors=actors, reporter=reporter, tick=tick
        )
    searched = search_duplicates(
        workspace.store,
        shards,
        fixed=sum(len(per_source[row.name]) for row in fixed),
        distance=distance,
        folder=folder,
        reporter=reporter,
        failed=hashing.failed,
        tick=tick,
    )
    benchmarks = [row.name for row in sources if row.role == Role.BENCHMARK]
    images = sum(shard.rows for name in benchmarks for shard in per_source[name])
    counts = count_pairs(searched, benchmark_images=images)
    return Compared(tuple(per_source), searched, counts, images, hashing.made)


def withdraw(
    compared: Compared,
    workspace: Workspace,
    *,
    leaks_only: bool,
    reporter: Reporter,
    lease: IngestLease | None = None,
) -> list[Withdrawal]:
    """Take copies out of the sources that are not fixed; one entry per source and batch.

    Killed at any moment, the same again goes on with what is left.
    """
    searched = compared.searched
    wanted = _pairs(compared, workspace, leaks_only=leaks_only)
    loose = {shard.source for shard in _loose_shards(searched)}
    done = []
    pairs = (pair for pair in wanted if pair.source in loose)
    shards = {shard.shard_id: shard for shard in searched.shards}
    for source, some in _batches(pairs):
        samples = {pair.sample_id: why(pair) for pair in some}
        reason = "leaks of benchmarks" if leaks_only else "duplicates"
        held = [shards[each] for each in dict.fromkeys(pair.shard_id for pair in some)]
        done.append(
            withdraw_samples(
                workspace,
                source,
                samples,
                reason=f"{reason}, by catalog duplicates",
                shards=held,
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


def _loose_shards(searched: Searched) -> list[ShardRef]:
    """Shards of which images may be taken out."""
    return [
        shard
        for shard, start in zip(searched.shards, searched.starts.tolist(), strict=False)
        if start >= searched.fixed
    ]


def _pairs(
    compared: Compared, workspace: Workspace, *, leaks_only: bool = False
) -> Iterator[NamedPair]:
    return named_pairs(
        workspace.store,
        compared.searched,
        benchmark_images=compared.benchmark_images,
        leaks_only=leaks_only,
    )


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


def _facts(compared: Compared, workspace: Workspace) -> dict[str, Any]:
    searched, counts = compared.searched, compared.counts
    leaks = islice(_pairs(compared, workspace, leaks_only=True), LISTED if counts.leaks else 0)
    return {
        "sources": list(compared.sources),
        "images": int(searched.starts[-1]),
        "shards_looked_at": compared.shards_made,
        "unhashed": dict(searched.unhashed),
        "exact": counts.exact,
        "near": counts.near,
        "groups": counts.groups,
        "leaks": counts.leaks,
        "between": [asdict(row) for row in counts.between],
        "leaked": [_leaked(pair) for pair in leaks],
        "shards_failed": len(searched.failed),
        "failed": [{"shard": key, "error": error} for key, error in searched.failed.items()],
    }


def _leaked(pair: NamedPair) -> dict[str, Any]:
    return {
        "source": pair.source,
        "image": pair.path,
        "benchmark": pair.twin_source,
        "benchmark_image": pair.twin_path,
        "kind": pair.kind,
        "distance": pair.distance,
    }


def _withdrawn(done: Withdrawal) -> dict[str, Any]:
    return {
        "source": done.source,
        "images": done.samples,
        "shards": len(done.shards),
        "label_sets": {name: amount.images for name, amount in done.label_sets.items()},
    }


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this machine (``TMPDIR``) that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="factory-duplicates-") as folder:
        yield Path(folder)

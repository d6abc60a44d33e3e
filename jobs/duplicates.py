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
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from jobs.console import Reporter
from jobs.duplicates_config import CatalogDuplicatesConfig
from jobs.duplicates_hashes import Hashing, make_hashes
from jobs.duplicates_pairs import Counts, count_pairs, named_pairs
from jobs.duplicates_search import Searched, search_duplicates
from jobs.duplicates_withdraw import withdraw_pairs
from jobs.errors import ConfigError
from jobs.files import written_whole
from jobs.readable import readable_time
from jobs.settings import value_problems
from jobs.version import code_version
from jobs.withdrawals import Withdrawal
from jobs.workspace import Workspace, check_store_exists, open_workspace
from pipeline.catalog import SourceRow
from pipeline.errors import CatalogMissingError
from pipeline.pairs_file import ENDINGS, NamedPair, write_pairs
from pipeline.records import Role, ShardRef

LISTED = 20  # leaks in the summary; --out has all of them
_ORDER = {Role.BENCHMARK: 0, Role.LABELLED: 1, Role.UNLABELLED: 2}


@dataclass(frozen=True, slots=True)
class Compared:
    """Sources that were searched, and what was found.

    Attributes:
        shards_made: Shards whose images were looked at now.
    """

    sources: tuple[str, ...]
    searched: Searched
    counts: Counts
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
        _write_files(config, compared, workspace, facts)
        if config.withdraw is not None:
            done = _withdraw(compared.searched, config, workspace, reporter)
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
    if config.actors is not None and not config.near:
        problems.append("--actors is for --near: bytes are compared without looking at images")
    if problems:
        raise ConfigError(problems)


def _write_files(
    config: CatalogDuplicatesConfig, compared: Compared, workspace: Workspace, facts: dict[str, Any]
) -> None:
    """Write what was asked for; before anything is withdrawn."""
    store, searched = workspace.store, compared.searched
    if config.out is not None:
        with written_whole(config.out) as scratch:
            ending = Path(config.out).suffix.lower()
            pairs = named_pairs(store, searched)
            facts["pairs_written"] = write_pairs(pairs, scratch, ending=ending)
    if config.html is not None:
        # Every ingest imports this module, and hardly any writes a page.
        from jobs.duplicates_page import duplicates_page
        from jobs.report_page import render

        colophon = f"Pseudo-label factory {code_version()}, {readable_time(time.time())}"
        page = duplicates_page(store, searched, compared.counts, colophon=colophon)
        with written_whole(config.html) as scratch:
            scratch.write_bytes(render(page).encode("utf-8", "backslashreplace"))
        facts["html"] = str(Path(config.html).resolve())


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
            workspace.store,
            shards,
            ray=ray,
            actors=actors,
            reporter=reporter,
            replaced=_replaced(workspace, per_source),
            tick=tick,
        )
    benchmarks = takewhile(lambda row: row.role == Role.BENCHMARK, sources)
    searched = search_duplicates(
        workspace.store,
        shards,
        fixed=sum(len(per_source[row.name]) for row in fixed),
        benchmarks=sum(len(per_source[row.name]) for row in benchmarks),
        distance=distance,
        folder=folder,
        reporter=reporter,
        failed=hashing.failed,
        tick=tick,
    )
    return Compared(tuple(per_source), searched, count_pairs(searched), hashing.made)


def _replaced(workspace: Workspace, sources: Iterable[str]) -> dict[str, str]:
    """By the id of a shard that is what withdrawals left of another: the id of that one."""
    rows = (row for name in sources for row in workspace.catalog.withdrawals(name))
    return {row.replaced_by: row.shard_id for row in rows if row.replaced_by and row.shard_id}


def _withdraw(
    searched: Searched, config: CatalogDuplicatesConfig, workspace: Workspace, reporter: Reporter
) -> list[Withdrawal]:
    pairs = named_pairs(
        workspace.store,
        searched,
        leaks_only=config.withdraw == "leaks",
        first=searched.fixed,
    )
    reason = f"{config.withdraw}, by catalog duplicates"
    return withdraw_pairs(workspace, pairs, searched.shards, reason=reason, reporter=reporter)


def _facts(compared: Compared, workspace: Workspace) -> dict[str, Any]:
    searched, counts = compared.searched, compared.counts
    leaks = named_pairs(workspace.store, searched, leaks_only=True)
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
        "leaked": [_leaked(pair) for pair in islice(leaks, LISTED if counts.leaks else 0)],
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

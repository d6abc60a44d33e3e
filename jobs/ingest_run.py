"""One ingest run: from the listing to pieces, and who works on them.

Pieces are read in this process, or by others on Ray: where a cluster was named, where there is more
than one piece and somebody to share the work, and whatever native code would open, which a crafted
file may crash.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, cast

from jobs.actor_pool import ActorPool
from jobs.config import IngestConfig
from jobs.console import Reporter
from jobs.driver_facts import pool_facts
from jobs.errors import ConfigError, JobError
from jobs.ingest_actors import Collected, open_desk, plan_actors
from jobs.ingest_driver import IngestDriver
from jobs.ingest_engine import IngestEngine
from jobs.ingest_judge import Before, Judge, said_reason
from jobs.ingest_look import IngestJob
from jobs.ingest_piece import PieceTask
from jobs.label_faults import may_be_actor
from jobs.names import title
from jobs.ray_runtime import cluster_resources, ray_cluster
from jobs.shard_writer import count_reasons
from jobs.version import code_version
from jobs.workspace import Workspace
from pipeline.attribution_tables import find_tables
from pipeline.catalog import IngestLease
from pipeline.catalog_withdrawn import withdrawn_beside, withdrawn_objects
from pipeline.data_sets import DataSet, is_native
from pipeline.filters import ImageLimits, Verify
from pipeline.pieces import Listed, Piece, cut_pieces, known_items, options_digest
from pipeline.records import Drop, Ignored, Role
from pipeline.shards import read_drops
from pipeline.sources import reader_threads
from pipeline.splits import split_sha256
from pipeline.storage import Store, dropped_key
from pipeline.withdrawn import read_withdrawn
from pipeline.withdrawn_since import WithdrawnSince

PIECE_SHARDS = 8  # a piece of small files is so many shards; what is left of the last one is little
PIECE_BYTES = 2 << 30
MAX_THREADS = 8
FEW_CPUS = 2  # reading, packing and writing keep them busy without further processes


def data_set(config: IngestConfig) -> DataSet:
    """What the configuration asks to be read."""
    return DataSet(
        uri=config.uri,
        layout=config.layout,
        truth=config.truth,
        split=config.split,
        every=config.every,
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """What works on the pieces has in common, in this process and on Ray."""

    config: IngestConfig
    job: IngestJob
    before: Before
    driver: IngestDriver
    reporter: Reporter


def work(
    config: IngestConfig,
    workspace: Workspace,
    lease: IngestLease,
    listed: Iterable[Listed | Ignored],
    reporter: Reporter,
) -> IngestDriver:
    """Ingest what is listed; the driver says what became of it."""
    options = _options(config)
    pieces = workspace.catalog.pieces(config.source, options=options)
    withdrawn = WithdrawnSince(_withdrawn(config.source, workspace) if pieces else ())
    known = known_items(
        workspace.store,
        config.source,
        pieces,
        withdrawn=withdrawn,
        twins_gone=_twins_gone(config.source, workspace),
    )
    _commit_left_drops(config.source, workspace, lease)
    before = _before(config, workspace)
    job = _job(config, workspace.store, options)
    with reporter.progress(f"ingest {config.source}", None, unit="images") as bar:
        driver = IngestDriver(workspace, lease, options, known, bar, reporter.warn)
        run = _Run(config, job, before, driver, reporter)
        max_items = PIECE_SHARDS * config.shard_images
        cut = cut_pieces(
            driver.unknown(listed), options=options, max_items=max_items, max_bytes=PIECE_BYTES
        )
        _work_on(run, cut)
    return driver


def _work_on(run: _Run, pieces: Iterator[Piece]) -> None:
    """Read what may be read here, and leave the rest to processes of their own."""
    first = list(islice(pieces, 2))
    left = chain(first, pieces)
    if not _wants_ray(run.config, len(first)):
        dangerous: list[Piece] = []
        harmless = _harmless(left, run.job.data_set, dangerous)
        # Not kept: what its judge knows may be gigabytes, and the desk will know it again.
        run.driver.run_inline(
            IngestEngine(run.job, Judge(run.job.store, run.before).judge), harmless
        )
        left = chain(dangerous, left)
        first = dangerous
    if first:
        _work_on_ray(run, left)


def _harmless(
    pieces: Iterator[Piece], data_set: DataSet, dangerous: list[Piece]
) -> Iterator[Piece]:
    """Pieces up to the first that native code would open, which is put aside."""
    for piece in pieces:
        items = [item for item in piece.items if not isinstance(item, Drop)]
        if any(is_native(item, data_set) for item in items):
            dangerous.append(piece)
            return
        yield piece


def _wants_ray(config: IngestConfig, pieces: int) -> bool:
    if config.actors == 0:
        return False
    asked = config.actors is not None or (os.cpu_count() or 1) > FEW_CPUS
    return bool(pieces) and (config.ray is not None or (pieces > 1 and asked))


def _work_on_ray(run: _Run, pieces: Iterator[Piece]) -> None:
    config, driver = run.config, run.driver
    # Read anew: this process may have read pieces before those that it leaves to others.
    before = _before(config, driver.workspace)
    if config.actors == 0:
        raise ConfigError(
            ["--actors 0: some of these files are opened by native code (Parquet, Arrow, HDF5, 7z, "
             "video), which is done in processes of their own only: leave --actors out"]
        )  # fmt: skip
    name = title("ingest", [config.source])
    with ray_cluster(config.ray, name=name) as resources, ExitStack() as stack:
        import ray

        desk = open_desk(run.job.store, before, source=config.source)
        stack.callback(ray.kill, desk)
        some = list(islice(pieces, config.actors or resources.cpus))
        plan = plan_actors(config.actors, resources, pieces=len(some))
        run.reporter.note(f"reading in {plan.count} processes with {plan.cpus} CPUs each")
        pool: ActorPool[PieceTask] = ActorPool(
            plan.start(replace(run.job, threads=_threads(config, plan.cpus)), desk),
            size=plan.count,
            concurrency=1,
            may_be_actor=may_be_actor,
            wanted=_growing(config),
        )
        stack.callback(pool.close)
        run.reporter.tell(lambda: pool_facts(pool))
        driver.run_on(pool, lambda: _collect(desk), chain(some, pieces))


def _collect(desk: Any) -> Collected:
    """What was handed in at the desk.

    Raises:
        JobError: Its process died, and with it the knowledge of what was handed in.
    """
    import ray
    from ray.exceptions import RayActorError

    try:
        return cast(Collected, ray.get(desk.collect.remote()))
    except RayActorError as error:
        msg = (
            "the process where the others ask and hand in died (killed, perhaps for its memory): "
            "what is committed stays, and the same command goes on there"
        )
        raise JobError(msg) from error


def _growing(config: IngestConfig) -> Callable[[], int] | None:
    """How many processes there could be on a cluster to which machines may be added."""
    if config.ray is None or config.actors is not None:
        return None
    return lambda: plan_actors(None, cluster_resources(), pieces=1 << 30).count


def _job(config: IngestConfig, store: Store, options: str) -> IngestJob:
    return IngestJob(
        store=store,
        source=config.source,
        data_set=data_set(config),
        options=options,
        role=config.role or Role.UNLABELLED,
        verify=cast(Verify, config.verify),
        limits=ImageLimits(
            min_side=config.min_side, max_pixels=config.max_pixels, max_aspect=config.max_aspect
        ),
        licence=config.licence,
        attribution=config.attribution,
        by_reference=config.by_reference,
        shard_images=config.shard_images,
        code_version=code_version(),
        threads=_threads(config, os.cpu_count() or 1),
        tables=find_tables(config.uri, config.layout),
    )


def _threads(config: IngestConfig, cpus: int) -> int:
    return max(reader_threads(config.uri), min(MAX_THREADS, cpus))


def _withdrawn(source: str, workspace: Workspace) -> Iterator[tuple[str, str, float]]:
    """Samples by path, with the reason by which they would be refused, and when it happened."""
    for row in workspace.catalog.withdrawals(source):
        if row.key is not None:
            for sample in read_withdrawn(workspace.store, row.key)[1]:
                yield sample.path, said_reason(sample.reason), row.withdrawn_at


def _twins_gone(source: str, workspace: Workspace) -> float:
    """When an image may have gone for which another of the same bytes was refused.

    That was withdrawn from another source; or was to be written by a piece that was given up.
    """
    failed = [
        run.finished_at or 0.0
        for run in workspace.catalog.ingests(source)
        if run.summary.get("pieces_failed")
    ]
    return max([withdrawn_beside(workspace.catalog, source), *failed])


def _options(config: IngestConfig) -> str:
    """Digest of what decides which samples are taken; another one has everything read again."""
    names = ("layout", "truth", "every", "role", "verify", "min_side", "max_pixels", "max_aspect")
    return options_digest(
        split=split_sha256(config.split) if config.split else None,
        takes_twins=config.dedup == "none",
        **{name: getattr(config, name) for name in names},
    )


def _before(config: IngestConfig, workspace: Workspace) -> Before:
    catalog = workspace.catalog
    everything = [row.name for row in catalog.sources()] if config.dedup != "none" else []
    images = [shard for name in everything for shard in catalog.image_shards(name)]
    batches = catalog.drop_batches(config.source)
    return Before(
        shards=catalog.image_shards(config.source),
        drops=[dropped_key(config.source, batch) for batch in batches],
        images=images if config.dedup != "none" else None,
        withdrawn=withdrawn_objects(catalog, config.source),
    )


def _commit_left_drops(source: str, workspace: Workspace, lease: IngestLease) -> None:
    """Count what a run that was killed has written down as refused, and could not commit."""
    known = workspace.catalog.drop_batches(source)
    prefix = dropped_key(source, "x").rpartition("/")[0]
    for key in workspace.store.list(prefix):
        batch = key.rpartition("/")[2].removesuffix(".parquet")
        # Beside a shard that was never committed it does not count.
        if batch.startswith("d") and batch not in known:
            drops = list(read_drops(workspace.store, key))
            workspace.catalog.commit_drops(lease, batch, dropped=count_reasons(drops))

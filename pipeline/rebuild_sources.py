"""Sources, image shards and drops, back into the catalog.

The ledger says in which order shards were committed, and what they were. A shard that it does not
name was committed by a driver that was killed before it could write that down, or never: it is
taken if no other shard of the source has its samples, and comes last.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from sqlalchemy import func, select

from pipeline import catalog_tables as tables
from pipeline.audit import (
    READ_ERRORS,
    Problem,
    StoredShard,
    image_problems,
    read_drop_counts,
    read_images,
    unreadable,
)
from pipeline.ledger import (
    Row,
    drops_key,
    image_shards_key,
    read_lines,
    read_object,
    source_key,
)
from pipeline.lookahead import map_ahead
from pipeline.rebuild_pieces import restore_pieces
from pipeline.rebuild_withdrawn import restore_withdrawals, withdrawn_shards, withdrawn_source
from pipeline.rebuilding import AHEAD, BY, READERS, Rebuilding
from pipeline.seen import DigestSet
from pipeline.shards import read_image_rows
from pipeline.storage import Store, dropped_key, image_shard_key

UNKNOWN = "unknown"


@dataclass(slots=True)
class _Source:
    """What is known of a source so far.

    Attributes:
        lines: Its shards as the ledger has them.
        runs: Ingest runs that are back, newest last.
        samples: What its shards hold, where some are not in the ledger.
        withdrawn: By shard id, what is known of the withdrawal of a shard that counts no more.
        whole: The withdrawal of all of it.
    """

    name: str
    lines: list[Row]
    runs: list[str] = field(default_factory=list)
    samples: DigestSet | None = None
    withdrawn: dict[str, Row] = field(default_factory=dict)
    whole: Row | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An image shard that may come back; ``line`` is what the ledger has of it."""

    source: _Source
    shard_id: str
    key: str
    line: Row | None


def rebuild_sources(job: Rebuilding) -> None:
    """Put sources, ingest runs, image shards and drops back."""
    found = (_source(job, name) for name in _names(job))
    sources = [source for source in found if source is not None]
    looked = map_ahead(
        lambda each: _look(job.store, each), _candidates(job, sources), threads=READERS, ahead=AHEAD
    )
    for candidate, shard in looked:
        with job.noting(candidate.key):
            _restore_shard(job, candidate, shard)
        job.advance(1)
    for source in sources:
        rows = [*source.withdrawn.values(), *([source.whole] if source.whole else [])]
        restore_withdrawals(job, source.name, rows)
        _restore_drops(job, source)
        restore_pieces(job, source.name, source.lines, runs=source.runs)


def _names(job: Rebuilding) -> list[str]:
    with_ledger = {
        item.of for of in job.objects.get("ledger", {}).values() for item in of
        if item.key.startswith("sources/")
    }  # fmt: skip
    return sorted({*with_ledger, *job.names("image_shards", "drops", "withdrawn")})


def _source(job: Rebuilding, name: str) -> _Source | None:
    """Put a source and its ingest runs back; None where the catalog takes no such source."""
    key, lines, known = source_key(name), list[Row](), dict[str, Any]()
    with job.noting(image_shards_key(name)):
        lines = read_lines(job.store, image_shards_key(name))
    with job.noting(key):
        known = read_object(job.store, key) or {}
    row = known.get("source") or _guess(job, name)
    source, whole = None, withdrawn_source(job, name)
    with job.noting(key):
        if row is not None:
            withdrawn_at = row.get("withdrawn_at") or (whole or {}).get("withdrawn_at")
            row = {**row, "name": name, "withdrawn_at": withdrawn_at}
            job.insert(tables.sources, row, key=key)
            withdrawn = withdrawn_shards(job, name, lines)
            source = _Source(name, lines, withdrawn=withdrawn, whole=whole)
    if source is not None:
        _restore_runs(job, source, known.get("ingest_runs", []))
    return source


def _restore_runs(job: Rebuilding, source: _Source, runs: list[Row]) -> None:
    """Put ingest runs back; nobody holds a lease now, and epochs may come from two catalogs."""
    key = source_key(source.name)
    in_order = sorted(runs, key=lambda run: float(run.get("started_at") or 0))
    for epoch, run in enumerate(in_order, 1):
        with job.noting(key):
            was_cut = run.get("state") == "running"
            ended = {"state": "lost", "finished_at": job.now} if was_cut else {}
            job.insert(tables.ingest_runs, {**run, **ended, "epoch": epoch}, key=key)
            source.runs.append(run["run_id"])


def _guess(job: Rebuilding, name: str) -> Row | None:
    """A source that an older version wrote: what its first readable shard says."""
    for item in job.of("image_shards", name):
        try:
            shard = read_images(job.store, item.key)
            rows = list(read_image_rows(job.store, item.key, image=False, truth=False))
        except READ_ERRORS:
            continue  # it is named when its turn comes
        facts = "URI, layout and ingest runs, the order of its shards"
        if shard.has_truth:
            facts += "; its role, taken as benchmark, so that nobody trains on one by mistake"
        job.say_unknown(f"source {name}", facts)
        return {
            "role": "benchmark" if shard.has_truth else "unlabelled",
            "uri": UNKNOWN,
            "layout": UNKNOWN,
            "licence": _only({row.licence for row in rows}),
            "attribution": _only({row.attribution for row in rows}),
            "created_at": job.now,
        }
    job.problems.append(Problem("source", f"sources/{name}", "a readable shard", "none"))
    return None


def _only(values: set[str | None]) -> str | None:
    return values.pop() if len(values) == 1 else None


def _candidates(job: Rebuilding, sources: list[_Source]) -> Iterator[_Candidate]:
    """Shards of the ledger in the order of all commits, then the others."""
    recorded: list[tuple[int, _Candidate]] = []
    others: list[_Candidate] = []
    for source in sources:
        there = {item.shard: item.key for item in job.of("image_shards", source.name)}
        for line in source.lines:
            shard_id = str(line.get("shard_id"))
            key = there.pop(shard_id, None) or image_shard_key(source.name, shard_id)
            number = int(line.get("number") or 0)
            recorded.append((number, _Candidate(source, shard_id, key, line)))
        others += [_Candidate(source, shard, key, None) for shard, key in sorted(there.items())]
        source.samples = DigestSet() if there else None
    yield from (candidate for _, candidate in sorted(recorded, key=lambda pair: pair[0]))
    yield from others


def _look(store: Store, candidate: _Candidate) -> tuple[_Candidate, StoredShard | Problem | None]:
    """The shard as it is; None of one that was withdrawn, whose object may be gone."""
    source = candidate.source
    if source.whole or candidate.shard_id in source.withdrawn:
        return candidate, None
    try:
        return candidate, read_images(store, candidate.key)
    except READ_ERRORS as error:
        return candidate, unreadable(candidate.key, error)


def _restore_shard(
    job: Rebuilding, candidate: _Candidate, shard: StoredShard | Problem | None
) -> None:
    if shard is None:
        _restore_withdrawn(job, candidate)
        return
    if isinstance(shard, Problem):
        job.problems.append(shard)
        return
    source, line = candidate.source, candidate.line
    identity = {"source": source.name, "shard_id": candidate.shard_id}
    if problems := image_problems(shard, identity | (line or {"rows": _said_rows(shard)})):
        job.problems += problems
        return
    if not _take_samples(source, shard):
        job.skip(candidate.key, "another shard of the source has the same samples")
        return
    facts = {"key": shard.key, "rows": shard.rows, "bytes": shard.bytes, "sha256": shard.sha256}
    row = (line or {"committed_at": job.now}) | identity | facts
    row["run_id"] = _run(job, source, shard, row.get("run_id"))
    job.insert(tables.image_shards, row, key=shard.key)


def _restore_withdrawn(job: Rebuilding, candidate: _Candidate) -> None:
    """Put the row of a shard back that counts no more: snapshots still name it."""
    source, line = candidate.source, candidate.line
    if line is None:
        job.skip(candidate.key, "it was withdrawn")
        return
    of_it = source.withdrawn.get(candidate.shard_id) or source.whole or {}
    run_id = _stands_for(job, source, line.get("run_id"), code_version=UNKNOWN)
    row = line | {"source": source.name, "shard_id": candidate.shard_id, "run_id": run_id}
    row |= {"withdrawn_at": line.get("withdrawn_at") or of_it.get("withdrawn_at") or job.now}
    job.insert(tables.image_shards, row, key=candidate.key)


def _said_rows(shard: StoredShard) -> int | None:
    said = shard.footer.get("rows", "")
    return int(said) if said.isdecimal() else None


def _take_samples(source: _Source, shard: StoredShard) -> bool:
    """Remember the samples of a shard; False where one of them is there already."""
    if source.samples is None:
        return True
    digests = [bytes.fromhex(sample) for sample, _ in shard.samples]
    if any(digest in source.samples for digest in digests):
        return False
    for digest in digests:
        source.samples.add(digest)
    return True


def _run(job: Rebuilding, source: _Source, shard: StoredShard, run_id: object) -> str:
    """The ingest run that committed a shard; one that stands for those nobody wrote down."""
    version = shard.footer.get("code_version", UNKNOWN)
    return _stands_for(job, source, run_id, code_version=version)


def _stands_for(job: Rebuilding, source: _Source, run_id: object, *, code_version: str) -> str:
    if run_id in source.runs:
        return str(run_id)
    stand_in = next((run for run in source.runs if run.startswith(f"{BY}-")), None)
    if stand_in is None:
        stand_in = f"{BY}-{token_hex(6)}"
        row: Mapping[str, Any] = {
            "run_id": stand_in, "source": source.name, "epoch": _next_epoch(job, source.name),
            "owner": BY, "lease_until": 0.0, "state": "done", "uri": UNKNOWN, "config": {},
            "code_version": code_version, "summary": {},
            "started_at": job.now, "finished_at": job.now,
        }  # fmt: skip
        job.insert(tables.ingest_runs, row, key=source_key(source.name))
        source.runs.append(stand_in)
    return stand_in


def _next_epoch(job: Rebuilding, source: str) -> int:
    epochs = select(func.max(tables.ingest_runs.c.epoch))
    return int(job.connection.scalar(epochs.where(tables.ingest_runs.c.source == source)) or 0) + 1


def _restore_drops(job: Rebuilding, source: _Source) -> None:
    """Count what was refused beside the shards that are back, and after the last one."""
    shards = tables.image_shards
    query = shards.select().where(shards.c.source == source.name)
    committed = {row.shard_id: row.run_id for row in job.connection.execute(query)}
    runs: dict[str, str] = {}
    with job.noting(drops_key(source.name)):
        lines = read_lines(job.store, drops_key(source.name))
        runs = {str(line.get("batch_id")): str(line.get("run_id")) for line in lines}
    there = {item.shard for item in job.of("drops", source.name)}
    for batch in sorted(runs.keys() - there):
        job.problems.append(unreadable(dropped_key(source.name, batch), FileNotFoundError()))
    for item in job.of("drops", source.name):
        job.advance(1)
        if item.shard not in committed and not item.shard.startswith("d"):
            job.skip(item.key, "no shard of that id is back")
            continue
        with job.noting(item.key):
            found = read_drop_counts(job.store, item.key)
            newest = source.runs[-1] if source.runs else None
            said = runs.get(item.shard, newest)
            run_id = committed.get(item.shard) or _run(job, source, found, said)
            ids = {"source": source.name, "batch_id": item.shard, "run_id": run_id}
            for reason, images in found.reasons.items():
                row = ids | {"reason": reason, "images": images}
                job.insert(tables.image_drops, row, key=item.key)

"""`factory catalog trace`: one image back to the bytes it came from, and on to what came of it.

The catalog knows shards, not images. Which shard holds an image is found by reading id columns
(`pipeline.sample_search`): 62,000 shards cost some minutes of two CPUs without ``--source``, and
half of that on the average for an id that is somewhere. SOURCE/PATH and SHARD:ROW cost less.
"""

import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.readable import readable_time
from jobs.sample_config import CatalogTraceConfig
from jobs.workspace import Workspace, check_store_exists, open_workspace
from pipeline.audit import READ_ERRORS
from pipeline.errors import CatalogMissingError
from pipeline.identity import sample_id, sha256_hex
from pipeline.lineage import made_from, nodes
from pipeline.records import ImageRecord, ShardRef
from pipeline.sample_lists import parse_sample
from pipeline.sample_search import FoundSample, Wanted, find_samples
from pipeline.shards import load_bytes
from pipeline.trace import (
    find_withdrawn,
    ingest_of,
    labels_of,
    original_problem,
    read_record,
)

_SHARD_ROW = re.compile(r"(s[0-9a-f]{20}):(\d+)")
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Aim:
    """What is looked for, and where.

    Attributes:
        sources: In which; None for all.
        found: The place, where it was given.
    """

    wanted: Wanted
    sources: tuple[str, ...] | None = None
    found: FoundSample | None = None


def trace(config: CatalogTraceConfig, *, reporter: Reporter | None = None) -> Record:
    """Find an image, and say all that is known of it.

    Returns:
        ``samples``: where each lies, in which archive at which bytes, who ingested it when and
        with which code; ``labels`` of them; ``models`` that have learnt from them, and their
        students; ``withdrawn``: samples that are not there any more; ``problems``: with ``check``,
        bytes that are not what was ingested.

    Raises:
        ConfigError: The reference cannot mean an image.
        CatalogMissingError: It is nowhere.
        WithdrawnError: Its source was withdrawn as a whole.
    """
    reporter = reporter or Reporter.silent()
    check_store_exists(config)
    with open_workspace(config) as workspace:
        started_s = time.monotonic()
        aim = _aim(config, workspace)
        shards = [] if aim.found else _shards(workspace, aim)
        found = [aim.found] if aim.found else list(_search(workspace, aim, shards, reporter))
        withdrawn = list(_withdrawn(workspace, aim))
        if not found and not withdrawn:
            workspace.catalog.check_not_withdrawn(aim.sources or ())
            where = ", ".join(aim.sources) if aim.sources else "all sources"
            raise CatalogMissingError(
                f"no image {config.ref!r} is in {where}: looked through {len(shards)} shards"
            )
        summary = {"searched_shards": len(shards), "seconds": time.monotonic() - started_s}
        return summary | _describe(config, workspace, found) | {"withdrawn": withdrawn}


def _aim(config: CatalogTraceConfig, workspace: Workspace) -> _Aim:
    catalog, ref = workspace.catalog, config.ref
    if config.source is not None:
        catalog.source(config.source)
    sources = None if config.source is None else (config.source,)
    if place := _SHARD_ROW.fullmatch(ref):
        return _Aim(Wanted(), None, _at(workspace, catalog.image_shard(place[1]), int(place[2])))
    try:
        sample = parse_sample(ref)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    if sample.kind == "sample_id":
        return _Aim(Wanted(ids=frozenset([sample.value])), sources)
    if sample.kind == "sha256":
        return _Aim(Wanted(images=frozenset([sample.value])), sources)
    return _aim_at_path(sample.value, sources, workspace)


def _aim_at_path(path: str, sources: tuple[str, ...] | None, workspace: Workspace) -> _Aim:
    if sources is None:
        source, _, inside = path.partition("/")
        known = {row.name for row in workspace.catalog.sources()}
        if source in known and inside:
            sources, path = (source,), inside
        elif Path(path).is_file():
            return _Aim(Wanted(images=frozenset([sha256_hex(Path(path).read_bytes())])))
        else:
            raise ConfigError(
                [
                    f"{path!r} is no image: give SOURCE/PATH with one of the sources "
                    f"{', '.join(sorted(known)) or '(none yet)'}, a sample id, SHARD:ROW, a sha256 "
                    "or an image file"
                ]
            )
    return _Aim(Wanted(ids=frozenset([sample_id(sources[0], path)]), path=path), sources)


def _at(workspace: Workspace, shard: ShardRef, row: int) -> FoundSample:
    try:
        record = read_record(workspace.store, FoundSample(shard, row, "", ""))
    except IndexError as error:
        raise ConfigError([str(error)]) from error
    return FoundSample(shard, row, record.sample_id, record.sha256)


def _shards(workspace: Workspace, aim: _Aim) -> list[ShardRef]:
    names = aim.sources or [row.name for row in workspace.catalog.sources()]
    return [shard for name in names for shard in workspace.catalog.image_shards(name)]


def _search(
    workspace: Workspace, aim: _Aim, shards: list[ShardRef], reporter: Reporter
) -> Iterator[FoundSample]:
    """An id is in one place only; bytes may be in many."""
    with reporter.progress("search", len(shards), unit="shards") as bar:
        found = find_samples(workspace.store, shards, aim.wanted, advance=bar.advance)
        with closing(cast(Any, found)):
            for each in found:
                yield each
                if aim.wanted.ids:
                    return


def _withdrawn(workspace: Workspace, aim: _Aim) -> Iterator[Record]:
    catalog = workspace.catalog
    rows = catalog.withdrawals()
    names = set(aim.sources or (row.source for row in rows))
    source_of = {row.key: row.source for row in rows if row.key and row.source in names}
    sources = {row.shard_id: row.source for row in rows}
    for each in find_withdrawn(workspace.store, source_of, aim.wanted):
        yield {
            "source": sources.get(each.shard_id),
            **asdict(each.sample),
            "withdrawn": readable_time(each.withdrawn_at),
            "from_shard": each.shard_id,
        }


def _describe(config: CatalogTraceConfig, workspace: Workspace, found: list[FoundSample]) -> Record:
    store, catalog = workspace.store, workspace.catalog
    samples, labels, problems = list[Record](), list[Record](), list[Record]()
    models: dict[str, None] = {}
    for each in found:
        record = read_record(store, each, image=config.check)
        samples.append(_sample(workspace, each, record))
        labels += [
            {"path": record.path, **asdict(label)} for label in labels_of(store, catalog, each)
        ]
        problems += _problems(each, record) if config.check else []
    for shard_id in dict.fromkeys(each.shard.shard_id for each in found):
        made = nodes(made_from(catalog, f"shard:{shard_id}"))
        models |= {str(node["name"]): None for node in made if node["kind"] == "model"}
    checked = {"checked": len(found), "problems": problems} if config.check else {}
    return {"samples": samples, "labels": labels, "models": list(models)} | checked


def _sample(workspace: Workspace, found: FoundSample, record: ImageRecord) -> Record:
    run = ingest_of(workspace.catalog, found.shard.shard_id)
    source = workspace.catalog.source(found.shard.source)
    return {
        "source": source.name,
        "path": record.path,
        "sample_id": record.sample_id,
        "sha256": record.sha256,
        "file": record.uri,
        "offset": record.offset,
        "length": record.length,
        "original": _where(record),
        "licence": record.licence or source.licence,
        "attribution": record.attribution or source.attribution,
        "format": record.header.format,
        "width": record.header.width,
        "height": record.header.height,
        "shard": found.shard.shard_id,
        "row": found.row,
        "object": found.shard.key,
        "ingest_run": run.run_id,
        "ingested_from": run.uri,
        "code_version": run.code_version,
        "ingested": readable_time(run.started_at),
    }


def _where(record: ImageRecord) -> str:
    if record.offset is None:
        return f"{record.path}, packed inside {record.uri}: it has no bytes of its own there"
    last = record.offset + record.length - 1
    return f"bytes={record.offset}-{last} of {record.uri}"


def _problems(found: FoundSample, record: ImageRecord) -> list[Record]:
    said = {record.uri: original_problem(record)}
    try:
        load_bytes(record)
    except READ_ERRORS as error:
        said[found.shard.key] = str(error)
    return [
        {"path": record.path, "where": where, "problem": problem}
        for where, problem in said.items()
        if problem is not None
    ]

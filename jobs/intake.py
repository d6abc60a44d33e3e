"""What is done with each member of a data set: looked at in threads, then taken in order.

A shard that is full is put as one object together with what was refused beside it, looked at again,
and then committed, which alone makes it count. What the source has already is skipped, so that the
shards of a run that was killed come out as if nothing had happened.

Drops of this step:

====================  ===========================================================================
reason                meaning
====================  ===========================================================================
no_truth              a labelled or benchmark source needs ground truth for each image
changed               the source has another image, or other ground truth, under this path
duplicate             ``--dedup exact``: the source has an image of the same bytes
====================  ===========================================================================
"""

import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import cast

from jobs.config import IngestConfig
from jobs.shard_writer import ShardWriter, Written, count_reasons, put_drops
from jobs.workspace import Workspace
from pipeline.catalog import IngestLease
from pipeline.filters import ImageLimits, Refusal, Verify, examine
from pipeline.identity import drops_id, sample_id, sha256_hex
from pipeline.maps import annotation_digest
from pipeline.raw_files import FoundFile
from pipeline.records import Drop, ImageRecord, Member, Role
from pipeline.seen import (
    DigestSet,
    SeenSamples,
    content_digest,
    drop_digest,
    seen_drops,
    seen_images,
    seen_samples,
)
from pipeline.shards import read_drops
from pipeline.sources import load
from pipeline.storage import dropped_key

LEASE_S = 300.0
RENEW_S = 60.0
# A shard is cut here too, so that memory and uploads stay bounded where images are large.
SHARD_BYTES = 512 << 20

CHANGED = (
    "the source has another image or ground truth under this path, and what is committed never "
    "changes: ingest the new version under another source name"
)


@dataclass(slots=True)
class Tally:
    """What became of the members; ``samples_in == kept + sum(dropped)`` at all times."""

    samples_in: int = 0
    kept: int = 0
    already_present: int = 0
    by_reference: int = 0
    shards_written: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Looked:
    """An image that passed the checks, with the digest by which it is known again."""

    record: ImageRecord
    content: bytes


def look(found: Member | Drop | FoundFile, config: IngestConfig) -> Looked | Drop:
    """Read one member, hash and check it; runs in threads."""
    item = load(found)
    if isinstance(item, Drop):
        return item
    sha256 = sha256_hex(item.data)
    header = examine(item.data, limits=_limits(config), verify=cast(Verify, config.verify))
    truth = None if config.role == Role.UNLABELLED else item.truth
    points = item.points if config.role == Role.BENCHMARK and truth is None else ()
    alone = truth is None and not points and config.role != Role.UNLABELLED
    if not isinstance(header, Refusal) and alone:
        header = Refusal("no_truth", f"a {config.role} source needs ground truth for each image")
    if isinstance(header, Refusal):
        size = len(item.data)
        return Drop(item.path, item.uri, header.reason, header.detail, sha256, size)
    stays = config.by_reference and item.offset is not None
    record = ImageRecord(
        sample_id=sample_id(config.source, item.path),
        sha256=sha256,
        path=item.path,
        uri=item.uri,
        offset=item.offset,
        length=len(item.data),
        data=None if stays else item.data,
        header=header,
        licence=item.licence or config.licence,
        attribution=item.attribution or config.attribution,
        truth=truth,
        points=points,
    )
    return Looked(record, content_digest(sha256, annotation_digest(truth, points)))


def _limits(config: IngestConfig) -> ImageLimits:
    return ImageLimits(
        min_side=config.min_side, max_pixels=config.max_pixels, max_aspect=config.max_aspect
    )


class Intake:
    """Takes what was looked at, in order; writes and commits shards as they fill.

    A shard is committed when the next one is full. Use in a ``with`` block.
    """

    def __init__(self, config: IngestConfig, workspace: Workspace, lease: IngestLease) -> None:
        self._config = config
        self._store, self._catalog = workspace.store, workspace.catalog
        self._lease = lease
        self._renewed_s = time.monotonic()
        self.tally = Tally()
        self._store.remove_leftovers()
        shards = self._catalog.image_shards(config.source)
        self._samples: SeenSamples = seen_samples(self._store, shards)
        exact = config.dedup == "exact"
        self._images: DigestSet | None = seen_images(self._store, shards) if exact else None
        self._refused = self._known_drops({shard.shard_id for shard in shards})
        self._drops: list[Drop] = []
        self._writer = ShardWriter(self._store, source=config.source)
        self._writing: Future[Written] | None = None

    def __enter__(self) -> "Intake":
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.__exit__(*error)

    def take(self, item: Looked | Drop) -> None:
        """Count one member, and store it if it is new."""
        self.tally.samples_in += 1
        if isinstance(item, Drop):
            self._drop(item)
        else:
            self._take_image(item)
        if time.monotonic() - self._renewed_s > RENEW_S:
            self._renew()

    def finish(self) -> None:
        """Write and commit what is left."""
        if self._writer.rows:
            self._write_shard()
        self._commit_written()
        if self._drops:
            batch = drops_id((drop.path, drop.reason, drop.sha256 or "") for drop in self._drops)
            put_drops(self._store, self._drops, source=self._config.source, batch=batch)
            self._catalog.commit_drops(self._lease, batch, dropped=count_reasons(self._drops))
        tally = self.tally
        assert tally.samples_in == tally.kept + tally.dropped.total(), tally

    def _take_image(self, item: Looked) -> None:
        record = item.record
        known = self._samples.compare(record.sample_id, item.content)
        if known == "same":
            self.tally.kept += 1
            self.tally.already_present += 1
        elif known == "changed":
            self._drop(_refuse(record, "changed", CHANGED))
        elif self._is_duplicate(record):
            self._drop(_refuse(record, "duplicate", "the source has an image of the same bytes"))
        else:
            self._keep(record)

    def _is_duplicate(self, record: ImageRecord) -> bool:
        if self._images is None:
            return False
        digest = bytes.fromhex(record.sha256)[:16]
        if digest in self._images:
            return True
        self._images.add(digest)
        return False

    def _keep(self, record: ImageRecord) -> None:
        self.tally.kept += 1
        self.tally.by_reference += record.data is None
        self._writer.add(record)
        full = self._writer.rows >= self._config.shard_images
        if full or self._writer.bytes >= SHARD_BYTES:
            self._write_shard()

    def _drop(self, drop: Drop) -> None:
        self.tally.dropped[drop.reason] += 1
        if drop_digest(drop) not in self._refused:
            self._refused.add(drop_digest(drop))
            self._drops.append(drop)

    def _write_shard(self) -> None:
        """Begin to write the shard that is full, once the one before it is committed."""
        self._commit_written()
        self._renew()
        self._writing, self._drops = self._writer.finish(self._drops), []

    def _commit_written(self) -> None:
        if self._writing is not None:
            written, self._writing = self._writing.result(), None
            self._catalog.commit_image_shard(self._lease, written.shard, dropped=written.dropped)
            self.tally.shards_written += 1

    def _known_drops(self, shard_ids: set[str]) -> DigestSet:
        """What was refused before; beside a shard that was never committed does not count."""
        prefix = dropped_key(self._config.source, "x").rpartition("/")[0]
        keys = []
        for key in self._store.list(prefix):
            batch = key.rpartition("/")[2].removesuffix(".parquet")
            if batch.startswith("d"):  # a run killed before this commit left the object
                drops = count_reasons(list(read_drops(self._store, key)))
                self._catalog.commit_drops(self._lease, batch, dropped=drops)
            if batch.startswith("d") or batch in shard_ids:
                keys.append(key)
        return seen_drops(self._store, keys)

    def _renew(self) -> None:
        self._catalog.renew_ingest(self._lease, LEASE_S)
        self._renewed_s = time.monotonic()


def _refuse(record: ImageRecord, reason: str, detail: str) -> Drop:
    return Drop(record.path, record.uri, reason, detail, record.sha256, record.length)

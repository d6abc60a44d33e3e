"""What is done to each sample before anybody asks whether it is new: read, hash, check; in threads.

Drops of this step and the next (`jobs.ingest_judge`):

====================  ===========================================================================
reason                meaning
====================  ===========================================================================
no_truth              a labelled or benchmark source needs ground truth for each image
changed               the source has another image, or other ground truth, under this path
duplicate             ``--dedup exact``: a source of the store has an image of the same bytes
near_duplicate        ``--dedup near``: an image of the store looks alike; withdrawn as such, before
leak                  the same, of an image of a benchmark
withdrawn             the sample, or an image of its bytes, was withdrawn from the source
====================  ===========================================================================
"""

from dataclasses import dataclass

from pipeline.attribution_tables import credit_of
from pipeline.data_sets import DataSet
from pipeline.examiner import Examiner
from pipeline.filters import ImageLimits, Refusal, Verify
from pipeline.identity import sample_id, sha256_hex
from pipeline.maps import annotation_digest
from pipeline.raw_files import FoundFile
from pipeline.records import Drop, Ignored, ImageRecord, Member, Role
from pipeline.seen import content_digest
from pipeline.sources import Unread, load
from pipeline.storage import Store
from pipeline.truth import misfit


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestJob:
    """What all pieces of a run have in common; small and picklable.

    Attributes:
        options: Digest of what decides which samples are taken.
        licence: Of images that do not say it themselves; ``attribution`` likewise.
        by_reference: Leave the bytes where they are, if they can be read there.
        code_version: Written into shards.
        threads: That read and look, in each process.
        tables: Files that name the authors of single images.
    """

    store: Store
    source: str
    data_set: DataSet
    options: str
    role: str
    verify: Verify
    limits: ImageLimits
    licence: str | None
    attribution: str | None
    by_reference: bool
    shard_images: int
    code_version: str
    threads: int
    tables: tuple[FoundFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Looked:
    """An image that passed the checks, with the digest by which it is known again."""

    record: ImageRecord
    content: bytes


def look(
    found: Member | Drop | Ignored | Unread, job: IngestJob, examine: Examiner
) -> Looked | Drop | Ignored:
    """Read one sample, hash and check it."""
    if isinstance(found, Ignored):
        return found
    item = load(found, max_bytes=job.data_set.max_bytes)
    if isinstance(item, Drop):
        return item
    sha256 = sha256_hex(item.data)
    header = examine(item.data)
    truth = None if job.role == Role.UNLABELLED else item.truth
    points = item.points if job.role == Role.BENCHMARK and truth is None else ()
    is_bare = truth is None and not points and job.role != Role.UNLABELLED
    if not isinstance(header, Refusal) and is_bare:
        header = Refusal("no_truth", f"a {job.role} source needs ground truth for each image")
    if not isinstance(header, Refusal) and truth is not None:
        size = (header.width, header.height)
        refused = misfit(truth, size=size, orientation=header.exif_orientation)
        header = header if refused is None else Refusal(*refused)
    if isinstance(header, Refusal):
        return Drop(item.path, item.uri, header.reason, header.detail, sha256, len(item.data))
    credit = credit_of(item.path, layout=job.data_set.layout, tables=job.tables)
    stays = job.by_reference and item.offset is not None
    record = ImageRecord(
        sample_id=sample_id(job.source, item.path),
        sha256=sha256,
        path=item.path,
        uri=item.uri,
        offset=item.offset,
        length=len(item.data),
        data=None if stays else item.data,
        header=header,
        licence=credit.licence or item.licence or job.licence,
        attribution=credit.attribution or item.attribution or job.attribution,
        truth=truth,
        points=points,
    )
    return Looked(record, content_digest(sha256, annotation_digest(truth, points)))

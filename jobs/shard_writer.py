"""Each shard is packed and put in a thread of its own, while the next images are looked at.

So the next shard is packed already while the disk still writes the last one.

Nothing here talks to the catalog: what was written is handed back, to be committed by the driver.
"""

from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.errors import ShardCorruptError
from pipeline.identity import drops_id
from pipeline.records import Drop, ImageRecord, ShardRef
from pipeline.shards import ROW_GROUP_ROWS, ImageShardBuilder, shard_footer, write_drops
from pipeline.storage import Store

GROUPS_AHEAD = 2  # row groups that may wait to be packed


@dataclass(frozen=True, slots=True)
class Written:
    """A shard that lies in the store and is to be committed.

    Attributes:
        dropped: What was refused beside it, per reason.
    """

    shard: ShardRef
    dropped: dict[str, int]

    @property
    def batch(self) -> str:
        """Under which name the drops lie."""
        return self.shard.shard_id


@dataclass(frozen=True, slots=True)
class Refused:
    """A batch of drops that lies in the store without a shard, and is to be counted."""

    batch: str
    dropped: dict[str, int]


class ShardWriter:
    """Builds one shard after the other; use in a ``with`` block."""

    def __init__(self, store: Store, *, source: str, code_version: str) -> None:
        self._store = store
        self._source = source
        self._code_version = code_version
        self._unfinished: dict[ImageShardBuilder, ThreadPoolExecutor] = {}
        self._begin()

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *error: object) -> None:
        for builder, thread in list(self._unfinished.items()):
            thread.shutdown(cancel_futures=True)
            builder.discard()

    @property
    def rows(self) -> int:
        """Images in the shard so far."""
        return self._rows

    @property
    def bytes(self) -> int:
        """Of the images and, unpacked, of the ground truth in the shard so far."""
        return self._bytes

    def add(self, record: ImageRecord) -> None:
        """Add the next image; raises what went wrong with those before."""
        self._rows += 1
        self._bytes += len(record.data or b"")
        self._bytes += record.truth.values_HW.nbytes if record.truth else 0
        self._group.append(record)
        if len(self._group) == ROW_GROUP_ROWS:
            self._pack()

    def finish(self, drops: list[Drop]) -> Future[Written]:
        """Put the shard with what was refused beside it, and begin the next one."""
        self._pack()
        full = _Full(self._builder, self._rows, list(self._packing), drops)
        thread = self._unfinished[self._builder]
        future = thread.submit(self._put, full)
        thread.shutdown(wait=False)  # it ends after this
        self._begin()
        return future

    def _put(self, full: "_Full") -> Written:
        """Put a shard and what was refused beside it, and look at what arrived."""
        for group in full.packing:
            group.result()  # a group that could not be packed must not be missing silently
        shard = full.builder.put()
        del self._unfinished[full.builder]
        self._put_drops(full.drops, shard.shard_id)
        arrived = shard_footer(self._store, shard.key).get("shard_id")
        as_written = arrived == shard.shard_id and self._store.size(shard.key) == shard.bytes
        if not as_written or shard.rows != full.rows:
            raise ShardCorruptError(f"{shard.key}: what was read back is not what was written")
        return Written(shard, count_reasons(full.drops))

    def put_drops(self, drops: list[Drop]) -> Refused | None:
        """Put what was refused with no shard beside it, if anything was."""
        if not drops:
            return None
        batch = drops_id((drop.path, drop.reason, drop.sha256 or "") for drop in drops)
        self._put_drops(drops, batch)
        return Refused(batch, count_reasons(drops))

    def _put_drops(self, drops: list[Drop], batch: str) -> None:
        if drops:
            said = {"source": self._source, "code_version": self._code_version}
            write_drops(self._store, drops, shard_id=batch, **said)

    def _begin(self) -> None:
        self._builder = ImageShardBuilder(
            self._store, source=self._source, code_version=self._code_version
        )
        self._unfinished[self._builder] = ThreadPoolExecutor(1, thread_name_prefix="shard-writer")
        self._packing: deque[Future[None]] = deque()
        self._group: list[ImageRecord] = []
        self._rows = self._bytes = 0

    def _pack(self) -> None:
        builder, group = self._builder, self._group
        thread = self._unfinished[builder]
        self._packing.append(thread.submit(lambda: builder.extend(group)))
        self._group = []
        while len(self._packing) > GROUPS_AHEAD:
            self._packing.popleft().result()


def count_reasons(drops: list[Drop]) -> dict[str, int]:
    """How many were refused for each reason."""
    return dict(sorted(Counter(drop.reason for drop in drops).items()))


@dataclass(frozen=True, slots=True)
class _Full:
    builder: ImageShardBuilder
    rows: int
    packing: list[Future[None]]
    drops: list[Drop]

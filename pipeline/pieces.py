"""Pieces of a data set: runs of items that are read together, and what is known of those read.

A piece is cut in the order of the listing and named after what is in it, so that the pieces of a
run that was killed come out again the same. When one was read to its end, an object says what
became of each of its items; an item that is listed again as it was is not read again, unless it
was refused for what may pass.

What is known costs 40 bytes of memory an item: 570 MB for the 14 million files of ImageNet-21K
unpacked.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data_sets import Item, Sample
from pipeline.errors import ShardCorruptError
from pipeline.identity import check_name, sha256_hex
from pipeline.lookahead import map_ahead
from pipeline.raw_files import FoundFile
from pipeline.records import Drop
from pipeline.seen import find_digest
from pipeline.storage import Store
from pipeline.withdrawn_since import WithdrawnSince

# Raise it when what is read becomes something else, as when a format is supported that was not:
# all items are then read again, once.
RULES = "1"
READERS = 8
TWIN = "duplicate"  # passes when the other image of these bytes is withdrawn
# These pass without a trace in the listing: by rights, a library, a less busy machine.
PASSING = frozenset({"unreadable", "missing_library", "decode_timeout"})

Listed = Item | Drop  # of a sample whose ground truth is missing, the listing knows already

PIECE_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("digest", pa.binary(16), nullable=False),
        pa.field("kept", pa.int64(), nullable=False),
        pa.field("refused", pa.string()),  # JSON: {"dropped": {…}, "ignored": {…}}
    ]
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Items that follow each other in the listing.

    Attributes:
        piece_id: ``p`` and 20 hex digits, from the items and from what decides which are taken.
        digests: One per item, 16 bytes; None where nothing would tell if it changed.
    """

    piece_id: str
    items: tuple[Listed, ...]
    digests: tuple[bytes | None, ...]


@dataclass(slots=True)
class Outcome:
    """What became of one item, or of many: how many samples were kept, dropped and ignored."""

    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)

    def drop(self, reason: str) -> None:
        """Count one sample that was dropped."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def ignore(self, what: str) -> None:
        """Count one file that is no sample."""
        self.ignored[what] = self.ignored.get(what, 0) + 1


def options_digest(**options: Any) -> str:
    """Hex digest of what decides which samples are taken; simple values only."""
    text = json.dumps({"rules": RULES, **options}, sort_keys=True, default=str)
    return sha256_hex(text.encode())[:20]


def item_digest(item: Listed, *, options: str) -> bytes | None:
    """16 bytes that change with the item, or with the options; None where nobody can tell."""
    facts = _facts(item)
    if facts is None:
        return None
    text = "\0".join((options, *facts))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _facts(item: Listed) -> tuple[str, ...] | None:
    if isinstance(item, Drop):
        return ("drop", item.path, item.uri, item.reason, item.detail)
    kind = getattr(item, "kind", "file")
    if kind != "file":  # a link is never opened, and so cannot change
        return (kind, item.path, item.uri) if isinstance(item, FoundFile) else None
    if isinstance(item, Sample) and not all(part.version for part in (item.image, *item.truth)):
        return None
    where = getattr(item, "uri", ""), getattr(item, "encoding", "")
    facts = (type(item).__name__, item.path, *where, str(item.bytes), item.version)
    return facts if item.version else None


def cut_pieces(
    items: Iterable[Listed], *, options: str, max_items: int, max_bytes: int
) -> Iterator[Piece]:
    """Runs of items, each closed by the item with which it reaches a limit.

    Where pieces begin and end depends on nothing before them but the end of the last one: without
    some whole pieces in the sequence, the others are as they were.
    """
    run: list[Listed] = []
    run_bytes = 0
    for item in items:
        run.append(item)
        run_bytes += item_bytes(item)
        if len(run) >= max_items or run_bytes >= max_bytes:
            yield _piece(run, options)
            run, run_bytes = [], 0
    if run:
        yield _piece(run, options)


def item_bytes(item: Listed) -> int:
    """What is to be read for an item."""
    return 0 if isinstance(item, Drop) else item.bytes


def _piece(items: Sequence[Listed], options: str) -> Piece:
    digests = tuple(item_digest(item, options=options) for item in items)
    whole = hashlib.sha256(options.encode())
    for item, digest in zip(items, digests, strict=True):
        # Without a version the path has to do: the id must be the same in the next run.
        whole.update(digest or f"\0{item.path}\0{item_bytes(item)}".encode(errors="surrogatepass"))
    return Piece(f"p{whole.hexdigest()[:20]}", tuple(items), digests)


def piece_key(source: str, piece_id: str) -> str:
    """Where it is written what became of the items of a piece."""
    return f"sources/{check_name(source)}/pieces/{check_name(piece_id)}.parquet"


def write_piece(store: Store, piece: Piece, outcomes: Sequence[Outcome], *, source: str) -> int:
    """Put what became of those items that can be known again; returns how many these are."""
    rows = [
        _row(item, digest, outcome)
        for item, digest, outcome in zip(piece.items, piece.digests, outcomes, strict=True)
        if digest is not None and PASSING.isdisjoint(outcome.dropped)
    ]
    if rows:
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=PIECE_SCHEMA), sink, compression="zstd")
        store.put(piece_key(source, piece.piece_id), sink.getvalue())
    return len(rows)


def _row(item: Listed, digest: bytes, outcome: Outcome) -> dict[str, Any]:
    refused = {"dropped": outcome.dropped, "ignored": outcome.ignored}
    is_any = outcome.dropped or outcome.ignored
    return {
        "path": item.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
        "bytes": item_bytes(item),
        "digest": digest,
        "kept": outcome.kept,
        "refused": json.dumps(refused, sort_keys=True) if is_any else None,
    }


class KnownItems:
    """Items of pieces that were read to their end, found again by their digests.

    Args:
        tables: What the pieces say, the newest first, each with when it was read to its end.
        withdrawn: What may have been taken out since.
        twins_gone: When an image may have gone that another was refused for, as its duplicate: what
            was read before, and had any, is not known.
    """

    def __init__(
        self,
        tables: Iterable[tuple[float, pa.Table]] = (),
        withdrawn: WithdrawnSince | None = None,
        twins_gone: float = float("-inf"),
    ) -> None:
        self._withdrawn = withdrawn or WithdrawnSince()
        self._twins_gone = twins_gone
        self._finished: list[float] = []
        refused: dict[str | None, int] = {None: 0}
        digests, columns = [b""], [np.zeros((3, 0), np.int64)]
        for number, (finished_at, table) in enumerate(tables):
            self._finished.append(finished_at)
            digests.append(b"".join(table["digest"].to_pylist()))
            codes = [
                refused.setdefault(text, len(refused)) for text in table["refused"].to_pylist()
            ]
            kept = table["kept"].to_numpy()
            columns.append(np.stack([kept, np.array(codes), np.full(len(kept), number)]))
        found = np.frombuffer(b"".join(digests), "S16")
        order = np.argsort(found, kind="stable")
        self._digests = found[order]
        self._kept, self._refused, self._piece = np.concatenate(columns, axis=1)[:, order]
        self._refusals = [_refusal(text) for text in refused]
        self._pieces: set[int] = set()

    def __len__(self) -> int:
        return len(self._digests)

    @property
    def pieces_found(self) -> int:
        """Pieces of which at least one item was asked for and found."""
        return len(self._pieces)

    def find(self, item: Listed, *, options: str) -> Outcome | None:
        """What became of an item, not to be altered; None where it must be read."""
        if not len(self):  # of a new source nothing is known, and no item needs its digest yet
            return None
        digest = item_digest(item, options=options)
        place = find_digest(self._digests, digest) if digest is not None else None
        if place is None:
            return None
        piece = int(self._piece[place])
        dropped, ignored = self._refusals[int(self._refused[place])]
        if TWIN in dropped and self._finished[piece] <= self._twins_gone:
            return None
        whole = Outcome(int(self._kept[place]), dropped, ignored)
        outcome = self._without_withdrawn(item, whole, self._finished[piece])
        if outcome is not None:
            self._pieces.add(piece)
        return outcome

    def _without_withdrawn(self, item: Listed, outcome: Outcome, since: float) -> Outcome | None:
        """None where nobody can say: of items that share their archive with others."""
        if not self._withdrawn.is_any(since):
            return outcome
        if not isinstance(item, FoundFile | Sample | Drop):
            return None
        gone = self._withdrawn.of(item.path, since=since)
        kept = outcome.kept - sum(gone.values())
        dropped = {
            reason: outcome.dropped.get(reason, 0) + gone.get(reason, 0)
            for reason in outcome.dropped | gone
        }
        return Outcome(kept, dropped, outcome.ignored) if kept >= 0 else None


def _refusal(text: str | None) -> tuple[dict[str, int], dict[str, int]]:
    said = json.loads(text) if text else {}
    return said.get("dropped", {}), said.get("ignored", {})


def known_items(
    store: Store,
    source: str,
    pieces: Mapping[str, float],
    *,
    withdrawn: WithdrawnSince | None = None,
    twins_gone: float = float("-inf"),
) -> KnownItems:
    """Read what became of the items of some pieces; one whose object is gone is not known.

    Args:
        store: Where their objects are.
        source: Whose they are.
        pieces: When each was read to its end, the newest first.
        withdrawn: What may have been taken out since.
        twins_gone: See `KnownItems`.
    """

    def read(piece: tuple[str, float]) -> tuple[float, pa.Table] | None:
        try:
            return piece[1], read_piece(store, piece_key(source, piece[0]))
        except (FileNotFoundError, ShardCorruptError):
            return None

    tables = map_ahead(read, pieces.items(), threads=READERS, ahead=4 * READERS)
    return KnownItems((table for table in tables if table is not None), withdrawn, twins_gone)


def read_piece(store: Store, key: str) -> pa.Table:
    """One object as a table with the columns of `PIECE_SCHEMA`.

    Raises:
        FileNotFoundError: There is no such object.
        ShardCorruptError: It cannot be read.
    """
    data = store.get(key)
    try:
        return pq.read_table(io.BytesIO(data), schema=PIECE_SCHEMA)
    except (pa.ArrowException, OSError) as error:
        raise ShardCorruptError(f"{key} in {store.uri} cannot be read: {error}") from error

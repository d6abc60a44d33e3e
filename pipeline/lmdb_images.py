"""Images in an LMDB file (LSUN's ``data.mdb``), read as it lies there.

The file is a B+ tree in pages, read here by its format (LMDB 0.9, ``MDB_DATA_VERSION`` 1, 64-bit
little-endian, as ``mdb.c`` lays it out) and not through the library. That maps the whole file into
memory and trusts every number in it: a crafted or cut-off one ends the process, it must be a local
file of its own, and no value has a place that a reference could name. Here each number is checked,
the file may be part of a zip, and nothing is locked or written.

Values come in the order of their keys, which become their names as they are: what format a value
has, its bytes say (LSUN's README says JPEG, its tools write WebP). 64-bit files only; values of
several per key and databases inside the database are refused one by one.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from pipeline.archives import Entry
from pipeline.member_paths import normalised

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER = struct.Struct("<QHHHH")  # of a page: its number, unused, flags, end of pointers, data
_META = struct.Struct("<IIQQ")  # magic, version, address, size of the map
_TREE = struct.Struct("<IHHQQQQQ")  # page size, flags, depth, branches, leaves, overflow, n, root
_NODE = struct.Struct("<HHHH")  # size low and high, flags, key size
_BRANCH, _LEAF, _OVERFLOW, _LEAF2 = 0x01, 0x02, 0x04, 0x20
_BIG, _NOT_A_VALUE = 0x01, 0x06
_NO_PAGE = (1 << 64) - 1
_DUPLICATES = 0x04
_HEX = "0x"
MAX_DEPTH = 32
_PAGE_SIZES = [1 << bits for bits in range(9, 17)]


@dataclass(frozen=True, slots=True)
class _Tree:
    page_bytes: int
    flags: int
    depth: int
    entries: int
    root: int


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of a page: the child of a branch, or where a value is."""

    key: bytes
    flags: int
    number: int  # page of the child, or bytes of the value
    data: int  # where the value, or the number of its page, starts inside this page


def lmdb_entries(stream: BinaryIO) -> Iterator[Entry]:
    """One entry per key, with the place of its value in the file.

    Args:
        stream: The ``data.mdb``, to be read from anywhere.

    Raises:
        ValueError: It is no such file, or broken; what came before that was sound.
        EOFError: It is cut off.
    """
    # A buffer would read a megabyte around each value: neighbours of a key lie anywhere.
    file = cast(BinaryIO, getattr(stream, "raw", stream))
    size = file.seek(0, io.SEEK_END)
    tree = _newest(file)
    count = 0
    for entry in _Walk(file, size, tree).entries():
        yield entry
        count += 1
    if count != tree.entries:
        raise ValueError(f"it has {count:,} entries and says {tree.entries:,}")


def is_lmdb(head: bytes) -> bool:
    """Whether a file that begins like this is one."""
    return len(head) >= 24 and _META.unpack_from(head, _HEADER.size)[:2] == (_MAGIC, _VERSION)


def _newest(file: BinaryIO) -> _Tree:
    """Of the two pages that may describe the tree, the one of the later transaction."""
    first = _meta(_read(file, 0, 512))
    if first is None:
        raise ValueError("no LMDB file of version 1 (64 bits)")
    page_bytes = first[1].page_bytes
    if page_bytes not in _PAGE_SIZES:
        raise ValueError(f"pages of {page_bytes} bytes")
    second = _meta(_read(file, page_bytes, 512))
    found = [meta for meta in (first, second) if meta is not None]
    return max(found, key=lambda meta: meta[0])[1]


def _meta(page: bytes) -> tuple[int, _Tree] | None:
    """Transaction and main tree; page size is told by the tree of free pages, which is first."""
    if not is_lmdb(page):
        return None
    start = _HEADER.size + _META.size
    page_bytes = _TREE.unpack_from(page, start)[0]
    _, flags, depth, *_, entries, root = _TREE.unpack_from(page, start + _TREE.size)
    _, transaction = struct.unpack_from("<QQ", page, start + 2 * _TREE.size)
    return transaction, _Tree(page_bytes, flags, depth, entries, root)


class _Walk:
    """Goes through the leaves in order.

    Pages and values of a sound file do not overlap: more of them than the file has room for are
    a bomb.
    """

    def __init__(self, file: BinaryIO, size: int, tree: _Tree) -> None:
        self._file, self._size, self._tree = file, size, tree
        self._pages_left = size // tree.page_bytes
        self._bytes_left = size

    def entries(self) -> Iterator[Entry]:
        if self._tree.root == _NO_PAGE:
            return
        if self._tree.flags & _DUPLICATES:
            raise ValueError("several values per key are not read here")
        # For each level of the tree, the children still to be visited.
        levels = [iter([self._tree.root])]
        while levels:
            number = next(levels[-1], None)
            if number is None:
                levels.pop()
                continue
            start, page, flags = self._page(number)
            if flags & _LEAF:
                yield from (self._entry(node, start, page) for node in _nodes(page))
            elif len(levels) >= MAX_DEPTH:
                raise ValueError(f"a tree of more than {MAX_DEPTH} levels")
            else:
                levels.append(iter([node.number | node.flags << 32 for node in _nodes(page)]))

    def _page(self, number: int) -> tuple[int, bytes, int]:
        """Where a page starts, its bytes and flags."""
        start = number * self._tree.page_bytes
        page = self._bytes_at(start, self._tree.page_bytes)
        named, _, flags, _, _ = _HEADER.unpack_from(page)
        if named != number or flags & (_BRANCH | _LEAF) not in (_BRANCH, _LEAF) or flags & _LEAF2:
            raise ValueError(f"page {number} is neither branch nor leaf")
        self._pages_left -= 1
        if self._pages_left < 0:
            raise ValueError("its pages form no tree")
        return start, page, flags

    def _entry(self, node: _Node, start: int, page: bytes) -> Entry:
        name = _name(node.key)
        if node.flags & _NOT_A_VALUE:
            detail = "a database inside the database is not read here"
            return Entry(name, 0, io.BytesIO, refusal=("unsupported_archive", detail))
        at = start + node.data
        if node.flags & _BIG:
            at = self._big(int.from_bytes(page[node.data : node.data + 8], "little"))
        elif node.data + node.number > len(page):
            raise ValueError(f"the value of {name!r} leaves its page")
        self._check(at, node.number)
        self._bytes_left -= node.number
        if self._bytes_left < 0:
            raise ValueError("its values overlap")
        return Entry(
            name, node.number, lambda: io.BytesIO(self._bytes_at(at, node.number)), offset=at
        )

    def _big(self, number: int) -> int:
        """Where a value starts that has pages of its own."""
        start = number * self._tree.page_bytes
        named, _, flags, _, _ = _HEADER.unpack(self._bytes_at(start, _HEADER.size))
        if named != number or not flags & _OVERFLOW:
            raise ValueError(f"page {number} does not hold a large value")
        return start + _HEADER.size

    def _bytes_at(self, start: int, count: int) -> bytes:
        self._check(start, count)
        return _read(self._file, start, count)

    def _check(self, start: int, count: int) -> None:
        if start + count > self._size:
            raise EOFError(f"it ends at byte {self._size:,}, and should go on to {start + count:,}")


def _nodes(page: bytes) -> Iterator[_Node]:
    """The nodes of a branch or a leaf, in the order of their keys."""
    _, _, _, pointers_end, _ = _HEADER.unpack_from(page)
    if not _HEADER.size <= pointers_end <= len(page):
        raise ValueError("a page whose pointers leave it")
    for place in range(_HEADER.size, pointers_end - 1, 2):
        at = int.from_bytes(page[place : place + 2], "little")
        if at + _NODE.size > len(page):
            raise ValueError("a node outside of its page")
        low, high, flags, key_bytes = _NODE.unpack_from(page, at)
        data = at + _NODE.size + key_bytes
        if data > len(page):
            raise ValueError("a key that leaves its page")
        yield _Node(page[at + _NODE.size : data], flags, low | high << 16, data)


def _name(key: bytes) -> str:
    """A key that can be a path as it is, any other in hexadecimal digits; no two are the same."""
    digits = _HEX + key.hex()
    try:
        text = key.decode("utf-8")
    except UnicodeDecodeError:
        return digits
    is_plain = text.isprintable() and normalised(text) == text and not text.startswith(_HEX)
    return text if is_plain else digits


def _read(file: BinaryIO, start: int, count: int) -> bytes:
    """Exactly so many bytes, however few are given at once."""
    file.seek(start)
    parts, left = [], count
    while left and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    if left:
        raise EOFError(f"it ends {left:,} bytes short of byte {start + count:,}")
    return b"".join(parts)

"""LMDB files as the library writes them are read without it, and broken ones are errors."""

import hashlib
import io
import random
import struct
import time

import lmdb
import pytest

from pipeline.archives import ARCHIVE_FAULTS
from pipeline.lmdb_images import is_lmdb, lmdb_entries

FAULTS = (ValueError, EOFError)


def value(index: int) -> bytes:
    """Of any size from nothing to some pages."""
    return random.Random(index).randbytes((0, 7, 900, 2100, 5000, 30_000)[index % 6])


def database(folder, values, **options) -> bytes:
    with lmdb.open(str(folder), map_size=1 << 26, **options) as env:
        for key, data in values.items():
            with env.begin(write=True) as transaction:
                transaction.put(key, data)
    return (folder / "data.mdb").read_bytes()


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    """Keys like LSUN's, put in no order, some overwritten and removed again."""
    keys = [hashlib.sha1(bytes([index])).hexdigest().encode() for index in range(200)]
    values = {key: value(index) for index, key in enumerate(keys)}
    folder = tmp_path_factory.mktemp("db")
    with lmdb.open(str(folder), map_size=1 << 26) as env:
        for round_ in range(3):
            with env.begin(write=True) as transaction:
                for key, data in values.items():
                    transaction.put(key, data[round_:] if round_ < 2 else data)
                transaction.put(b"gone", b"x" * 9000)
        with env.begin(write=True) as transaction:
            transaction.delete(b"gone")
    return (folder / "data.mdb").read_bytes(), {key.decode(): data for key, data in values.items()}


def read(data: bytes) -> dict[str, bytes]:
    return {entry.name: entry.read() for entry in lmdb_entries(io.BytesIO(data))}


def test_every_value_in_the_order_of_keys(some):
    data, values = some
    found = read(data)
    assert found == values
    assert list(found) == sorted(values)


def test_a_value_stands_in_the_file_where_its_entry_says(some):
    data, values = some
    for entry in lmdb_entries(io.BytesIO(data)):
        assert entry.offset is not None
        assert data[entry.offset : entry.offset + entry.size] == values[entry.name]


def test_a_tree_of_several_levels(tmp_path):
    values = {b"%0400d" % index: b"%d" % index for index in range(2000)}
    with lmdb.open(str(tmp_path), map_size=1 << 26) as env:
        with env.begin(write=True) as transaction:
            for key, data in values.items():
                transaction.put(key, data)
        assert env.stat()["depth"] >= 3
    data = (tmp_path / "data.mdb").read_bytes()
    assert read(data) == {key.decode(): data for key, data in values.items()}


def test_the_later_transaction_counts_whichever_page_it_is_on(tmp_path):
    for turn in range(3):
        data = database(tmp_path, {b"turn": b"%d" % turn})
        assert read(data) == {"turn": b"%d" % turn}


def test_nothing_in_it(tmp_path):
    with lmdb.open(str(tmp_path), map_size=1 << 20):
        pass
    assert read((tmp_path / "data.mdb").read_bytes()) == {}


def test_keys_that_are_no_paths_are_named_in_hexadecimal_and_none_twice(tmp_path):
    keys = [b"\xff\x00", b"a\n", b"ok/1.jpg", b"../up", b"a//b", b"a/b", b"0xff00", b"ff00"]
    found = read(database(tmp_path, {key: key for key in keys}))
    assert sorted(found.values()) == sorted(keys)
    assert {data: name for name, data in found.items()} == {
        b"\xff\x00": "0xff00",
        b"a\n": "0x610a",
        b"ok/1.jpg": "ok/1.jpg",
        b"../up": "0x2e2e2f7570",
        b"a//b": "0x612f2f62",
        b"a/b": "a/b",
        b"0xff00": "0x307866663030",
        b"ff00": "ff00",
    }


def test_a_database_inside_is_refused_and_the_rest_is_read(tmp_path):
    with lmdb.open(str(tmp_path), map_size=1 << 20, max_dbs=1) as env:
        inner = env.open_db(b"inner")
        with env.begin(write=True) as transaction:
            transaction.put(b"k", b"v", db=inner)
            transaction.put(b"outer", b"value")
    entries = {
        entry.name: entry
        for entry in lmdb_entries(io.BytesIO((tmp_path / "data.mdb").read_bytes()))
    }
    assert entries["outer"].read() == b"value"
    assert entries["inner"].refusal and entries["inner"].refusal[0] == "unsupported_archive"


def test_it_is_told_by_its_first_bytes(some):
    assert is_lmdb(some[0][:512])
    assert not is_lmdb(b"\0" * 512) and not is_lmdb(b"") and not is_lmdb(b"PK\3\4" * 10)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9])
def test_a_file_that_is_cut_off_is_an_error_after_what_is_sound(some, share):
    data, values = some
    found = {}
    with pytest.raises(FAULTS):
        for entry in lmdb_entries(io.BytesIO(data[: int(len(data) * share)])):
            found[entry.name] = entry.read()
    assert all(values[name] == found[name] for name in found)


def test_a_page_that_is_its_own_child_comes_to_an_end(some):
    data, _ = some
    page = struct.unpack_from("<I", data, 40)[0]
    broken = bytearray(data)
    for start in range(2 * page, len(data), page):
        number, _, flags = struct.unpack_from("<QHH", data, start)
        if number * page == start and flags == 1:  # a branch: all of its children are itself
            lower = struct.unpack_from("<H", data, start + 12)[0]
            for place in range(16, lower, 2):
                at = start + struct.unpack_from("<H", data, start + place)[0]
                struct.pack_into("<HHH", broken, at, number & 0xFFFF, number >> 16, 0)
    assert broken != data
    began = time.monotonic()
    with pytest.raises(FAULTS):
        read(bytes(broken))
    assert time.monotonic() - began < 5


def test_values_that_overlap_are_a_bomb(tmp_path):
    data = bytearray(database(tmp_path, {b"%02d" % index: bytes(9000) for index in range(40)}))
    page, first = 4096, next(lmdb_entries(io.BytesIO(bytes(data))))
    for start in range(2 * page, len(data), page):
        number, _, flags, pointers_end = struct.unpack_from("<QHHH", data, start)
        if number * page == start and flags == 2:  # each key gets all that follows the first value
            for place in range(16, pointers_end, 2):
                at = start + struct.unpack_from("<H", data, start + place)[0]
                struct.pack_into("<I", data, at, len(data) - first.offset)
                struct.pack_into("<Q", data, at + 10, first.offset // page)
    taken = 0
    with pytest.raises(ValueError, match="overlap"):
        for entry in lmdb_entries(io.BytesIO(bytes(data))):
            taken += entry.size
    assert 0 < taken <= len(data)


def test_flipped_bits_are_errors_or_other_values_but_never_anything_else(some):
    """The library would read outside of the file for some of these."""
    data, _ = some
    chance = random.Random(5)
    refused = 0
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(20):
            place = chance.randrange(len(broken) // 4096) * 4096 + chance.randrange(64)
            broken[place] ^= 1 << chance.randrange(8)
        try:
            total = sum(len(entry.read()) for entry in lmdb_entries(io.BytesIO(bytes(broken))))
            assert total <= len(broken)
        except ARCHIVE_FAULTS:
            refused += 1
    assert refused > 15

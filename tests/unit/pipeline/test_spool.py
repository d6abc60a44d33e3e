"""Bytes that wait on disk come back, and the disk is given back."""

import os

import pytest

from pipeline.errors import StorageError
from pipeline.spool import Spool


def test_bytes_come_back_in_any_order():
    blobs = [os.urandom(n) for n in (0, 1, 5000, 17)]
    with Spool() as spool:
        places = [spool.put(blob) for blob in blobs]
        assert [spool.get(place) for place in places] == blobs
        assert [spool.take(place) for place in reversed(places)] == blobs[::-1]


def test_an_empty_spool_takes_no_disk():
    with Spool() as spool:
        for _ in range(50):
            first, second = spool.put(b"x" * 10_000), spool.put(b"y" * 10_000)
            assert spool.take(first)[:1] == b"x"
            assert spool.take(second)[:1] == b"y"
        assert os.fstat(spool._file.fileno()).st_size == 0


def test_a_full_disk_says_where_and_what_to_do():
    with Spool() as spool:
        spool._file.close()
        spool._file = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115  # closed by the spool
        with pytest.raises(StorageError, match=r"no room .*TMPDIR"):
            spool.put(b"x" * 10)

"""Ranged files read what an ordinary file of the same bytes reads, in few and exact requests."""

import io
import random

import pytest

from pipeline.ranged_file import ranged_file

DATA = random.Random(0).randbytes(10_000)


def opened(ahead=100):
    asked = []

    def fetch(start, end):
        asked.append((start, end))
        return DATA[start:end]

    return io.BufferedReader(ranged_file(fetch, size=len(DATA), ahead=ahead), 64), asked


def test_reads_like_an_ordinary_file():
    rng = random.Random(1)
    ours, asked = opened()
    theirs = io.BytesIO(DATA)
    for _ in range(500):
        if rng.random() < 0.5:
            whence = rng.choice([io.SEEK_SET, io.SEEK_END])
            place = rng.randrange(11_000) if whence == io.SEEK_SET else -rng.randrange(10_000)
            assert ours.seek(place, whence) == theirs.seek(place, whence)
        size = rng.choice([1, 10, 63, 64, 500, 5000, -1])
        assert ours.read(size) == theirs.read(size)
        assert ours.tell() == theirs.tell()
    assert all(0 <= start < end <= len(DATA) for start, end in asked)


def test_reading_on_asks_ahead():
    ours, asked = opened(ahead=1000)
    while ours.read(10):
        pass
    assert len(asked) <= 10


def test_a_large_read_is_one_request():
    ours, asked = opened()
    assert ours.read(6400) == DATA[:6400]
    assert len(asked) == 1


def test_nothing_lies_before_a_file():
    raw = ranged_file(lambda start, end: DATA[start:end], size=len(DATA), ahead=0)
    with pytest.raises(ValueError, match="before the file"):
        raw.seek(-1)


def test_closing_closes_what_is_below_once():
    closed = []
    raw = ranged_file(lambda a, b: b"", size=0, ahead=0, close=lambda: closed.append(1))
    raw.close()
    raw.close()
    assert closed == [1]

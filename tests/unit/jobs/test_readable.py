import pytest

from jobs.readable import (
    printable,
    readable_bytes,
    readable_duration,
    readable_rate,
    readable_time,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (41.4, "41 s"),
        (59.7, "1 min 0 s"),
        (725, "12 min 5 s"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations(seconds, text):
    assert readable_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (2.5e15, "2.5 PB")],
)
def test_sizes(count, text):
    assert readable_bytes(count) == text


def test_rates():
    assert readable_rate(1219, 10, "images") == "121.9 images/s"
    assert readable_rate(3, 0, "images") == "– images/s"


def test_line_breaks_stay_and_control_characters_are_spelt():
    assert printable("è – 深\n\tx\x1b\x00\x9b") == "è – 深\n\tx\\x1b\\x00\\x9b"


def test_times_are_utc():
    assert readable_time(1_770_127_506.9) == "2026-02-03 14:05:06"
    assert readable_time(None) is None

"""What was withdrawn of an item is counted by time and by path, compared with a plain search."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.withdrawn_since import WithdrawnSince

NAMES = st.lists(st.sampled_from(["a", "b", "a0", "a.tar", "a-", "é"]), min_size=1, max_size=3)
PATHS = NAMES.map("/".join)
SAMPLES = st.lists(st.tuples(PATHS, st.sampled_from(["leak", "withdrawn"]), st.integers(0, 5)))


@given(SAMPLES, PATHS, st.integers(0, 5))
def test_it_finds_what_a_search_finds(samples, path, since):
    expected = Counter(
        reason
        for found, reason, when in samples
        if (found == path or found.startswith(f"{path}/")) and when > since
    )
    assert WithdrawnSince(samples).of(path, since=since) == expected


@given(SAMPLES, st.integers(0, 5))
def test_of_a_data_set_that_is_one_file_it_is_everything(samples, since):
    withdrawn = WithdrawnSince(samples)
    expected = Counter(reason for _, reason, when in samples if when > since)
    assert withdrawn.of("", since=since) == expected
    assert withdrawn.is_any(since) == bool(expected)

"""What the configuration repeats of other rooms, because help must not wait for them."""

from jobs.config import TRUTH_NAMES
from pipeline.truth import TRUTH_ENCODINGS


def test_the_truth_encodings_of_the_help_are_those_there_are() -> None:
    assert set(TRUTH_NAMES) == {
        name for name, encoding in TRUTH_ENCODINGS.items() if encoding.for_pairs
    }

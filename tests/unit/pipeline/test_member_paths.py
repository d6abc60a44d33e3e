"""Paths inside a data set are valid text, climb nowhere and are unique."""

import pytest

from pipeline.member_paths import UniqueNames, normalised


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/./b//c.jpg", "a/b/c.jpg"),
        ("", "unnamed"),
        ("..", "unnamed"),
        ("/", "unnamed"),
        ("caf\udce9.jpg", "caf\\xe9.jpg"),
        ("ä/ö.jpg", "ä/ö.jpg"),
    ],
)
def test_normalised_names(name, path):
    assert normalised(name) == path


def test_unique_names_stay_quick_for_many_equal_ones():
    unique = UniqueNames()
    names = [unique("same") for _ in range(20_000)]
    assert len(set(names)) == 20_000 and names[:3] == ["same", "same#2", "same#3"]

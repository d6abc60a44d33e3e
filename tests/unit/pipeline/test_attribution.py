"""Whose an image is, in one line."""

import pytest

from pipeline.attribution import MAX_TEXT, attribution_line


@pytest.mark.parametrize(
    ("known", "line"),
    [
        ({}, None),
        ({"author": " ", "title": None, "url": ""}, None),
        ({"author": "Ann"}, "by Ann"),
        ({"title": "Sea"}, '"Sea"'),
        ({"url": "https://x.org/1"}, "https://x.org/1"),
        ({"author": "Ann", "title": "Sea"}, '"Sea" by Ann'),
        (
            {"author": "Ann", "title": "Sea", "url": "https://x.org/1"},
            '"Sea" by Ann, https://x.org/1',
        ),
        ({"author": "Ann", "url": "https://x.org/1"}, "by Ann, https://x.org/1"),
        ({"author": "two\nlines\tand  tabs"}, "by two lines and tabs"),
        ({"author": 7}, None),
    ],
)
def test_what_is_known_is_named(known, line):
    assert attribution_line(**known) == line


def test_a_title_of_a_megabyte_is_cut():
    line = attribution_line(title="x" * 1_000_000)
    assert line is not None and len(line) == MAX_TEXT + 2

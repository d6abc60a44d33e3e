import io
import re

import pytest

from jobs.summary import print_summary


def shown(summary) -> str:
    stream = io.StringIO()
    print_summary(summary, stream=stream)
    return stream.getvalue()


def test_a_line_per_key_with_numbers_as_people_read_them():
    text = shown(
        {
            "label_set": "l",
            "labelled": 1234567,
            "bytes": 12_300_000,
            "images_per_s": 41.23456,
            "quarantined": {"truncated": 3, "too_small": 1000},
            "dropped": {},
            "ref": None,
            "resumed": True,
        }
    )
    assert text.splitlines()[0].split() == ["label", "set", "l"]
    for expected in ("1,234,567", "12.3 MB", "41.23", "truncated 3, too_small 1,000", "none", "–"):
        assert expected in text
    assert text.splitlines()[-1].split() == ["resumed", "yes"]


def test_records_become_a_table_with_every_column():
    text = shown({"results": [{"protocol": "kitti@1", "images": 652}, {"note": "[red]x"}]})
    assert all(word in text for word in ("protocol", "images", "note", "kitti@1", "652", "[red]x"))


def test_a_line_that_says_nothing_is_left_out():
    nothing = {"samples_in": 0, "ignored": {}, "by_reference": 0, "pieces_failed": 0}
    assert shown(nothing).split() == ["samples", "in", "0"]
    assert "masked twin 3" in shown(nothing | {"ignored": {"masked twin": 3}})


def test_a_list_with_many_columns_shows_people_some_of_them():
    row = {
        "name": "photos", "role": "unlabelled", "images": 7, "shards": 1, "bytes": 9,
        "dropped": {"truncated": 1200, "too_small": 34}, "licence": "MIT", "rehost": "yes",
        "commercial": "no", "homepage": "https://hidden", "withdrawn": None,
    }  # fmt: skip
    text = shown({"sources": [row]})
    assert "1,234" in text and "MIT" in text
    assert "hidden" not in text and "withdrawn" not in text
    assert "2026-02-03" in shown({"sources": [row, row | {"withdrawn": "2026-02-03 14:05:06"}]})


def test_lineage_becomes_a_tree():
    source = {"kind": "source", "name": "photos", "licence": "CC0-1.0", "from": []}
    labels = {
        "kind": "label-set",
        "name": "l",
        "recipe": {"side": 518},
        "recipe_hash": "ab" * 32,
        "created_at": 0.0,
        "from": [source],
    }
    text = shown({"lineage": {"kind": "model", "name": "student", "from": [labels]}})
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    assert lines[:2] == ["lineage", "model student"]
    assert lines[2].index("label-set") < lines[3].index("source")
    assert "licence CC0-1.0" in lines[3]
    assert "recipe hash abababababab, created at 1970-01-01 00:00:00" in lines[2]


def test_tables_in_a_file_are_not_folded_to_eighty_columns():
    record = {f"column_{number}": "x" * 12 for number in range(10)}
    assert "x" * 12 in shown({"rows": [record]})


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self):
        return True


def shown_in(width, summary, monkeypatch):
    for name, value in {"COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    print_summary(summary, stream=stream)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert max(map(len, plain.splitlines())) <= width
    return plain


RECORD = {"label_set": "by-teacher", "images_quarantined": 12, "uri": "/data/" + "x" * 30}


def test_no_word_of_a_header_is_broken_in_a_narrow_terminal(monkeypatch):
    text = shown_in(50, {"sets": [RECORD, RECORD]}, monkeypatch)
    assert "quarantined" in text and "label" in text
    assert text.count("by-teacher") == 2
    assert text.count("x") == 60, "what is long is folded, and all there"


@pytest.mark.parametrize("width", [36, 44])
def test_what_is_too_wide_for_a_table_is_shown_one_below_the_other(width, monkeypatch):
    text = shown_in(width, {"sets": [RECORD, RECORD]}, monkeypatch)
    assert [line.split() for line in text.splitlines()].count(["label", "set", "by-teacher"]) == 2
    assert text.count("images quarantined  12") == 2


def test_a_table_has_room_for_all_where_the_terminal_has(monkeypatch):
    text = shown_in(120, {"sets": [RECORD]}, monkeypatch)
    assert "images quarantined" in text and RECORD["uri"] in text


def test_control_characters_are_spelt():
    assert "\x1b" not in shown({"path": "a\x1b[2J", "rows": [{"path": "b\x1b"}]})


def test_scores_are_one_row_per_space():
    stream = io.StringIO()
    spaces = {"disparity": {"abs_rel": 0.25}, "depth": {"abs_rel": None}}
    print_summary({"results": [{"source": "kitti", "metrics": spaces}]}, stream=stream)
    rows = [line.split() for line in stream.getvalue().splitlines()]
    assert ["kitti", "disparity", "0.25"] in rows
    assert ["kitti", "depth", "–"] in rows


def test_times_and_shares_say_what_they_are():
    lines = shown({"device_busy": 0.934, "stages": {"forward": 4.426, "read": 75.2}, "s": {}})
    assert [line.split(maxsplit=1)[1].strip() for line in lines.splitlines()[:2]] == [
        "busy  93%",
        "forward 4.4 s, read 1 min 15 s",
    ]

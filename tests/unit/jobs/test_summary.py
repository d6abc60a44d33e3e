import io
import re

import pytest

from jobs.evaluation_summary import compare_results, summarise_results
from jobs.summary import print_summary
from tests.evaluation_factories import benchmark_result


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


def evaluation(models, sources=("nyu", "kitti-eigen")):
    errors = tuple(0.1 + 0.001 * number for number in range(12))
    results = [
        benchmark_result(name, (*(factor * error for error in errors), None), source=source)
        for source in sources
        for name, factor in models.items()
    ]
    return summarise_results(results, compare_results(results))


def test_an_evaluation_fits_eighty_columns(monkeypatch):
    names = {"org/a-model-with-a-long-name": 1.0, "student": 0.9, "teacher": 1.1}
    text = shown_in(80, evaluation(names), monkeypatch)
    rows = [line.split() for line in text.splitlines()]
    assert ["student", "relative@1", "on", "12/13", "depth", "0.09495", "0.9051"] in rows
    assert ["student", "relative@1", "on", "nyu", "-0.01055", "0.001953", "better"] in rows
    assert any(row[:1] == ["teacher"] and row[-1:] == ["worse"] for row in rows)
    assert "least squares" not in text, "the protocol is told by --json and --out"


def test_a_single_model_is_not_named_in_every_row(monkeypatch):
    rows = [line.split() for line in shown_in(80, evaluation({"m": 1.0}), monkeypatch).splitlines()]
    assert ["model", "m"] in rows
    assert ["relative@1", "on", "nyu", "12/13", "depth", "0.1055", "0.8945", "0.3165"] in rows
    assert not any(row[:1] == ["comparisons"] for row in rows)


def test_metrics_are_left_out_from_the_end_where_there_is_no_room(monkeypatch):
    summary = evaluation({"m": 1.0}, sources=("nyu",))
    assert "rmse" in shown_in(80, summary, monkeypatch)
    narrow = shown_in(50, summary, monkeypatch)
    assert "rmse" not in narrow and "0.1055" in narrow
    assert re.search(r"\d+ more columns in a\s+wider\s+window", narrow)


def test_however_narrow_a_window_is_it_has_scores(monkeypatch):
    summary = evaluation({"first": 1.0, "second": 0.9}, sources=("nyu",))
    for width in (40, 50, 60, 80):
        text = shown_in(width, summary, monkeypatch)
        assert "0.1055" in text and "0.09495" in text, width
        assert "better" in text, "what came of the comparison"


def test_other_lists_of_models_are_as_they_are():
    assert "made by" in shown({"models": [{"name": "m", "made_by": "run-1"}]})


def test_evaluations_in_the_catalog_are_one_row_per_space_too():
    metrics = {"disparity/abs_rel": 0.25, "depth/abs_rel": None, "depth/rmse": 1.5}
    row = {"model": "m", "protocol": "metric@1", "source": "nyu", "images": 4, "metrics": metrics}
    rows = [
        line.split() for line in shown({"evaluations": [row, row | {"model": "n"}]}).splitlines()
    ]
    assert ["m", "metric@1", "on", "nyu", "4", "disparity", "0.25", "–"] in rows
    assert ["n", "metric@1", "on", "nyu", "4", "depth", "–", "1.5"] in rows


def test_metrics_of_runs_are_no_spaces():
    assert "steps 9" in shown({"runs": [{"run": "r", "metrics": {"steps": 9, "final_loss": 0.5}}]})

"""What tables and Markdown say of made-up results, by hand."""

from dataclasses import replace

import pytest

from jobs.evaluation_markdown import markdown, table
from jobs.evaluation_result import Leaks
from jobs.evaluation_summary import compare_results, summarise_results
from jobs.evaluation_tables import (
    benchmark_tables,
    benchmarks,
    differences_table,
    overview_table,
    published_table,
    runs_table,
    scores_table,
)
from jobs.evaluation_words import leak_sentence, number, protocol_facts, remarks, signed
from jobs.report_page import Table
from model.alignment import Affine
from model.protocols import PROTOCOLS, protocol
from model.published import published_for
from tests.evaluation_factories import benchmark_result, image, scored

ERRORS = tuple(0.1 + 0.001 * number for number in range(30))
HALF = tuple(error / 2 for error in ERRORS)


def rows_of(*results):
    return summarise_results(results, [])["results"]


def test_the_overview_has_a_column_per_benchmark_and_marks_what_differs():
    results = [
        benchmark_result("a", ERRORS, source="nyu"),
        benchmark_result("b", HALF, source="nyu"),
        benchmark_result("a", ERRORS, source="kitti"),
    ]
    comparisons = compare_results(results)
    found = overview_table(rows_of(*results), comparisons)
    nyu, kitti = "relative@1 on nyu", "relative@1 on kitti"
    assert [column.split("\n")[0] for column in found.columns] == ["Model", nyu, kitti]
    assert found.columns[1].endswith("disparity abs_rel\u00a0↓")
    (_, of_a, alone), (_, of_b, absent) = found.rows
    assert of_a.startswith("0.1145\n(0.11") and len(of_a.split("\n")) == 2
    assert of_b.split("\n")[2] == "−0.0573 *"
    assert alone == of_a and absent == "–"


def test_a_difference_that_may_be_chance_has_no_mark():
    results = [benchmark_result("a", (0.1, 0.2, 0.3)), benchmark_result("b", (0.2, 0.1, 0.31))]
    found = overview_table(rows_of(*results), compare_results(results))
    assert found.rows[1][1].endswith("\n+0.0033")


def test_nothing_scored_has_no_overview():
    assert overview_table(rows_of(benchmark_result(errors=(None,))), []) is None


def test_every_metric_of_every_model_is_in_the_scores():
    group = rows_of(benchmark_result("a", ERRORS), benchmark_result("org/b", HALF))
    found = scores_table(group)
    assert found.columns[1:] == ("a", "b")
    assert [row[0].split("\u00a0")[0] for row in found.rows] == [
        f"{space} {metric}"
        for space in ("disparity", "depth")
        for metric in ("abs_rel", "delta1", "rmse")
    ]
    assert found.rows[1][0].endswith("↑") and found.rows[0][0].endswith("↓")
    assert found.rows[0][2].startswith("0.0573 (")


def test_how_a_result_was_made():
    result = benchmark_result(
        "a", (0.1, None, 0.3), left_out=7, device=None, forward_images_per_s=None
    )
    found = runs_table(rows_of(result))
    row = dict(zip(found.columns, found.rows[0], strict=True))
    assert (row["Scored"], row["Skipped"], row["Left out"]) == ("2", "too_few_valid_pixels 1", "7")
    assert (row["Images/s"], row["Device"], row["Shorter side"]) == ("–", "–", "518 px")


def test_images_that_alignment_had_to_turn_or_give_up_are_counted_and_said():
    scales = (2.0, -1.0, 0.0, 0.0)
    images = tuple(
        image(number, replace(scored(0.1), affine=Affine(scale, 0.5)))
        for number, scale in enumerate(scales)
    )
    group = rows_of(benchmark_result("a", images=images))
    found = runs_table(group)
    row = dict(zip(found.columns, found.rows[0], strict=True))
    assert (row["Flipped"], row["Flat"], len(found.columns)) == ("1", "2", len(found.numeric))
    assert "a: images of which it made one value, scored as the mean of the truth: 2." in remarks(
        group
    )


def test_differences_are_spelt_out():
    results = [benchmark_result("a", ERRORS), benchmark_result("b", HALF)]
    found = differences_table(compare_results(results))
    assert found.title == "Against a"
    model, metric, images, difference, p, corrected, verdict = found.rows[0]
    assert (model, metric, images, verdict) == ("b", "disparity abs_rel\u00a0↓", "30", "better")
    assert difference.startswith("−0.0573 (−0.0") and p == corrected == "< 0.001"
    assert differences_table([]) is None


def test_printed_numbers_stand_under_ours_with_what_is_known_of_them():
    rules = protocol("kitti-eigen-garg@1")
    found = published_table(rows_of(benchmark_result("mine", ERRORS, rules=rules)))
    ours = [row for row in found.rows if row[3] == "this evaluation"]
    theirs = [row for row in found.rows if row[3] != "this evaluation"]
    assert {row[1] for row in ours} == {"mine"}
    assert len(theirs) == len(published_for(rules))
    assert any(row[4].startswith("yes: ") for row in theirs)
    assert ("0.074", True) in [(row[2], "V2 L" in row[1]) for row in theirs]
    assert published_table(rows_of(benchmark_result())) is None


@pytest.mark.parametrize("rules", PROTOCOLS, ids=lambda rules: rules.ref)
def test_every_protocol_can_be_spelt_out(rules):
    facts = {
        fact.label: fact.value for fact in protocol_facts(rows_of(benchmark_result(rules=rules)))
    }
    assert facts["Protocol"] == rules.ref
    assert ("Alignment" in facts) == (rules.truth == "map")
    for label in ("Split", "Truth", "Interpolation", "Size at the input", "Spaces"):
        assert facts[label]
    if rules.maximum_depth is not None:
        assert facts["Depth limits"].endswith(f"{rules.maximum_depth:g} m")
    if rules.images is not None:
        assert facts["Images in the split"] == f"{rules.images:,}"


def test_crops_are_told_in_pixels_or_in_shares():
    def crop(name):
        [row] = rows_of(benchmark_result(rules=protocol(name)))
        return next(fact.value for fact in protocol_facts([row]) if fact.label == "Crop")

    assert crop("nyu-eigen@1") == "rows 45 to 471 and columns 41 to 601 of 480 x 640 pixels"
    assert crop("kitti-eigen-garg@1") == "rows 40.81% to 99.19% and columns 3.59% to 96.41%"
    assert crop("relative@1") == "none"


def test_what_must_be_known_before_a_number_is_believed():
    rules = replace(protocol("relative@1"), images=5)
    whole = benchmark_result("a", (0.1, None, 0.4), rules=rules)
    leaks = Leaks(checked="exact", trained_on=1234, exact=(whole.images[0].sample_id,))
    said = remarks(rows_of(replace(whole, leaks=leaks)))
    assert said[0] == "a: 3 images, and the split has 5."
    assert "not zero-shot: among the 1,234 images" in said[1] and "are 1 of this" in said[1]
    assert said[2] == "a: without those disparity abs_rel\u00a0↓ is 0.4000 (images: 1)."
    assert "2 images are too narrow" in said[3]
    assert remarks(rows_of(benchmark_result("a", ERRORS))) == []


@pytest.mark.parametrize(
    ("leaks", "words"),
    [
        (Leaks(checked="none", why="nothing is known of it."), "not checked"),
        (Leaks(checked="exact", trained_on=9), "has the bytes of"),
        (Leaks(checked="near", trained_on=9), "or looks like one"),
    ],
)
def test_what_was_looked_for_is_said_where_nothing_was_found(leaks, words):
    [row] = rows_of(benchmark_result(leaks=leaks))
    sentence = leak_sentence(row["leaks"])
    assert words in sentence and sentence.endswith(".") and ".." not in sentence


def test_that_a_model_may_have_been_chosen_by_a_benchmark_is_said():
    leaks = Leaks(checked="exact", trained_on=9, why="only bytes", validated=("a", "b"))
    [row] = rows_of(benchmark_result(leaks=leaks))
    assert leak_sentence(row["leaks"]).endswith(
        " of this benchmark. Only bytes. Scored on while in training (--validation), and perhaps "
        "chosen by it: a, b."
    )


def test_examples_of_leaks_are_listed():
    leaks = Leaks(checked="exact", trained_on=9, exact=("x",), examples=(("a.png", "s", "b.png"),))
    tables = benchmark_tables(rows_of(benchmark_result("m", leaks=leaks)), [])
    assert ("m", "a.png", "s", "b.png") in [row for table in tables for row in table.rows]


def test_markdown_has_every_table_and_is_rectangular():
    results = [
        benchmark_result(name, errors, source=source)
        for source in ("nyu", "kitti")
        for name, errors in (("a", ERRORS), ("b|c", HALF))
    ]
    comparisons = compare_results(results)
    text = markdown(summarise_results(results, comparisons), comparisons, colophon="c_o_l")
    assert "disparity abs_rel ↓" in text  # not the escape of a space that does not break
    assert text.startswith("# Evaluation\n\nc_o_l\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Models", "## relative@1 on nyu", "## relative@1 on kitti",
    ]  # fmt: skip
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 2 + 2 * 3
    for block in blocks:
        widths = {line.replace(r"\|", "").count("|") for line in block.splitlines()}
        assert len(widths) == 1


def test_names_cannot_become_markup():
    hostile = "<script>*a*|`b`[c](d)\x1b\n# _e_ f_g"
    text = table(Table((hostile,), ((hostile,),), (False,)))
    assert "<script" not in text and "\x1b" not in text
    assert r"\*a\*\|\`b\`\[c\](d)" in text and r"\_e\_ f_g" in text
    assert len(text.splitlines()) == 3, "a line break is none of the table's"


def test_benchmarks_are_told_apart_by_protocol_version_and_source():
    rules = protocol("relative@1")
    rows = rows_of(
        benchmark_result("a"),
        benchmark_result("a", rules=replace(rules, version=2)),
        benchmark_result("b"),
        benchmark_result("a", source="nyu"),
    )
    assert [len(group) for group in benchmarks(rows)] == [2, 1, 1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0.0000"),
        (0.00003, "3.0e-05"),
        (0.04567, "0.0457"),
        (12.3456, "12.35"),
        (1234.5, "1,234.50"),
        (2.3715e28, "2.4e+28"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_signs_are_shown():
    assert (signed(0.5), signed(-0.5), signed(0.0)) == ("+0.5000", "−0.5000", "+0.0000")

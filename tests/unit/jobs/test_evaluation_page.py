"""The files that an evaluation leaves: whole, escaped, and with everything that was asked for."""

import json
import math
import re
from dataclasses import replace

import pytest

from jobs.evaluation_files import write_results
from jobs.evaluation_page import evaluation_page
from jobs.evaluation_ranking import best_and_worst
from jobs.evaluation_result import MarkedPair
from jobs.evaluation_summary import compare_results, summarise_results
from jobs.report_page import render
from model.evaluation import ImageScore
from model.protocols import protocol
from tests.evaluation_factories import benchmark_result, image, picture

HOSTILE = "<script>alert('x')</script>"
ERRORS = tuple(0.1 + 0.001 * number for number in range(9))


def pictures_of(result, count=2):
    best, worst = best_and_worst(result, count=count)
    return [picture(each) for each in (*worst, *best)]


def page_of(*results, count=2):
    comparisons = compare_results(results)
    return evaluation_page(
        summarise_results(results, comparisons),
        results,
        comparisons,
        [pictures_of(result, count) for result in results],
        colophon="colophon",
    )


def test_three_files_are_written_and_json_has_every_image(tmp_path):
    results = [benchmark_result("a", (0.1, None, 0.3)), benchmark_result("b", (0.2, 0.2, None))]
    comparisons = compare_results(results)
    paths = write_results(tmp_path / "new", results, comparisons, colophon="c")
    assert [path.rpartition("/")[2] for path in paths] == [
        "evaluation.json", "evaluation.md", "evaluation.html",
    ]  # fmt: skip
    assert len(list((tmp_path / "new").iterdir())) == 3
    document = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    summary = summarise_results(results, comparisons)
    for result in document["results"]:
        images = result.pop("per_image")
        assert [each["path"] for each in images] == [f"scene/{n:04d}.png" for n in range(3)]
        assert sum(each["skipped"] is None for each in images) == result["images"]
    assert document == json.loads(json.dumps(summary))


def test_the_same_results_are_the_same_bytes_whatever_the_order_of_keys(tmp_path):
    result = benchmark_result()
    [first] = [image for image in result.images[:1]]
    turned = replace(
        first, score=replace(first.score, metrics=dict(reversed(first.score.metrics.items())))
    )
    for name, one in (("a", result), ("b", replace(result, images=(turned, *result.images[1:])))):
        write_results(tmp_path / name, [one], [], colophon="c")
    one, other = ((tmp_path / name / "evaluation.json").read_bytes() for name in "ab")
    assert one == other


def test_json_has_no_number_that_json_does_not_know(tmp_path):
    wild = ImageScore(valid_pixels=1, metrics={"depth": {"abs_rel": math.inf, "rmse": math.nan}})
    write_results(tmp_path, [benchmark_result(images=(image(0, wild),))], [], colophon="c")
    text = (tmp_path / "evaluation.json").read_text()
    assert not re.search(r"\b(NaN|Infinity)\b", text)


def test_names_that_no_encoding_has_are_written_all_the_same(tmp_path):
    write_results(tmp_path, [benchmark_result("bad\udce9", ERRORS)], [], colophon="c")
    for file in tmp_path.iterdir():
        assert r"\udce9" in file.read_text(), file.name


def test_the_page_leads_from_the_overview_to_single_images():
    a, b = benchmark_result("a", ERRORS), benchmark_result("b", ERRORS[::-1], device=None)
    sections = page_of(a, b).sections
    assert [each.title for each in sections if not each.below] == [
        "Overview", "Models", "Accuracy and cost", "relative@1 on kitti",
    ]  # fmt: skip
    below = [each.title for each in sections if each.below]
    for title in ("Image by image", "Against a", "Best images of a", "Worst images of b"):
        assert title in below
    assert len({each.anchor for each in sections}) == len(sections)


def test_best_comes_first_among_the_best_and_worst_first_among_the_worst():
    sections = {each.title: each for each in page_of(benchmark_result("a", ERRORS)).sections}
    best = [figure.title for figure in sections["Best images of a"].figures]
    worst = [figure.title for figure in sections["Worst images of a"].figures]
    assert best == ["scene/0000.png", "scene/0001.png"]
    assert worst == ["scene/0008.png", "scene/0007.png"]


def test_images_of_the_first_model_are_open_and_the_others_folded():
    page = page_of(benchmark_result("a", ERRORS), benchmark_result("b", ERRORS))
    folded = {each.title: each.folded for each in page.sections if "images of" in each.title}
    assert folded == {
        "Best images of a": False, "Worst images of a": False,
        "Best images of b": True, "Worst images of b": True,
    }  # fmt: skip
    html = render(page)
    assert html.count("<details") == html.count("</details>") >= 2


def test_histograms_of_all_models_have_one_axis():
    page = page_of(benchmark_result("a", (0.1, 0.2, 0.3)), benchmark_result("b", (0.2, 0.4)))
    [section] = [each for each in page.sections if each.title == "Image by image"]
    one, other = section.charts
    assert one.x_ticks == other.x_ticks
    counts = [
        sum(int(bar.text.rpartition(": ")[2]) for bar in chart.bars) for chart in (one, other)
    ]
    assert counts == [3, 2]


def test_equal_scores_and_single_images_make_a_page():
    for errors in ((0.1,), (0.1, 0.1), (0.0, 0.0)):
        html = render(page_of(benchmark_result("a", errors), benchmark_result("b", errors)))
        assert "Overview" in html


def test_nothing_scored_makes_a_page_that_says_so():
    page = page_of(benchmark_result(errors=(None, None)))
    assert [each.title for each in page.sections if not each.below] == [
        "Models", "relative@1 on kitti",
    ]  # fmt: skip
    assert "too_few_valid_pixels 2" in render(page)


def test_a_page_without_pictures_has_none():
    result = benchmark_result()
    page = evaluation_page(summarise_results([result], []), [result], [], colophon="c")
    assert "<img" not in render(page)


def test_pairs_are_marked_and_their_marks_explained():
    pair = MarkedPair((5, 5), (40, 60), is_right=True)
    images = tuple(
        image(n, ImageScore(valid_pixels=2, metrics={"order": {"pair_accuracy": n / 2}}))
        for n in range(3)
    )
    result = benchmark_result(rules=protocol("da-2k@1"), images=images)
    shown = [
        replace(picture(each), truth_HW=None, pairs=(pair, replace(pair, is_right=False)))
        for each in images
    ]
    page = evaluation_page(summarise_results([result], []), [result], [], [shown], colophon="c")
    html = render(page)
    assert html.count("Orange crosses") == 1 and "predicted too near" not in html
    assert html.count("prediction, 1 of 2 pairs right") == len(shown)
    lost = evaluation_page(
        summarise_results([result], []), [result], [], [shown[:1]], colophon="c"
    )  # only one of the worst could be shown
    assert render(lost).count("Orange crosses") == 1


def test_hostile_names_are_text():
    result = benchmark_result(HOSTILE, ERRORS, source=HOSTILE)
    first = replace(result.images[0], path=HOSTILE)
    html = render(page_of(replace(result, images=(first, *result.images[1:]))))
    assert html.count("<script") == 1 and "<script>alert" not in html
    assert html.count("&lt;script&gt;") > 5


@pytest.mark.parametrize(("count", "heading"), [(1, "m0"), (2, "2 models on 1 benchmark")])
def test_the_heading_is_the_model_or_how_many(count, heading):
    results = [benchmark_result(f"m{number}", ERRORS) for number in range(count)]
    assert page_of(*results).name == heading

"""The page of an evaluation in a real browser: nothing is cut off, and keys reach everything."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.evaluation_files import write_results
from jobs.evaluation_ranking import best_and_worst
from jobs.evaluation_result import Leaks
from jobs.evaluation_summary import compare_results
from model.protocols import protocol
from tests.chromium import Browser, chromium
from tests.evaluation_factories import benchmark_result, picture

pytestmark = pytest.mark.integration

NAMES = ("depth-anything/Depth-Anything-V2-Small-hf", "s3://models/<b>student</b>", "teacher" * 9)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    rules = protocol("kitti-eigen-garg@1")
    results = [
        benchmark_result(
            name,
            tuple(factor * (0.1 + 0.003 * number) for number in range(30)),
            rules=rules,
            leaks=Leaks(checked="none", why="nothing is known of its training"),
        )
        for name, factor in zip(NAMES, (1.0, 0.8, 1.3), strict=True)
    ]
    results[0] = replace(
        results[0], model=replace(results[0].model, parameters=335_000_000), device="NVIDIA H200"
    )
    pictures = []
    for result in results:
        best, worst = best_and_worst(result, count=1)
        pictures.append([picture(each) for each in (*best, *worst)])
    folder = tmp_path_factory.mktemp("evaluation")
    write_results(folder, results, compare_results(results), pictures, colophon="c" * 200)
    return folder / "evaluation.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


def test_it_renders_without_complaint_and_asks_for_nothing(browser: Browser, page: Path):
    browser.look(width=1280)
    browser.open(page)
    assert browser.evaluate("document.querySelector('h1').textContent") == "3 models on 1 benchmark"
    assert browser.broken_images() == 0
    assert browser.evaluate("document.querySelectorAll('circle').length") > 3
    assert browser.evaluate("document.querySelectorAll('b').length") == 0, "names are text"
    assert browser.complaints() == []
    assert browser.requests() == [page.resolve().as_uri()]


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window_folded_or_not(browser: Browser, page: Path, width: int):
    browser.look(width=width)
    browser.open(page)
    browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_labels_of_points_stay_inside_their_chart(browser: Browser, page: Path):
    browser.look(width=1280)
    browser.open(page)
    outside = """[...document.querySelectorAll('.chart g text')].filter(text => {
        const name = text.getBBox(), box = text.ownerSVGElement.viewBox.baseVal;
        return name.x < 0 || name.x + name.width > box.width || name.y + name.height > box.height;
    }).length"""
    assert browser.evaluate(outside) == 0


def test_images_are_enlarged_and_folded_ones_opened_with_the_keyboard(browser: Browser, page: Path):
    browser.look(width=1280)
    browser.open(page)
    small = browser.evaluate("document.images[0].getBoundingClientRect().width")
    browser.evaluate("document.querySelector('.pictures').focus()")
    browser.press("Enter")
    large = "document.querySelector('dialog[open] .stage').getBoundingClientRect().width"
    assert browser.evaluate(large) > 1.5 * small
    browser.press("Escape")
    browser.evaluate("document.querySelector('details.fold > summary').focus()")
    browser.press("Enter")
    assert browser.evaluate("document.querySelector('details.fold').open")

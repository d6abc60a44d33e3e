"""Reports in a real browser: they render, complain of nothing and ask nobody for anything."""

import json
from pathlib import Path

import pytest

from jobs.config import ReportConfig
from jobs.report import report
from tests.chromium import Browser, chromium
from tests.report_stores import HOSTILE, fill_store

pytestmark = pytest.mark.integration

# The pictures of the large view have no source until it is opened.
TARGETS = ("photos", "rooms", "labels", "student")


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    fill_store(folder / "store")
    for target in TARGETS:
        out = folder / f"{target}.html"
        report(ReportConfig(store=str(folder / "store"), target=target, out=str(out)))
    return {target: folder / f"{target}.html" for target in TARGETS}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.mark.parametrize("target", TARGETS)
def test_a_page_renders_without_complaint_and_asks_for_nothing(browser: Browser, pages, target):
    browser.look(width=1280)
    browser.open(pages[target])
    assert browser.evaluate("document.querySelector('h1').textContent") == target
    assert browser.broken_images() == 0
    assert browser.complaints() == []
    assert browser.requests() == [pages[target].resolve().as_uri()]


def test_the_check_above_would_notice(browser: Browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('oops')</script>")
    browser.open(bad)
    assert browser.broken_images() == 1
    assert "http://127.0.0.1:9/x.png" in browser.requests()
    assert any("oops" in complaint for complaint in browser.complaints())


def test_hostile_names_are_shown_as_text(browser: Browser, pages):
    browser.open(pages["photos"])
    assert browser.evaluate("document.scripts.length") == 1
    text = browser.evaluate("document.body.textContent")
    for place in ("000-{}.jpg", "CC {}", "truncated_{}", "broken-{}.jpg", "ends {}"):
        assert place.format(HOSTILE) in text
    assert HOSTILE in browser.evaluate("document.images[0].alt")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, pages, target, width):
    browser.look(width=width)
    browser.open(pages[target])
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_light_and_dark_have_legible_contrast(browser: Browser, pages):
    lightness = {}
    for dark in (False, True):
        browser.look(width=1280, dark=dark)
        browser.open(pages["labels"])
        for of in ("color", "backgroundColor"):
            lightness[of, dark] = luminance(
                browser.evaluate(f"getComputedStyle(document.body).{of}")
            )
        for selector in (".summary", ".tiles dt", "nav a", ".chart p", ".kind"):
            colour = browser.evaluate(
                f"getComputedStyle(document.querySelector('{selector}')).color"
            )
            assert contrast(luminance(colour), lightness["backgroundColor", dark]) >= 4.5, selector
    assert lightness["backgroundColor", True] < 0.1 < 0.8 < lightness["backgroundColor", False]


def luminance(colour: str) -> float:
    """Relative luminance after WCAG 2.2 of ``rgb(r, g, b)``."""
    values = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: float, other: float) -> float:
    low, high = sorted((one, other))
    return (high + 0.05) / (low + 0.05)


OPEN = "document.getElementById('viewer').open"
SLIDER = "document.querySelector('#viewer .slider')"
FOCUSED = "[...document.querySelectorAll('.pictures')].indexOf(document.activeElement)"


@pytest.fixture
def labels(browser: Browser, pages) -> Browser:
    browser.look(width=1280)
    browser.open(pages["labels"])
    return browser


def test_a_picture_is_enlarged_and_closed_with_the_keyboard(labels: Browser):
    labels.press("Tab")
    assert labels.evaluate("document.activeElement.className") == "skip"
    labels.evaluate("document.querySelector('.pictures').focus()")
    labels.press("Enter")
    assert labels.evaluate(OPEN)
    large = labels.evaluate("document.querySelector('.stage').getBoundingClientRect().width")
    assert large > 2 * labels.evaluate("document.images[0].getBoundingClientRect().width")
    labels.press("Escape")
    assert not labels.evaluate(OPEN)
    assert labels.evaluate(FOCUSED) == 0
    labels.press(" ")
    assert labels.evaluate(OPEN)
    assert labels.complaints() == []


def test_the_image_slides_over_its_depth_by_arrow_keys_and_by_pointer(labels: Browser):
    labels.evaluate("document.querySelector('.pictures').focus()")
    labels.press("Enter")
    assert labels.evaluate(f"document.activeElement === {SLIDER}")
    covered = "document.querySelector('.over').style.clipPath"
    assert labels.evaluate(covered) == "inset(0px 50% 0px 0px)"
    for _ in range(3):
        labels.press("ArrowRight")
    assert labels.evaluate(covered) == "inset(0px 47% 0px 0px)"
    labels.press("ArrowLeft")
    assert labels.evaluate(f"{SLIDER}.getAttribute('aria-valuetext')") == (
        "52 % image, the rest depth"
    )
    box = labels.evaluate(
        "JSON.stringify(document.querySelector('.stage').getBoundingClientRect())"
    )
    stage = json.loads(box)
    at = {"x": stage["x"] + 0.25 * stage["width"], "y": stage["y"] + 0.5 * stage["height"]}
    for kind in ("mousePressed", "mouseReleased"):
        labels.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)
    assert abs(labels.evaluate(f"Number({SLIDER}.value)") - 25) <= 1
    labels.press(" ")
    assert labels.evaluate(covered) == "inset(0px 0% 0px 0px)"
    over, under = (f"document.querySelector('.{name}').src" for name in ("over", "under"))
    assert labels.evaluate(f"{over} === document.images[0].src")
    assert labels.evaluate(f"{under} === document.images[1].src")


def test_keys_go_from_image_to_image_on_the_page_and_in_the_large_view(labels: Browser):
    labels.press("j")
    assert labels.evaluate(FOCUSED) == 0
    labels.press("j")
    labels.press("ArrowRight")
    assert labels.evaluate(FOCUSED) == 2
    labels.press("k")
    assert labels.evaluate(FOCUSED) == 1
    labels.press("ArrowDown")  # three stand in a row at this width
    assert labels.evaluate(FOCUSED) == 4
    labels.press("Enter")
    labels.press("ArrowDown")
    labels.press("j")
    labels.press("k")
    path = labels.evaluate("document.querySelectorAll('figcaption .path')[5].textContent")
    assert labels.evaluate("document.querySelector('.top .path').textContent") == path
    assert HOSTILE in path
    assert labels.evaluate("document.querySelector('.count').textContent").startswith("6 of ")
    labels.press("Escape")
    assert labels.evaluate(FOCUSED) == 5
    labels.press("?")
    assert labels.evaluate("document.getElementById('keys').open")
    labels.press("Escape")
    assert not labels.evaluate("document.getElementById('keys').open")


def test_pictures_of_what_was_left_out_open_alone_and_one_kind_can_be_hidden(labels: Browser):
    labels.evaluate("document.querySelector('.reasons .pictures').click()")
    assert labels.evaluate("document.getElementById('viewer').className") == "single"
    assert labels.evaluate(f"getComputedStyle({SLIDER}).display") == "none"
    labels.press("Escape")
    seen = "[...document.querySelectorAll('.maps img')].filter(i => i.checkVisibility()).length"
    both = labels.evaluate(seen)
    labels.evaluate("document.getElementById('see-map').click()")
    assert labels.evaluate(seen) == both / 2


def test_the_other_colours_are_a_key_away(browser: Browser, pages):
    found = {}
    for dark in (False, True):
        browser.look(width=1280, dark=dark)
        browser.open(pages["student"])
        for flipped in (False, True):
            colour = browser.evaluate("getComputedStyle(document.body).backgroundColor")
            found[dark, flipped] = luminance(colour)
            browser.evaluate("document.getElementById('flip').focus()")
            browser.press(" ")
    assert found[False, False] == found[True, True] > 0.8
    assert found[True, False] == found[False, True] < 0.1


def test_without_script_everything_is_there_and_a_picture_is_enlarged(browser: Browser, pages):
    browser.look(width=1280)
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(pages["labels"])
        assert browser.evaluate("[...document.images].filter(i => i.closest('figure')).length") > 20
        assert browser.evaluate("document.getElementById('help').hidden")
        browser.evaluate("document.querySelector('.pictures').focus()")
        small = browser.evaluate("document.images[0].getBoundingClientRect().width")
        spread = "getComputedStyle(document.querySelector('figure .spread')).display"
        assert browser.evaluate(spread) == "none"
        browser.press("Enter")
        assert browser.evaluate("document.images[0].getBoundingClientRect().width") > 1.5 * small
        assert browser.evaluate(spread) == "block"
        assert not browser.evaluate(OPEN)
        browser.press("Tab")  # the enlarged picture itself
        browser.press("Tab")
        assert browser.evaluate("document.activeElement.className") == "close"
        browser.press("Enter")
        assert browser.evaluate("document.images[0].getBoundingClientRect().width") == small
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)

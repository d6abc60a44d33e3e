"""Reports in a real browser: they render, complain of nothing and ask nobody for anything."""

from pathlib import Path

import pytest

from jobs.config import ReportConfig
from jobs.report import report
from tests.chromium import Browser, chromium
from tests.report_stores import HOSTILE, fill_store

pytestmark = pytest.mark.integration

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
    assert browser.evaluate("[...document.images].filter(i => !i.naturalWidth).length") == 0
    assert browser.complaints() == []
    assert browser.requests() == [pages[target].resolve().as_uri()]


def test_the_check_above_would_notice(browser: Browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('oops')</script>")
    browser.open(bad)
    assert "http://127.0.0.1:9/x.png" in browser.requests()
    assert any("oops" in complaint for complaint in browser.complaints())


def test_hostile_names_are_shown_as_text(browser: Browser, pages):
    browser.open(pages["photos"])
    assert browser.evaluate("document.scripts.length") == 0
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


def test_a_picture_is_enlarged_and_closed_with_the_keyboard(browser: Browser, pages):
    browser.look(width=1280)
    browser.open(pages["labels"])
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.className") == "skip"
    browser.evaluate("document.querySelector('.pictures').focus()")
    small = browser.evaluate("document.images[0].getBoundingClientRect().width")
    browser.press("Enter")
    assert browser.evaluate("document.images[0].getBoundingClientRect().width") > 2 * small
    browser.press("Tab")  # the enlarged picture itself
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.className") == "close"
    browser.press("Enter")
    assert browser.evaluate("document.images[0].getBoundingClientRect().width") == small

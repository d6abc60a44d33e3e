"""What a page makes of names that nobody would choose."""

import re
from html.parser import HTMLParser

import pytest

from jobs.report_page import Fact, Figure, Page, Picture, Reason, Section, Spread, Table, render

NAMES = (
    "</script><img src=x onerror=alert(1)>",
    "</style><svg onload=alert(1)>",
    "</title>{{ 7 * 7 }}{% raw %}",
    "a\nb\tc\0d",
    "\u202egpj.exe",
    "half \ud83d surrogate",
    "' onmouseover='x\" href=\"javascript:alert(1)",
    "&lt;b&gt; &amp;amp; ]]> -->",
)


def page_of(name: str) -> Page:
    picture = Picture("data:,", name, 4, 3)
    labelled = Picture("data:,", name, 4, 3, label=name)
    spread = Spread((1, 100), name, name, name)
    figure = Figure((picture, labelled), name, name, whys=(name,), spread=spread)
    section = Section(
        "a",
        name,
        text=name,
        notes=(name,),
        facts=(Fact(name, name, name), Fact(name, name, code=True)),
        figures=(figure,),
        reasons=(Reason(name, 1, 1.0, ((name, name),), (figure,)),),
        table=Table((name,), ((name,),), (False,), title=name),
        scale=(name, name, name),
        tree={"kind": name, "name": name, "facts": [Fact(name, name)], "children": []},
    )
    return Page(name, name, name, (Fact(name, name, name),), (section,), name)


class Outline(HTMLParser):
    """Elements with the names of their attributes, and words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.shape: list[tuple[str, tuple[str, ...]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.shape.append((tag, tuple(name for name, _ in attributes)))

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_changes_nothing_but_words(name):
    plain = Outline(render(page_of("name")))
    html = render(page_of(name)).encode("utf-8", "backslashreplace").decode()
    hostile = Outline(html)
    assert hostile.shape == plain.shape
    shown = name.encode("utf-8", "backslashreplace").decode()
    before = sum("name" in words for words in plain.words if len(words) < 100)
    assert sum(shown in words for words in hostile.words if len(words) < 100) >= before - 2


def test_the_script_has_no_place_for_data():
    scripts = {re.search("<script>(.*)</script>", render(page_of(name)), re.DOTALL)[1]
               for name in ("a", "b")}  # fmt: skip
    assert len(scripts) == 1


def test_a_page_without_maps_offers_no_choice_of_them():
    bare = Page("kind", "name", "", (), (Section("a", "A", text="t"),), "end")
    assert "see-map" not in "".join(re.findall("<body>.*", render(bare), re.DOTALL))
    assert 'id="see-map"' in render(page_of("name"))

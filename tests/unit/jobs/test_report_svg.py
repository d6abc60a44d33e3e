from html.parser import HTMLParser

import pytest

from jobs.report_page import Page, Section, render
from jobs.report_svg import Drawing, Mark

HOSTILE = "</svg><script>alert('x')</script>\"'&amp;\u202eabc"


def test_marks_are_drawn_with_their_text_as_text():
    box = Mark("rect", {"x": 1, "y": 2.5, "class": HOSTILE})
    group = Mark("g", {"tabindex": 0}, inside=(Mark("title", text=HOSTILE), box))
    drawing = Drawing("Graph", "what", 100, 50, (group,), legend=(("c0", HOSTILE),))
    page = Page("kind", "name", "", (), (Section("a", "A", drawings=(drawing,)),), "end")
    found: list[tuple[str, dict[str, str]]] = []
    words: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.append((tag, dict(attributes)))

        def handle_data(self, data):
            words.append(data)

    Reader().feed(render(page))
    assert ("rect", {"x": "1", "y": "2.5", "class": HOSTILE}) in found
    assert words.count(HOSTILE) == 2
    assert next(attributes for tag, attributes in found if tag == "svg")["viewbox"] == "0 0 100 50"


@pytest.mark.parametrize(
    ("element", "attributes"),
    [
        ("script", {}),
        ("a", {}),
        ("use", {}),
        ("rect", {"onclick": "x"}),
        ("rect", {"href": "#"}),
        ("rect", {"style": "x"}),
    ],
)
def test_what_could_do_more_than_draw_is_refused(element, attributes):
    with pytest.raises(ValueError, match="no mark of a page"):
        Mark(element, attributes)

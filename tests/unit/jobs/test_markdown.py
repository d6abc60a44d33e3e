"""Text of others in Markdown, read back as HTML by a parser that is not ours."""

from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # rich brings it

from jobs.markdown import code, inline, link, one_line, table


def html(markdown: str) -> str:
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    return str(parser.render(markdown))


def visible(rendered: str) -> str:
    return unescape(rendered.removeprefix("<p>").removesuffix("</p>\n"))


@given(st.text(max_size=40))
def test_any_text_is_shown_as_it_is_written(text):
    assert visible(html(f"x {inline(text)} x")) == f"x {one_line(text)} x"


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_stays_in_its_cell(first, second):
    lines = table(("a", "b"), [(f"1{inline(first)}", f"2{code(second)}")])
    assert len(lines) == 3 and all("\n" not in line for line in lines)
    rendered = html("\n".join(lines))
    assert rendered.count("<td>") == 2 and rendered.count("<tr>") == 2


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a | b",
        "*a* _b_ `c`",
        "[a](b)",
        "a\n# b\n---",
        "&lt;",
        "![a](b)",
        "# a",
        "~~a~~ a_b __a__",
    ],
)
def test_marks_are_text(text):
    for before in ("x ", ""):
        rendered = html(f"{before}{inline(text)}")
        assert visible(rendered) == f"{before}{one_line(text)}"
    assert inline("depth abs_rel") == "depth abs_rel"


def test_half_a_surrogate_is_spelt_out():
    assert one_line("a\udce9") == r"a\udce9" and visible(html(inline("a\udce9"))) == r"a\udce9"


def test_links_go_to_the_web_alone():
    assert link("a]b", "https://example.org/x_(y)?q=1") == (
        r"[a\]b](https://example.org/x_%28y%29?q=1)"
    )
    for address in ("javascript:alert(1)", "", "https://a b", 'https://a"b'):
        assert link("a", address) == "a"


def test_odd_text_is_no_code():
    assert code("0.1.0+gabc-dirty") == "`0.1.0+gabc-dirty`"
    assert code("a`b") == r"a\`b" and code("a|b") == r"a\|b"


def test_numbers_stand_on_the_right():
    assert table(("a", "b"), [("x", "1")], right=1) == [
        "| a | b |", "| --- | ---: |", "| x | 1 |"
    ]  # fmt: skip

"""Pieces of Markdown (GitHub's, as the Hugging Face Hub renders it) that hold text of others.

Names, licences and titles come from people and from data sets. What goes through here is shown as
it is written: it opens no HTML, no table cell, no emphasis and no second line.
"""

import re
from collections.abc import Sequence
from urllib.parse import quote

_MARKS = re.compile(r"([\\`*\[\]|#~$]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z]))")
_PLAIN_CODE = re.compile(r"[\w.@:/+=#~,?&%-]+")
_WEB = re.compile(r"https?://[^\s<>\"'`]+")
_SAFE_IN_URL = ":/?&=#%~.,+@!;-_"


def one_line(text: object) -> str:
    """Without control characters, and with single spaces in place of any white space.

    Half a surrogate, which names of files may hold and no encoding has, is spelt out.
    """
    encodable = str(text).encode("utf-8", "backslashreplace").decode()
    words = "".join(each if each.isprintable() else " " for each in encodable).split()
    return " ".join(words)


def inline(text: object) -> str:
    """Text within a line, a heading or a cell; an underline within a word is no mark."""
    plain = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKS.sub(r"\\\1", plain)


def code(text: object) -> str:
    """An id, a digest or a file name in code type; as text where it has odd characters."""
    plain = one_line(text)
    return f"`{plain}`" if _PLAIN_CODE.fullmatch(plain) else inline(plain)


def link(text: object, url: str) -> str:
    """A link to a page of the web; the text alone where the address is none."""
    if not _WEB.fullmatch(url):
        return inline(text)
    return f"[{inline(text)}]({quote(url, safe=_SAFE_IN_URL)})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: int = 0) -> list[str]:
    """Lines of a table whose cells are Markdown already; numbers in the last ``right`` columns."""
    rules = ["---"] * (len(header) - right) + ["---:"] * right
    return [_row(header), _row(rules), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

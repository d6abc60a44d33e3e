"""Whose an image is, in one line that can stand beside it."""

MAX_TEXT = 500  # of one field, characters: what somebody wrote into a form on the web


def attribution_line(
    *, author: str | None = None, title: str | None = None, url: str | None = None
) -> str | None:
    """``"Title" by Author, https://…`` with what is known of the three; None where nothing is."""
    author, title, url = _clean(author), _clean(title), _clean(url)
    work = " by ".join(part for part in (f'"{title}"' if title else "", author) if part)
    if author and not title:
        work = f"by {author}"
    return ", ".join(part for part in (work, url) if part) or None


def _clean(text: str | None) -> str:
    """On one line, and not longer than a line should be."""
    if not isinstance(text, str):
        return ""
    return " ".join(text.split())[:MAX_TEXT]

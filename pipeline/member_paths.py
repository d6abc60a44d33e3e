"""Paths of members inside a data set: valid text, climbing nowhere, each one unique."""


def normalised(name: str) -> str:
    """A path with ``/`` that climbs nowhere, from whatever an archive calls its entry."""
    parts = name.replace("\\", "/").split("/")
    return (
        normalised_text("/".join(part for part in parts if part not in ("", ".", "..")))
        or "unnamed"
    )


def normalised_text(path: str) -> str:
    """A path of the file system as valid text; names need not be UTF-8 there."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class UniqueNames:
    """Makes names unique by a count: ``a.jpg``, ``a.jpg#2``; remembers 64-bit hashes only."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def __call__(self, name: str) -> str:
        """The name, or the name with a count if it came before."""
        count, unique = self._counts.get(hash(name), 0) + 1, name
        while hash(unique) in self._counts:
            count = max(count, 2)
            unique, count = f"{name}#{count}", count + 1
        self._counts[hash(name)] = max(1, count - 1)
        self._counts.setdefault(hash(unique), 1)
        return unique

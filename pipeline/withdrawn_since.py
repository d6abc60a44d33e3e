"""What was withdrawn of an item after it had been read: it is dropped, and kept no more."""

from bisect import bisect_left
from collections.abc import Iterable


class WithdrawnSince:
    """Withdrawn samples of a source by their paths.

    Args:
        samples: Path, reason, and when it was withdrawn, seconds since 1970.
    """

    def __init__(self, samples: Iterable[tuple[str, str, float]] = ()) -> None:
        self._samples = sorted(samples)
        self._paths = [path for path, _, _ in self._samples]
        self._newest = max((when for _, _, when in self._samples), default=float("-inf"))

    def is_any(self, since: float) -> bool:
        """Whether anything was withdrawn after that time."""
        return self._newest > since

    def of(self, path: str, *, since: float) -> dict[str, int]:
        """Samples in the item of that path, per reason: the file itself, or what is in it."""
        if not self.is_any(since):
            return {}
        found: dict[str, int] = {}
        for first, last in self._ranges(path):
            for _, reason, when in self._samples[first:last]:
                if when > since:
                    found[reason] = found.get(reason, 0) + 1
        return found

    def _ranges(self, path: str) -> list[tuple[int, int]]:
        if not path:  # the data set is one file
            return [(0, len(self._paths))]
        # "0" comes after "/", and nothing between them.
        ends = [(path, f"{path}\0"), (f"{path}/", f"{path}0")]
        return [(self._place(low), self._place(high)) for low, high in ends]

    def _place(self, path: str) -> int:
        return bisect_left(self._paths, path)

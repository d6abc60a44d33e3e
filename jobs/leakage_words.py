"""Why a search for leaks may have missed some: what could not be compared, in words."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.records import ShardRef

SHOWN = 5


@dataclass(slots=True)
class Doubts:
    """What a search for leaks does not know.

    Attributes:
        unknown: Models of whose training nothing is known.
        lost: Images that were withdrawn, with everything that was known of them.
        bytes_only: Why looks were not compared at all.
        unlooked: Images whose looks alone could not be compared.
        unread: Why, by the key of each object that could not be read.
    """

    unknown: Sequence[str] = ()
    lost: int = 0
    bytes_only: str = ""
    unlooked: int = 0
    unread: dict[str, str] = field(default_factory=dict)

    def say_unhashed(self, missing: Sequence[ShardRef], *, of: int) -> None:
        """Say how those who are in doubt can have looks compared, too."""
        sources = list(dict.fromkeys(shard.source for shard in missing))
        named = sources if len(sources) <= SHOWN else []  # without names it takes all
        self.bytes_only = (
            f"only bytes were compared: nobody has looked at the images of {len(missing):,} of "
            f"{of:,} training shards yet (--leakage near does, and so does "
            f"{' '.join(('factory catalog duplicates', *named))} --near, on a cluster too)"
        )

    def note(self, key: str, rows: int, error: str, *, by_looks: bool) -> None:
        """An object that was read, or could not be."""
        if error:
            self.unread[key] = error
        elif not by_looks:
            self.unlooked += rows

    def in_words(self) -> str:
        """All of it; empty where there is none."""
        said = []
        if self.unknown:
            said.append(f"nothing is known of the training of {_listed(self.unknown, ', ')}")
        if self.bytes_only:
            said.append(self.bytes_only)
        if self.unlooked:
            said.append(f"{self.unlooked:,} images are gone or damaged: their bytes alone count")
        if self.lost:
            said.append(f"{self.lost:,} images were withdrawn since, and nothing is known of them")
        if self.unread:
            errors = _listed([f"{key} ({error})" for key, error in self.unread.items()], ", ")
            said.append(f"not compared, because it cannot be read: {errors}")
        return "; ".join(said)


def _listed(words: Sequence[str], mark: str) -> str:
    more = f" and {len(words) - SHOWN:,} more" if len(words) > SHOWN else ""
    return mark.join(words[:SHOWN]) + more

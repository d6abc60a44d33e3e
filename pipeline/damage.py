"""What became of the rows that training read: used, left out on purpose, or damaged.

A damaged row is named, counted and left out, and training goes on. What is damage:

====================  ===========================================================================
reason                meaning
====================  ===========================================================================
truncated, …          the image cannot be decoded; the reasons of `pipeline.images`
wrong_bytes           the image is not what was ingested: its sha256 differs
missing_file          the file is gone that a row without bytes of its own refers to
corrupt_truth         the ground truth cannot be unpacked, or is not what was ingested
corrupt_label         the pseudo-label cannot be decoded, or says nothing of its quality
foreign_label         the label at this place belongs to another image
foreign_sky           the sky mask at this place belongs to another image
corrupt_shard         the row group cannot be read: all its rows are damaged
====================  ===========================================================================

Rows that the teacher quarantined, or that a filter leaves out, are not damage. Nor is an object
that is missing, or a store that does not answer: the store tries again by itself, and when that
does not help the run ends, for nothing says that the rest can be read.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.errors import ShardCorruptError

NAMED = 100
JUDGED_FROM_ROWS = 200
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Skip:
    """A row that is left out on purpose."""

    reason: str


@dataclass(frozen=True, slots=True)
class Damage:
    """A row that is left out because it is broken.

    Attributes:
        key: The object that it lies in.
        sample_id: None where the whole row group is unreadable.
        reason: A code of the table above.
        detail: A sentence for a person.
    """

    key: str
    sample_id: str | None
    reason: str
    detail: str


@dataclass(slots=True)
class Tally:
    """Counts of rows, in the order of the rows: the same rows give the same tally.

    Attributes:
        used: Rows that were trained on.
        skipped: Rows left out on purpose, by reason.
        damaged: Rows left out as damaged, by reason.
        named: The first of those that are different.
    """

    used: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    damaged: Counter[str] = field(default_factory=Counter)
    named: list[Damage] = field(default_factory=list)

    @classmethod
    def of(cls, state: Mapping[str, Any] | None) -> "Tally":
        """From what `state` gave; empty from None."""
        if state is None:
            return cls()
        named = [Damage(**damage) for damage in state["named"]]
        return cls(state["used"], Counter(state["skipped"]), Counter(state["damaged"]), named)

    def state(self) -> dict[str, Any]:
        """As plain values of its own, for a checkpoint or for JSON."""
        return {
            "used": self.used,
            "skipped": dict(self.skipped),
            "damaged": dict(self.damaged),
            "named": [asdict(damage) for damage in self.named],
        }

    def add(self, outcome: Skip | Damage | None) -> None:
        """Count one row; None is one that was used."""
        if outcome is None:
            self.used += 1
        elif isinstance(outcome, Skip):
            self.skipped[outcome.reason] += 1
        else:
            self.damaged[outcome.reason] += 1
            if len(self.named) < NAMED and outcome not in self.named:
                self.named.append(outcome)

    def check(self, max_damaged: float, *, epoch_ends: bool = False) -> None:
        """Stop where too much is damaged: judged from 200 rows on, and when an epoch ends.

        Args:
            max_damaged: Largest share, 0 to 1, of the rows used and damaged together.
            epoch_ends: Judge also what is less than 200 rows.

        Raises:
            ShardCorruptError: More is damaged; names some.
        """
        damaged = self.damaged.total()
        read = self.used + damaged
        if damaged <= max_damaged * read or (read < JUDGED_FROM_ROWS and not epoch_ends):
            return
        shown = "; ".join(_sentence(damage) for damage in self.named[:_SHOWN])
        raise ShardCorruptError(
            f"{damaged} of {read} training rows are damaged, {damaged / read:.2%}, and at most "
            f"{max_damaged:.2%} may be {dict(self.damaged)}: {shown}"
        )


def merged(states: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One tally's state of those of several ranks or kinds of input."""
    whole = Tally()
    for tally in map(Tally.of, states):
        whole.used += tally.used
        whole.skipped.update(tally.skipped)
        whole.damaged.update(tally.damaged)
        whole.named += [damage for damage in tally.named if damage not in whole.named]
    del whole.named[NAMED:]
    return whole.state()


def _sentence(damage: Damage) -> str:
    place = damage.key if damage.sample_id is None else f"{damage.key}, sample {damage.sample_id}"
    return f"{place}: {damage.reason} ({damage.detail})"

"""Which samples are new: one judge for all processes that ingest into a source.

What the source had before the run is read when it is first asked for, and nothing of it where there
is nothing. Asked again about the same samples, as when a piece is tried again, the judge says the
same again: what a sample claimed, it has claimed for itself.

With ``--dedup exact`` and several processes, which one of two equal images is taken depends on
which comes first; that one of them is taken does not.
"""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pipeline.records import Drop, ShardRef
from pipeline.seen import (
    DigestSet,
    SeenSamples,
    drop_digest,
    seen_drops,
    seen_images,
    seen_samples,
)
from pipeline.storage import Store
from pipeline.withdrawn import WithdrawnSamples, withdrawn_samples

Copy = Literal["duplicate", "near_duplicate", "leak"]
Verdict = Literal["new", "same", "changed", "withdrawn"] | Copy
COPIES: tuple[Copy, ...] = ("duplicate", "near_duplicate", "leak")  # withdrawn as such, too

DETAILS: dict[Verdict, str] = {
    "changed": (
        "the source has another image or ground truth under this path, and what is committed never "
        "changes: ingest the new version under another source name"
    ),
    "duplicate": "a source of this store has an image of the same bytes",
    "near_duplicate": "it was withdrawn: an image of this store looks alike",
    "leak": "it was withdrawn: a benchmark of this store has that image",
    "withdrawn": "it was withdrawn from the source, and stays so",
}


def said_reason(withdrawn_as: str) -> Verdict:
    """The reason by which what was withdrawn is refused."""
    return next((each for each in COPIES if each == withdrawn_as), "withdrawn")


@dataclass(frozen=True, slots=True)
class Question:
    """A sample that is there, or a drop to be written down.

    Attributes:
        content: Of an image, what is in it; of a drop, its digest.
        sample_id: Hex; None for a drop.
        sha256: Of the image, hex.
    """

    path: str
    content: bytes
    sample_id: str | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be done with it.

    Attributes:
        is_known: Of what is refused: it was written down in an earlier run.
    """

    verdict: Verdict
    is_known: bool = False


@dataclass(frozen=True, slots=True)
class Before:
    """What there was before the run; small, for nothing of it is read yet.

    Attributes:
        shards: Of the source.
        drops: Keys of what is written down as refused.
        images: All shards of all sources, where no bytes are to be taken twice; else none.
        withdrawn: Keys of what names the samples that were withdrawn from the source.
    """

    shards: Sequence[ShardRef] = ()
    drops: Sequence[str] = ()
    images: Sequence[ShardRef] | None = None
    withdrawn: Sequence[str] = ()


class Judge:
    """Answers questions in their order; for one thread at a time, or several."""

    def __init__(self, store: Store, before: Before) -> None:
        self._store = store
        self._before = before
        self._claims = DigestSet()
        self._turn = threading.Lock()

    def judge(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer for each; a drop is always ``new``, and known or not."""
        with self._turn:
            return [self._answer(question) for question in questions]

    @cached_property
    def _samples(self) -> SeenSamples:
        return seen_samples(self._store, self._before.shards)

    @cached_property
    def _drops(self) -> DigestSet:
        return seen_drops(self._store, self._before.drops)

    @cached_property
    def _images(self) -> DigestSet:
        return seen_images(self._store, self._before.images or ())

    @cached_property
    def _withdrawn(self) -> WithdrawnSamples:
        return withdrawn_samples(self._store, self._before.withdrawn)

    def _answer(self, question: Question) -> Answer:
        if question.sample_id is None:
            return Answer("new", question.content in self._drops)
        verdict = self._verdict(question, question.sample_id)
        if verdict in ("new", "same"):
            return Answer(verdict)
        refusal = Drop(question.path, "", verdict, sha256=question.sha256)
        return Answer(verdict, drop_digest(refusal) in self._drops)

    def _verdict(self, question: Question, sample_id: str) -> Verdict:
        known = self._samples.compare(sample_id, question.content)
        if known != "new":
            return known
        why = self._withdrawn.reason(sample_id, question.sha256)
        if why is not None:
            return said_reason(why)
        return "duplicate" if self._is_taken(sample_id, question.sha256) else "new"

    def _is_taken(self, sample_id: str, sha256: str) -> bool:
        """Whether another sample has these bytes; if not, they are this one's from now on."""
        if self._before.images is None:
            return False
        image = bytes.fromhex(sha256)[:16]
        claim = hashlib.blake2b(f"{sample_id} {sha256}".encode(), digest_size=16).digest()
        if claim in self._claims:
            return False
        if image in self._images:
            return True
        self._images.add(image)
        self._claims.add(claim)
        return False

"""Asking a catalog that is away for a while, on a clock that the test turns."""

import pytest

from jobs.patience import LONGEST_PAUSE_S, Patience
from pipeline.errors import CatalogConflictError, StorageError


class Sleeper:
    """A clock that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.heard: list[str] = []
        self.waited = 0

    def wait(self) -> None:
        self.waited += 1

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def patience(self, limit_s: float) -> Patience:
        return Patience(
            limit_s,
            warn=lambda text: self.heard.append(f"warning: {text}"),
            note=self.heard.append,
            while_waiting=self.wait,
            clock=lambda: self.now_s,
            sleep=self.sleep,
        )


class Database:
    """Answers after some refusals, and counts how often it was asked."""

    def __init__(self, refusals: int) -> None:
        self.refusals, self.asked = refusals, 0

    def question(self, number: int, *, added: int) -> int:
        self.asked += 1
        if self.asked <= self.refusals:
            raise StorageError("server closed the connection")
        return number + added


def test_an_answer_that_comes_at_once_is_nothing_to_talk_about() -> None:
    sleeper = Sleeper()
    assert sleeper.patience(60.0).ask(Database(0).question, 1, added=2) == 3
    assert (sleeper.heard, sleeper.now_s) == ([], 0.0)


def test_it_is_said_once_that_there_is_no_answer_and_once_that_there_is_one_again() -> None:
    sleeper, database = Sleeper(), Database(5)
    patience = sleeper.patience(600.0)
    assert patience.ask(database.question, 1, added=2) == 3
    assert sleeper.now_s == pytest.approx(0.25 * (1 + 2 + 4 + 8 + 16))
    assert sleeper.waited >= sleeper.now_s
    assert sleeper.heard == [
        "warning: the catalog does not answer: server closed the connection; "
        "trying again for up to 10 min 0 s",
        "the catalog answers again after 7.8 s",
    ]
    assert patience.trouble is None


def test_patience_ends_and_pauses_never_grow_beyond_bounds() -> None:
    sleeper, database = Sleeper(), Database(10**9)
    patience = sleeper.patience(600.0)
    with pytest.raises(StorageError, match=r"closed the connection \(tried again for 10 min 0 s\)"):
        patience.ask(database.question, 1, added=2)
    assert sleeper.now_s == pytest.approx(600.0)
    assert 600 / LONGEST_PAUSE_S < database.asked < 600 / LONGEST_PAUSE_S + 10
    assert len(sleeper.heard) == 1


def test_no_patience_at_all_asks_once() -> None:
    database = Database(1)
    with pytest.raises(StorageError):
        Sleeper().patience(0.0).ask(database.question, 1, added=2)
    assert database.asked == 1


def test_a_refusal_for_good_is_not_asked_again() -> None:
    def refuse() -> None:
        raise CatalogConflictError("another recipe")

    sleeper = Sleeper()
    with pytest.raises(CatalogConflictError):
        sleeper.patience(600.0).ask(refuse)
    assert sleeper.now_s == 0.0

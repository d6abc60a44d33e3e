"""Asking a catalog that may be away for a while: again, slower and slower, and then no more.

A database that is restarted, or that another process has locked, comes back; a night's labelling
must not end with it. What was asked must be safe to ask twice: whether the first question was heard
is unknown.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from jobs.readable import readable_duration
from pipeline.errors import StorageError

Question = ParamSpec("Question")
Answer = TypeVar("Answer")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
TICK_S = 0.5


def _nothing() -> None:
    """Do nothing while waiting."""


@dataclass(slots=True)
class Patience:
    """Asks again where a `StorageError` comes back.

    Args:
        limit_s: How long nobody may answer.
        warn: Hears once that there is no answer.
        note: Hears once that there is one again.
        while_waiting: Called about twice a second meanwhile.
    """

    limit_s: float
    warn: Callable[[str], None]
    note: Callable[[str], None]
    while_waiting: Callable[[], None] = _nothing
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    trouble: str | None = None

    def ask(
        self,
        question: Callable[Question, Answer],
        *args: Question.args,
        **options: Question.kwargs,
    ) -> Answer:
        """What ``question(*args, **options)`` returns, as soon as it does.

        Raises:
            StorageError: It did not for ``limit_s``; names the last reason.
        """
        asked_s = self.clock()
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                answer = question(*args, **options)
            except StorageError as error:
                self._say(error)
                left_s = asked_s + self.limit_s - self.clock()
                if left_s <= 0:
                    waited = readable_duration(self.clock() - asked_s)
                    raise StorageError(f"{error} (tried again for {waited})") from error
                self._pause(min(pause_s, left_s))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            if self.trouble is not None:
                waited = readable_duration(self.clock() - asked_s)
                self.note(f"the catalog answers again after {waited}")
                self.trouble = None
            return answer

    def _say(self, error: StorageError) -> None:
        if self.trouble is None:
            self.trouble = "the catalog does not answer"
            self.warn(
                f"the catalog does not answer: {error}; "
                f"trying again for up to {readable_duration(self.limit_s)}"
            )

    def _pause(self, seconds: float) -> None:
        until_s = self.clock() + seconds
        while (left_s := until_s - self.clock()) > 0:
            self.while_waiting()
            self.sleep(min(left_s, TICK_S))

"""What can go wrong with a command; each class says what the operator should do."""

from collections.abc import Mapping
from typing import Any


class JobError(Exception):
    """Something that should have been done was not: read which, repair it, run again."""


class ConfigError(Exception):
    """Wrong usage or configuration, every problem listed: correct them and run again."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Interrupted(KeyboardInterrupt):
    """Somebody stopped a command that goes on where it was: run it again.

    Args:
        said: What was done, and what comes next, for a person.
        facts: The same for a program.
    """

    def __init__(self, said: str, facts: Mapping[str, Any]) -> None:
        super().__init__(said)
        self.facts = facts

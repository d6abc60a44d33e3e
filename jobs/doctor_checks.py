"""What a check of `factory doctor` says."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.catalog_values import without_credentials

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        verdict: ``ok``; ``warning``, what works and will be regretted; ``problem``, what does not
            work.
        found: What is there, in words.
        advice: What to do; may be empty where nothing needs to be done.
    """

    name: str
    verdict: str
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without passwords."""
        return {key: without_credentials(value) for key, value in asdict(self).items()}


def check_of(values: Mapping[str, Any]) -> Check:
    """A check from what `Check.as_dict` gave."""
    return Check(**values)

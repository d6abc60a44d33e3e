"""The code version where there is no git to ask."""

import subprocess
from importlib.metadata import version
from typing import Any

import pytest

from jobs.version import code_version


def test_without_git_the_release_is_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_git(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert code_version.__wrapped__() == version("pseudo-label-factory")

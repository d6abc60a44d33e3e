"""The code version where there is no git to ask."""

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from jobs.version import code_digest, code_version


def test_without_git_the_release_is_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_git(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert code_version.__wrapped__() == version("pseudo-label-factory")


def test_the_digest_is_of_what_modules_hold_and_are_called(tmp_path: Path) -> None:
    def digest(change: str, **files: str) -> str:
        for name, text in files.items():
            (tmp_path / change / name).mkdir(parents=True)
            (tmp_path / change / name / "it.py").write_text(text)
        return code_digest(tmp_path / change)

    first = digest("a", jobs="x", model="y")
    assert digest("b", jobs="x", model="y") == first
    assert len({first, digest("c", jobs="x", model="z"), digest("d", jobs="x", pipeline="y")}) == 3
    shutil.move(tmp_path / "b" / "jobs" / "it.py", tmp_path / "b" / "jobs" / "other.py")
    code_digest.cache_clear()
    assert code_digest(tmp_path / "b") != first
    assert len(code_digest()) == 16

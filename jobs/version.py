"""Which code made something: the package's version, and the commit if it runs from a checkout."""

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def code_version() -> str:
    """For example ``0.1.0+g1a2b3c4d5e6f`` (``.dirty`` where files differ from the commit)."""
    release = version("pseudo-label-factory")
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return release
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=.dirty"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:  # a checkout copied into a container without git
        return release
    return f"{release}+g{described.stdout.strip()}" if described.returncode == 0 else release

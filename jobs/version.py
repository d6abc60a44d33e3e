"""Which code made something: the package's version, and the commit if it runs from a checkout."""

import hashlib
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("jobs", "model", "pipeline")


@cache
def code_version() -> str:
    """For example ``0.1.0+g1a2b3c4d5e6f`` (``.dirty`` where files differ from the commit)."""
    release = version("pseudo-label-factory")
    if not (ROOT / ".git").exists():
        return release
    try:
        described = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty=.dirty"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:  # a checkout copied into a container without git
        return release
    return f"{release}+g{described.stdout.strip()}" if described.returncode == 0 else release


@cache
def code_digest(root: Path = ROOT) -> str:
    """Sixteen hex digits over all modules: without git, one release may be many versions of them.

    As in a container that was built from a checkout, with nothing but the release to tell.
    """
    digest = hashlib.sha256()
    for file in sorted(file for room in ROOMS for file in (root / room).rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]

"""Files written for people and other tools: whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import ConfigError


@contextmanager
def written_whole(out: str) -> Iterator[Path]:
    """A scratch file that takes the place of ``out`` at the end; an earlier one stays till then.

    Raises:
        ConfigError: ``out`` is a folder, or nothing can be written there.
    """
    path = Path(out).expanduser()
    if path.is_dir():
        raise ConfigError([f"--out {out} is a folder: name the file to write"])
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.touch()
    except OSError as error:
        raise ConfigError([f"--out {out}: cannot be written: {error.strerror}"]) from error
    try:
        yield scratch
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)

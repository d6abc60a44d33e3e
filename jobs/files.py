"""Files written for people and other tools: whole or not at all."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import ConfigError, JobError

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def written_whole(out: str) -> Iterator[Path]:
    """A scratch file that takes the place of ``out`` at the end; an earlier one stays till then.

    Of a link, what it points to is replaced. A device such as ``/dev/null`` is refused: whoever may
    do anything would replace it for everybody.

    Raises:
        ConfigError: ``out`` is a folder, a device or a pipe, or nothing can be written there.
        JobError: The disk is full.
    """
    path = Path(out).expanduser().resolve()
    if path.is_dir():
        raise ConfigError([f"--out {out} is a folder: name the file to write"])
    if path.exists() and not path.is_file():
        raise ConfigError([f"--out {out} is a device or a pipe: name a file to write"])
    scratch = _new_scratch(path, out)
    try:
        yield scratch
        os.replace(scratch, path)
    except OSError as error:
        if error.errno in FULL:
            raise JobError(f"--out {out}: cannot be written: {error.strerror}") from error
        raise
    finally:
        scratch.unlink(missing_ok=True)


def make_folder(out: str) -> Path:
    """A folder, there already or made now, into which files can be written.

    To be called before work begins whose results go there.

    Raises:
        ConfigError: It cannot be made, or nothing can be written there.
    """
    folder = Path(out).expanduser()
    _new_scratch(folder / "out", out).unlink()
    return folder


def _new_scratch(path: Path, out: str) -> Path:
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.touch()
    except OSError as error:
        raise ConfigError([f"--out {out}: cannot be written: {error.strerror}"]) from error
    return scratch

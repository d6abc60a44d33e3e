"""Files of this machine that are whole or not there, also after a power cut."""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".tmp-"  # how names begin that are not finished files


def publish(file: Path, target: Path, *, exclusive: bool) -> None:
    """Give a finished file its name, all at once, and flush it and its folder to the disk."""
    _sync(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if exclusive:
            os.link(file, target)
            file.unlink()
        else:
            os.replace(file, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _publish_across(file, target, exclusive=exclusive)
    _sync(target.parent)


def _publish_across(file: Path, target: Path, *, exclusive: bool) -> None:
    """The same where part of the store is a link to another disk."""
    beside = target.parent / file.name
    try:
        shutil.copyfile(file, beside)
        publish(beside, target, exclusive=exclusive)
    finally:
        beside.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Make it survive a power cut, not only a killed process."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file; the target is whole or not there."""
    beside = target.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, beside)
        publish(beside, target, exclusive=False)
    finally:
        beside.unlink(missing_ok=True)


def remove_if_old(path: Path, *, older_s: float) -> bool:
    """Remove a file that nobody has written to for so long; whether it was so.

    A file may get its name, or be removed, by its writer between being listed and being looked at.
    """
    try:
        age_s = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    if age_s <= older_s:
        return False
    path.unlink(missing_ok=True)
    return True


def keys_below(root: Path, prefix: str) -> Iterator[str]:
    """Relative paths with ``/`` of all finished files below a folder of ``root``, in no order."""
    for folder, _, names in os.walk(root / prefix):
        for name in names:
            if not name.startswith(TEMPORARY):
                yield (Path(folder) / name).relative_to(root).as_posix()

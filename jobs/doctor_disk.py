"""Doctor: on what kind of file system a path of this machine lies."""

import re
from pathlib import Path

from pipeline.filesystems import local_file

MOUNTS = Path("/proc/self/mountinfo")
# Several machines see the same files there, and locks and shared memory of SQLite do not work.
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "afs", "beegfs", "ceph", "cifs", "fuse.beegfs", "fuse.ceph", "fuse.gcsfuse",
        "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "glusterfs",
        "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs", "panfs", "pvfs2", "smb3", "smbfs",
        "wekafs",
    }
)  # fmt: skip


def nearest_existing(path: str | Path) -> Path:
    """The path, or the next folder above it that is there."""
    wanted = local_file(str(path))
    return next(each for each in (wanted, *wanted.parents) if each.exists())


def file_system_of(path: Path, *, mounts: str | None = None) -> str:
    """The kind of file system a path lies on, as Linux calls it; empty where nothing says so.

    Args:
        path: Absolute, without links.
        mounts: The text of /proc/self/mountinfo (default: read here).
    """
    if mounts is None:
        mounts = MOUNTS.read_text() if MOUNTS.is_file() else ""
    longest, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = Path(_unescaped(fields[4]))
        # Of two mounts on one point the later one hides the earlier one.
        if path.is_relative_to(point) and len(point.parts) >= longest:
            longest, kind = len(point.parts), after.split()[0]
    return kind


def is_network(kind: str) -> bool:
    """Whether other machines may write to a file system of that kind."""
    return kind in NETWORK_FILE_SYSTEMS


def _unescaped(text: str) -> str:
    """Spaces and their like are written as octal numbers there."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)

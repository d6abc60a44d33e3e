"""Who holds a lease: a name that says on which machine and in which process, checked for life.

A driver that was killed leaves leases behind. On the machine it ran on, the next one sees at once
that the process is gone and takes over; from elsewhere it waits until the lease has run out. Being
wrong is harmless: a commit is fenced by owner and epoch.
"""

import hashlib
import os
import socket
import uuid
from pathlib import Path

_THIS_OWNER: dict[int, str] = {}


def current_owner() -> str:
    """``host:namespace:pid:start:nonce`` of this process, the same for its whole life."""
    pid = os.getpid()
    if pid not in _THIS_OWNER:
        nonce = uuid.uuid4().hex[:8]
        _THIS_OWNER[pid] = f"{socket.gethostname()}:{_namespace()}:{pid}:{_started(pid)}:{nonce}"
    return _THIS_OWNER[pid]


def is_dead(owner: str) -> bool:
    """True only where it is certain: same machine and process namespace, and no such process."""
    return _runs(owner) is False


def is_alive(owner: str) -> bool:
    """True only where it is certain: same machine and process namespace, and it runs."""
    return _runs(owner) is True


def _runs(owner: str) -> bool | None:
    """Whether the owner's process runs; None where that cannot be seen from here."""
    parts = owner.rsplit(":", 4)
    if len(parts) != 5 or parts[0] != socket.gethostname() or parts[1] != _namespace():
        return None
    pid, started = int(parts[2]), parts[3]
    return _is_running(pid) and _started(pid) == started


def _namespace() -> str:
    """Tells apart machines of one name, reboots, and containers with process ids of their own."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    pids = Path("/proc/self/ns/pid")
    text = (boot.read_text() if boot.exists() else "") + (
        str(pids.readlink()) if pids.is_symlink() else ""
    )
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty where the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]  # a zombie has stopped working


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

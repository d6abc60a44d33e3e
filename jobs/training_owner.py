"""Which driver a training run belongs to: the last that took it, for as long as its heart beats.

``owner.json`` is written by whoever takes a run, and names the attempt; ``heartbeat.json`` is
written again and again while that driver lives. On the machine of the last driver the next one sees
at once whether its process runs. From elsewhere it looks at the heartbeat, and where that seems
old it waits for another one: clocks of two machines need not agree.

Being wrong about a death harms little. The driver that was taken for dead sees at its next beat
that the run is another's and stops; its workers see it before they put a checkpoint
(`RunFiles.check_mine`). Until then both train, from the same checkpoints and to the same ones.
"""

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobs.owner import current_owner, is_dead
from jobs.run_files import RunFiles
from pipeline.errors import LeaseLostError, StorageError

HEARTBEAT_S = 15.0
FRESH_S = 3 * HEARTBEAT_S
LOOK_AGAIN_S = 1.0


def take(files: RunFiles) -> RunFiles:
    """Become the driver of a run; returns its files as this attempt writes them."""
    attempt = secrets.token_hex(8)
    _beat(files, attempt)
    files.write_json("owner.json", {"owner": current_owner(), "attempt": attempt})
    return RunFiles(files.store, files.run_id, attempt=attempt)


def is_held(files: RunFiles, *, note: Callable[[str], None], wait: bool = False) -> bool:
    """Whether another driver is at work on a run, as far as that can be known.

    Waits up to `FRESH_S` where the heartbeat looks old, and tells ``note`` so; with ``wait`` where
    it is fresh too, for its driver may just have died.
    """
    owner = owner_of(files)
    if is_dead(owner):
        return False
    last = files.read_json("heartbeat.json")
    if not wait and last is not None and abs(time.time() - last["time"]) < FRESH_S:
        return True
    note(f"run {files.run_id} may be at work ({where(owner)}): looking {FRESH_S:.0f} s for a sign")
    until = time.monotonic() + FRESH_S
    while time.monotonic() < until:
        time.sleep(min(LOOK_AGAIN_S, FRESH_S))
        if files.read_json("heartbeat.json") != last:
            return True
    return False


def owner_of(files: RunFiles) -> str:
    """Who trains it, or trained it last; empty where nobody is known."""
    content = files.read_json("owner.json")
    return str(content["owner"]) if content else ""


def where(owner: str) -> str:
    """An owner for people."""
    parts = owner.rsplit(":", 4)
    return f"process {parts[2]} on {parts[0]}" if len(parts) == 5 else "nobody knows where"


@contextmanager
def heartbeat(files: RunFiles) -> Iterator[None]:
    """Let the heart of this attempt beat; interrupts the main thread when the run is lost.

    Raises:
        LeaseLostError: Another driver has taken the run.
    """
    done, lost = threading.Event(), threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_S):
            try:
                files.check_owner()
                _beat(files, files.attempt)
            except LeaseLostError:
                lost.set()
                # As Ctrl-C does: Ray Train, in which the main thread waits, knows no other way.
                os.kill(os.getpid(), signal.SIGINT)
                return
            except (StorageError, OSError):  # the next one may come through; late is no death yet
                continue

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    except KeyboardInterrupt:
        if lost.is_set():
            files.check_owner()
        raise
    finally:
        done.set()
        thread.join()


def _beat(files: RunFiles, attempt: str) -> None:
    files.write_json("heartbeat.json", {"attempt": attempt, "time": time.time()})

"""Ctrl-C once stops a command cleanly; pressed again while it stops, it does no harm."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 3  # presses; whoever presses a third time means it
STOPPING = "stopping: what is under way is given back"
STILL_STOPPING = "already stopping; it takes some seconds (once more to leave at once)"


@contextmanager
def calm_interrupts(say: Callable[[str], None]) -> Iterator[None]:
    """Let the first of `SIGNALS` interrupt, hold the second, and let the third interrupt too.

    What stops takes seconds: leases are given back, actors end. Signals that are ignored, or that
    end the process at once, stay as they are; so does everything outside the main thread.

    Args:
        say: Told what is going on, from within the signal handler.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = 0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        if pressed < PATIENCE:
            # The signal came in the middle of writing another line, or the terminal is gone.
            with suppress(RuntimeError, OSError):
                say(STOPPING if pressed == 1 else STILL_STOPPING)
        if pressed == 1 or pressed >= PATIENCE:
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = [number for number in SIGNALS if callable(before[number])]
    try:
        for number in ours:
            signal.signal(number, on_signal)
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])

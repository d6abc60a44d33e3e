"""What a sandbox's children are made to do: whatever decoders do on their worst days."""

import ctypes
import os
import signal
import time

state = {"poisoned": False}


def echo(data: bytes) -> bytes:
    return data


def about_itself(data: bytes, **options: object) -> bytes:
    """Process, session, open files, environment and options."""
    facts = [os.getpid(), os.getsid(0), len(os.listdir("/proc/self/fd")), *os.environ, options]
    return "\n".join(map(str, facts)).encode()


def worst_day(data: bytes) -> bytes:
    """What the bytes name happens; anything else is sent back."""
    happens = {
        b"segfault": lambda: ctypes.string_at(0),
        b"abort": os.abort,
        b"killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
        b"leaves": lambda: os._exit(3),
        b"loops": lambda: sum(range(1 << 60)),  # inside C, where no Python signal handler runs
        b"sleeps": lambda: time.sleep(60),
        b"stops": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        b"hogs": lambda: bytearray(1 << 30),
        b"raises": lambda: {}["a fault of the code"],
        b"talks": lambda: bytes(3 << 20),
        b"writes": lambda: _written("/tmp/sandbox-wrote-this"),
        b"poisons": lambda: state.update(poisoned=True),
    }
    if state["poisoned"]:
        os.abort()
    return happens[data]() or b"survived" if data in happens else data


def _written(path: str) -> bytes:
    try:
        with open(path, "wb", buffering=0) as file:
            file.write(b"x")
    except OSError as error:
        return type(error).__name__.encode()
    finally:
        os.unlink(path)
    return b"written"

"""What runs in a child of `pipeline.sandbox`: one function, called with bytes, answering bytes.

The process limits itself before it looks at the first byte. The kernel holds it to that, whatever
native code is doing at the time: a timer that ends the process needs no interpreter to be alive,
nor the parent. Between requests it waits for its parent, and ends when there is none.
"""

import importlib
import json
import os
import resource
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial

REQUEST = struct.Struct("<Q")
ANSWER = struct.Struct("<BQ")
READY, ANSWERED, FAULT = range(3)
OUT_OF_MEMORY = 77  # exit status
MAX_FAULT_BYTES = 1 << 14


def main() -> None:
    """Serve the socket that is standard input, as the arguments say, until it is closed."""
    function, options, memory_bytes, cpu_s, wall_s = json.loads(sys.argv[1])
    with socket.socket(fileno=os.dup(0)) as parent:
        try:
            module, _, name = function.partition(":")
            call = partial(getattr(importlib.import_module(module), name), **options)
            _restore_signals()
            limit_process(memory_bytes=memory_bytes)
        except BaseException:
            _answer(parent, FAULT, _trace())
            raise
        _answer(parent, READY, b"")
        with suppress(EOFError):
            while True:
                data = receive(parent, REQUEST.unpack(receive(parent, REQUEST.size))[0])
                _serve(parent, call, data, cpu_s=cpu_s, wall_s=wall_s)


def limit_process(*, memory_bytes: int) -> None:
    """No more address space than there is now and ``memory_bytes``; no file written, no dump."""
    for kind, limit in (
        (resource.RLIMIT_AS, _address_space_bytes() + memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # macOS knows no limit of the address space
            resource.setrlimit(kind, (limit, limit))


def _restore_signals() -> None:
    """What the parent blocks or ignores must not keep the timers from ending the process."""
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly so many bytes.

    Raises:
        EOFError: The other side is gone.
        TimeoutError: As long as the socket says.
    """
    data = bytearray(size)
    view, position = memoryview(data), 0
    while position < size:
        count = connection.recv_into(view[position:])
        if not count:
            raise EOFError("the other side closed the connection")
        position += count
    return bytes(data)


def _serve(
    parent: socket.socket,
    call: Callable[[bytes], bytes],
    data: bytes,
    *,
    cpu_s: float,
    wall_s: float,
) -> None:
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)
    try:
        status, answer = ANSWERED, call(data)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # what libraries hold after that is anybody's guess
    except Exception:
        status, answer = FAULT, _trace()
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    _answer(parent, status, answer)


def _answer(parent: socket.socket, status: int, answer: bytes) -> None:
    parent.sendall(ANSWER.pack(status, len(answer)) + answer)


def _trace() -> bytes:
    return traceback.format_exc().encode("utf-8", "backslashreplace")[-MAX_FAULT_BYTES:]


def _address_space_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 30  # elsewhere than on Linux nobody says

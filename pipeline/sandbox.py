"""Native decoders run on untrusted bytes in child processes, which may crash, hang or starve.

A child is a fresh interpreter that has imported one function, ``bytes → bytes``, and is called over
a socket: nothing it answers is unpickled, and it is told nothing of the environment. It has limits
of memory, of processor time and of time; one that dies is replaced, and only what a child died of
that had seen nothing else before is blamed: an earlier image may have left its heap in ruins. The
limits are those of crashes and bombs. A decoder that is taken over by an attacker still runs as the
user who started the ingest.

A call costs some 40 µs and twice a copy of the data; a child costs about 0.2 s to start and some
30 MB. No signal handler, thread or shared memory is involved, so that a child whose parent was
killed ends by itself: at once when it is idle, at its deadline when it is not.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError
from pipeline.sandbox_child import ANSWER, ANSWERED, FAULT, OUT_OF_MEMORY, READY, REQUEST, receive

DECODER_CRASHED, DECODE_TIMEOUT = "decoder_crashed", "decode_timeout"
START_S = 120.0
_PATIENCE_S = 5.0  # what a child has to end itself before it is killed
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from pipeline.sandbox_child import main; main()"
)
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class SandboxError(PipelineError):
    """A process for decoding cannot be started, or its code has a fault: see the message."""


class DecoderDiedError(PipelineError):
    """The decoder did not survive these bytes: leave them out, and count the reason.

    Attributes:
        reason: ``decoder_crashed`` or ``decode_timeout``.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["DecoderDiedError"], tuple[str, str]]:
        return DecoderDiedError, (self.reason, self.detail)


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxLimits:
    """What a child may use.

    Attributes:
        memory_bytes: Of address space, beyond what its libraries take. A picture of 100 megapixels
            in ten bits was seen to need 1.9 GB in its several forms.
        cpu_s: Of processor time for one call, the same on a machine that is busy.
        wall_s: Of time for one call.
        answer_bytes: Of one answer.
    """

    memory_bytes: int = 3 << 30
    cpu_s: float = 60.0
    wall_s: float = 240.0
    answer_bytes: int = 1 << 20


class Sandbox:
    """Calls one function in child processes; for threads, and to be closed (or used in ``with``).

    Args:
        function: ``module:name`` of what takes bytes, and ``options``, and gives bytes.
        options: Further arguments by name, of what JSON knows.
        children: At most so many processes; further threads wait for their turn.
        limits: Of each of them.
    """

    def __init__(
        self,
        function: str,
        *,
        options: dict[str, Any] | None = None,
        children: int = 1,
        limits: SandboxLimits | None = None,
    ) -> None:
        self._function = function
        self._options = options or {}
        self._limits = limits or SandboxLimits()
        self._turns = threading.BoundedSemaphore(children)
        self._idle: list[_Child] = []

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, data: bytes) -> bytes:
        """The function's answer.

        Raises:
            DecoderDiedError: A child that had just been started died of these bytes.
            SandboxError: No child can be started, or the function raised.
        """
        with self._turns:
            child = self._idle.pop() if self._idle else self._start()
            try:
                return self._answer(child, data)
            except _ChildDiedError as death:
                if child.calls == 1 or death.reason == DECODE_TIMEOUT:
                    raise DecoderDiedError(death.reason, death.detail) from death
            child = self._start()
            try:
                return self._answer(child, data)
            except _ChildDiedError as death:
                raise DecoderDiedError(death.reason, death.detail) from death

    def close(self) -> None:
        """End the children that are idle; the next call would start others."""
        while self._idle:
            self._idle.pop().end()

    def _start(self) -> "_Child":
        return _Child(self._function, self._options, self._limits)

    def _answer(self, child: "_Child", data: bytes) -> bytes:
        try:
            answer = child.call(data)
        except BaseException:
            child.kill()
            raise
        self._idle.append(child)
        return answer


class _ChildDiedError(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class _Child:
    def __init__(self, function: str, options: dict[str, Any], limits: SandboxLimits) -> None:
        self.calls = 0
        self._limits = limits
        settings = [function, options, limits.memory_bytes, limits.cpu_s, limits.wall_s]
        path = [os.path.abspath(folder) for folder in sys.path]
        command = [sys.executable, "-B", "-c", _START, json.dumps(settings), json.dumps(path)]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # what libtiff and others have to say of a file
                    env=environment | _ONE_THREAD,
                    start_new_session=True,  # Ctrl-C is for the parent, which may wait for answers
                )
            except OSError as error:
                self._socket.close()
                raise SandboxError(f"no process for decoding could be started: {error}") from error
        self._await_ready()

    def call(self, data: bytes) -> bytes:
        """The answer.

        Raises:
            _ChildDiedError: There is none; the child is to be killed.
        """
        self.calls += 1
        ends_s = time.monotonic() + self._limits.wall_s + _PATIENCE_S
        try:
            self._socket.settimeout(self._limits.wall_s + _PATIENCE_S)
            self._socket.sendall(REQUEST.pack(len(data)))
            self._socket.sendall(data)
            status, answer = self._receive(ends_s)
        except TimeoutError as error:
            detail = f"no answer in {self._limits.wall_s:g} s"
            raise _ChildDiedError(DECODE_TIMEOUT, detail) from error
        except (EOFError, OSError) as error:
            raise self._death() from error
        if status == FAULT:
            text = answer.decode("utf-8", "replace")
            raise SandboxError(f"the code that looks at images has a fault:\n{text}")
        return answer

    def end(self) -> None:
        """Let it end by itself."""
        self._socket.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it now."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _await_ready(self) -> None:
        try:
            status, answer = self._receive(time.monotonic() + START_S)
            problem = "" if status == READY else answer.decode("utf-8", "replace")
        except (EOFError, OSError) as error:
            problem = f"{error} (exit status {self._process.poll()})"
        if problem:
            self.kill()
            raise SandboxError(f"a process for decoding could not be started: {problem}")

    def _receive(self, ends_s: float) -> tuple[int, bytes]:
        self._socket.settimeout(max(0.001, ends_s - time.monotonic()))
        status, size = ANSWER.unpack(receive(self._socket, ANSWER.size))
        if status not in (READY, ANSWERED, FAULT) or size > self._limits.answer_bytes:
            raise _ChildDiedError(DECODER_CRASHED, f"it answered nonsense ({status}, {size} bytes)")
        return status, receive(self._socket, size)

    def _death(self) -> _ChildDiedError:
        """What it died of."""
        try:
            status = self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            return _ChildDiedError(DECODER_CRASHED, "it closed the connection")
        if status == -signal.SIGPROF:
            detail = f"decoding took more than {self._limits.cpu_s:g} s of processor time"
            return _ChildDiedError(DECODE_TIMEOUT, detail)
        if status == -signal.SIGALRM:
            return _ChildDiedError(DECODE_TIMEOUT, f"decoding took {self._limits.wall_s:g} s")
        if status == OUT_OF_MEMORY:
            limit = f"{self._limits.memory_bytes / (1 << 20):,.0f} MiB"
            return _ChildDiedError(DECODER_CRASHED, f"decoding needs more than {limit} of memory")
        name = signal.Signals(-status).name if -status in _SIGNALS else f"status {status}"
        return _ChildDiedError(DECODER_CRASHED, f"the decoder died: {name}")


_SIGNALS = frozenset(int(number) for number in signal.Signals)

"""Children really crash, hang and starve here; the caller is told, and the next call answered."""

import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline import sandbox
from pipeline.sandbox import DecoderDiedError, Sandbox, SandboxError, SandboxLimits

FUNCTIONS = "tests.sandboxed_functions"
LIMITS = SandboxLimits(memory_bytes=256 << 20, cpu_s=0.5, wall_s=1.5, answer_bytes=2 << 20)


@pytest.fixture(scope="module")
def box():
    with Sandbox(f"{FUNCTIONS}:worst_day", limits=LIMITS) as opened:
        yield opened


@pytest.mark.parametrize("size", [0, 1, 65_537, 2 << 20])
def test_bytes_arrive_as_they_were_sent(size):
    data = os.urandom(size)
    with Sandbox(f"{FUNCTIONS}:echo", limits=LIMITS) as echo:
        assert echo(data) == data
        assert echo(b"again") == b"again"


@pytest.mark.parametrize(
    ("what", "reason", "detail"),
    [
        (b"segfault", "decoder_crashed", "SIGSEGV"),
        (b"abort", "decoder_crashed", "SIGABRT"),
        (b"killed", "decoder_crashed", "SIGKILL"),
        (b"leaves", "decoder_crashed", "status 3"),
        (b"hogs", "decoder_crashed", "256 MiB of memory"),
        (b"talks", "decoder_crashed", "nonsense"),
        (b"loops", "decode_timeout", "0.5 s of processor time"),
        (b"sleeps", "decode_timeout", "1.5 s"),
    ],
)
def test_a_bad_day_costs_one_answer(box, what, reason, detail):
    with pytest.raises(DecoderDiedError) as caught:
        box(what)
    assert caught.value.reason == reason
    assert detail in caught.value.detail
    assert box(b"the next one") == b"the next one"


def test_a_child_that_no_longer_runs_is_killed(box, monkeypatch):
    monkeypatch.setattr(sandbox, "_PATIENCE_S", 0.1)
    with pytest.raises(DecoderDiedError, match="no answer in"):
        box(b"stops")
    assert box(b"the next one") == b"the next one"


def test_what_an_earlier_call_left_behind_is_not_blamed_on_the_next(box):
    assert box(b"poisons") == b"survived"
    assert box(b"innocent") == b"innocent"


def test_faults_of_the_code_are_not_taken_for_bad_bytes(box):
    with pytest.raises(SandboxError, match=r"KeyError: 'a fault of the code'"):
        box(b"raises")
    assert box(b"the next one") == b"the next one"


def test_no_file_is_written(box):
    assert box(b"writes") == b"OSError"


def test_a_function_that_is_not_there_is_an_error_not_a_refusal():
    with (
        Sandbox(f"{FUNCTIONS}:no_such") as nothing,
        pytest.raises(SandboxError, match="no_such"),
    ):
        nothing(b"")


def test_a_child_knows_nothing_of_its_parent(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with (
        open(os.devnull, "rb") as other,
        Sandbox(f"{FUNCTIONS}:about_itself", options={"side": 3}) as about,
    ):
        os.set_inheritable(other.fileno(), True)
        pid, session, files, *names = about(b"").decode().splitlines()
    assert pid == session != str(os.getsid(0))  # Ctrl-C in a terminal does not reach it
    assert int(files) == 5  # three, the socket, and the folder that is being listed
    assert "{'side': 3}" in names
    assert not {name for name in names if "SECRET" in name}


def test_threads_share_as_many_children_as_are_allowed():
    with (
        Sandbox(f"{FUNCTIONS}:about_itself", children=2) as about,
        ThreadPoolExecutor(6) as threads,
    ):
        answers = list(threads.map(lambda _: about(b""), range(120)))
    assert 1 <= len({answer.split(b"\n")[0] for answer in answers}) <= 2


def test_children_end_when_closed():
    with Sandbox(f"{FUNCTIONS}:about_itself") as about:
        pid = int(about(b"").split(b"\n")[0])
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


PARENT = """
import sys, threading, time
from pipeline.sandbox import Sandbox, SandboxLimits
limits = SandboxLimits(wall_s=2.0)
about = Sandbox("tests.sandboxed_functions:about_itself", limits=limits)
busy = Sandbox("tests.sandboxed_functions:worst_day", limits=limits)
print(about(b"").split(b"\\n")[0].decode(), flush=True)
busy(b"warm")
print(busy._idle[0]._process.pid, flush=True)
busy(b"sleeps")
"""


def test_children_of_a_parent_that_was_killed_end_by_themselves():
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        idle, busy = int(parent.stdout.readline()), int(parent.stdout.readline())
        time.sleep(0.2)
        parent.send_signal(signal.SIGKILL)
    started_s = time.monotonic()
    assert ended(idle, within_s=1.5)
    assert ended(busy, within_s=10.0)
    assert time.monotonic() - started_s < 10


def ended(pid: int, *, within_s: float) -> bool:
    """Whether a process is gone, or is a zombie that nobody has asked for."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_errors_travel():
    error = pickle.loads(pickle.dumps(DecoderDiedError("decode_timeout", "slow")))
    assert (error.reason, error.detail) == ("decode_timeout", "slow")

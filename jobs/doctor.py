"""The verb ``doctor``: look at all that the factory stands on, and say what to do about it.

Every part is looked at by a process of its own (`jobs.doctor_probes`), all at the same time, and
has a deadline: what does not answer is a problem, and never a doctor that hangs.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from jobs.console import Reporter
from jobs.doctor_checks import PROBLEM, Check, check_of
from jobs.doctor_config import DoctorConfig
from jobs.doctor_probes import PROBES
from pipeline.catalog_values import without_credentials

Process = subprocess.Popen[bytes]

START_RAY_S = 60.0  # a head and its processes take long on a machine that is busy
PATIENCE_S = 3.0  # for a process to take back what it has begun
ADVICE = {
    "software": "run it again; if it stays so, make a new environment",
    "machine": "see whether a disk that is mounted here is gone",
    "devices": "see whether nvidia-smi answers; restart this machine if it does not",
    "Ray": "see whether the cluster answers (ray status), and give a larger --deadline-s",
    "store": "check --store, the network to it, and disks that are gone",
    "catalog": "check --catalog and the network to it",
}
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from jobs.doctor_probes import main; main()"
)


def doctor(config: DoctorConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Look at everything.

    Returns:
        ``checks``, each with ``name, verdict, found, advice``, and how many are ``problems``.
    """
    reporter = reporter or Reporter.silent()
    with (
        reporter.progress("doctor", len(PROBES), unit="parts") as bar,
        ThreadPoolExecutor(len(PROBES)) as waiting,
    ):
        running: list[Process] = []
        asked = {waiting.submit(look_at, name, config, running=running): name for name in PROBES}
        answers = {}
        try:
            for each in as_completed(asked):
                answers[asked[each]] = each.result()
                bar.advance()
        except BaseException:  # whoever presses Ctrl-C does not want to wait for a deadline
            _stop(running)
            raise
    checks = [check for name in PROBES for check in answers[name]]
    return {
        "checks": [check.as_dict() for check in checks],
        "problems": sum(check.verdict == PROBLEM for check in checks),
    }


def look_at(
    name: str,
    config: DoctorConfig,
    *,
    command: Sequence[str] | None = None,
    running: list[Process] | None = None,
) -> list[Check]:
    """The checks of one part; that it hangs or dies is one too.

    Args:
        name: Of a part in `PROBES`.
        config: What to look at, and for how long.
        command: What looks (default: this Python, in a process of its own).
        running: Takes the process, for whoever may have to stop it.
    """
    deadline_s = config.deadline_s + (START_RAY_S if name == "Ray" and config.start_ray else 0)
    # Not in `with`, whose end waits for a process that nothing can end.
    process = subprocess.Popen(
        command or [sys.executable, "-c", _START, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # to be ended with all that it started
    )
    if running is not None:
        running.append(process)
    try:
        asked = json.dumps({"probe": name, "config": asdict(config)}).encode()
        answer, complaint = process.communicate(asked, timeout=deadline_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return [Check(name, PROBLEM, f"no answer within {deadline_s:g} s", ADVICE[name])]
    except BaseException:
        _end(process)
        raise
    return _checks_in(name, process.returncode, answer, complaint)


def _checks_in(name: str, status: int, answer: bytes, complaint: bytes) -> list[Check]:
    if status == 0:
        return [check_of(each) for each in json.loads(answer)]
    said = complaint.decode(errors="replace").strip().splitlines()
    reason = without_credentials(said[-1]) if said else "it said nothing"
    ended = f"signal {-status}" if status < 0 else f"exit status {status}"
    return [Check(name, PROBLEM, f"looking at it ended with {ended}: {reason}", ADVICE[name])]


def _stop(processes: Sequence[Process]) -> None:
    """Ask all of them to end, and kill those that do not; threads wait for what they say."""
    deadline = time.monotonic() + PATIENCE_S
    for order in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:  # its number may have passed to another one
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, order)
        while time.monotonic() < deadline and any(each.poll() is None for each in processes):
            time.sleep(0.05)


def _end(process: Process) -> None:
    """First ask; a process that waits for a dead disk is left to itself, even killed."""
    for order in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, order)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):  # it never read what it was asked
                pipe.close()

"""The doctor himself: processes that answer, hang, die and chatter; what he says at the end."""

import io
import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from jobs import cli, doctor
from jobs.doctor_checks import OK, PROBLEM, WARNING, Check
from jobs.doctor_config import DoctorConfig
from jobs.doctor_probes import PROBES
from jobs.summary import print_summary

CONFIG = DoctorConfig(deadline_s=30.0)
ADDRESS = "postgresql://u:never-shown@127.0.0.1:1/x"


def looked(code: str, *, config: DoctorConfig = CONFIG) -> list[Check]:
    """The checks of a part that is looked at by this program."""
    return doctor.look_at("store", config, command=[sys.executable, "-c", code])


def test_what_a_process_answers():
    answer = [{"name": "store", "verdict": OK, "found": "there", "advice": ""}]
    code = f"import sys; assert 'never' in sys.stdin.read(); print({json.dumps(answer)!r})"
    config = DoctorConfig(catalog=ADDRESS)
    assert looked(code, config=config) == [Check("store", OK, "there")]


def test_a_process_that_hangs_is_a_problem_and_is_gone(tmp_path):
    file = tmp_path / "pid"
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(file)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)\n"
    )
    began = time.monotonic()
    (check,) = looked(code, config=DoctorConfig(deadline_s=1.5))
    assert time.monotonic() - began < 1.5 + 2 * doctor.PATIENCE_S + 2
    assert (check.verdict, check.found) == (PROBLEM, "no answer within 1.5 s")
    assert "--store" in check.advice
    for pid in map(int, file.read_text().split()):
        assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Also one that is dead and not yet collected by its parent is gone."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


def test_a_process_that_dies_is_a_problem_with_its_last_words():
    (check,) = looked("import os; os.kill(os.getpid(), 11)")
    assert check.verdict == PROBLEM and f"signal {signal.SIGSEGV.value}" in check.found
    (check,) = looked(f"raise OSError({ADDRESS!r})")
    assert "exit status 1: OSError: postgresql://u:***@127.0.0.1:1/x" in check.found
    (check,) = looked("import sys; sys.exit(3)")
    assert "exit status 3: it said nothing" in check.found


def test_a_process_is_asked_to_take_back_what_it_has_begun(tmp_path):
    """As `doctor_probes` does: the signal becomes an exception, and ``finally`` runs."""
    mark = tmp_path / "taken back"
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
        "try: time.sleep(600)\n"
        f"finally: open({str(mark)!r}, 'w').close()\n"
    )
    looked(code, config=DoctorConfig(deadline_s=1.0))
    assert mark.exists()


def test_whoever_interrupts_does_not_wait_for_a_deadline(monkeypatch, tmp_path):
    """Asked to end, what stops takes back what it has begun; what does not stop is killed."""
    monkeypatch.setattr(doctor, "PATIENCE_S", 1.0)
    code = (
        "import json, pathlib, signal, sys, time\n"
        "name = json.load(sys.stdin)['probe']\n"
        f"begun = pathlib.Path({str(tmp_path)!r}, name)\n"
        "end = (lambda *_: sys.exit(1)) if name != 'store' else signal.SIG_IGN\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "begun.touch()\n"
        "try: time.sleep(600)\n"
        "finally: begun.unlink()\n"
    )
    monkeypatch.setattr(doctor, "_START", code)
    interrupted_s = []

    def interrupt():
        while len(list(tmp_path.iterdir())) < len(PROBES):
            time.sleep(0.05)
        interrupted_s.append(time.monotonic())
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        doctor.doctor(DoctorConfig(deadline_s=60.0))
    thread.join()
    assert time.monotonic() - interrupted_s[0] < 20
    assert [each.name for each in tmp_path.iterdir()] == ["store"]


def test_no_argument_of_a_process_holds_a_password(monkeypatch):
    seen = []

    class Watched(subprocess.Popen):
        def __init__(self, arguments, **options):
            seen.append(arguments)
            super().__init__([sys.executable, "-c", "print('[]')"], **options)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    assert doctor.look_at("catalog", DoctorConfig(catalog=ADDRESS)) == []
    assert "never-shown" not in json.dumps(seen)


def test_one_object_in_the_order_of_the_parts(monkeypatch):
    def look(name, config, **_):
        time.sleep(0.05 if name == "software" else 0)
        verdict = {"store": PROBLEM, "catalog": PROBLEM, "machine": WARNING}.get(name, OK)
        return [Check(name, verdict, "found", "do it" if verdict != OK else "")]

    monkeypatch.setattr(doctor, "look_at", look)
    summary = doctor.doctor(CONFIG)
    assert set(summary) == {"checks", "problems"} and summary["problems"] == 2
    assert [each["name"] for each in summary["checks"]] == list(PROBES)
    assert all(set(each) == {"name", "verdict", "found", "advice"} for each in summary["checks"])
    assert doctor.ADVICE.keys() == PROBES.keys()


@pytest.mark.parametrize(("verdict", "status"), [(OK, 0), (WARNING, 0), (PROBLEM, 1)])
def test_the_exit_status(monkeypatch, capfd, verdict, status):
    found = f"at {ADDRESS}"
    monkeypatch.setattr(doctor, "look_at", lambda name, _, **__: [Check(name, verdict, found)])
    assert cli.run(["doctor", "--json"]) == status
    written = capfd.readouterr()
    answer = json.loads(written.out)
    assert answer["problems"] == (len(PROBES) if status else 0)
    assert "never-shown" not in written.out + written.err


def test_a_line_per_check_and_one_for_advice():
    checks = [
        Check("store", OK, "there").as_dict(),
        Check("catalog", PROBLEM, "two\n    lines \x1b[31m", "do this").as_dict(),
    ]
    stream = io.StringIO()
    print_summary({"checks": checks, "problems": 1}, stream=stream)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert lines == [
        "problems  1",
        "ok       store    there",
        "problem  catalog  two lines \\x1b[31m",
        "                  → do this",
    ]

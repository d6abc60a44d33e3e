"""Who holds a lease: alive, dead, elsewhere, and never mistaken."""

import os
import subprocess
import sys

from jobs.owner import current_owner, is_dead


def owner_of_a_process_that_ended() -> str:
    script = "from jobs.owner import current_owner; print(current_owner())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_this_process_has_one_name_and_lives() -> None:
    assert current_owner() == current_owner()
    assert not is_dead(current_owner())


def test_a_process_that_ended_is_dead() -> None:
    assert is_dead(owner_of_a_process_that_ended())


def test_a_process_with_a_recycled_id_is_not_the_owner() -> None:
    host, namespace, _, started, nonce = current_owner().rsplit(":", 4)
    assert is_dead(f"{host}:{namespace}:{os.getpid()}:{int(started) + 1}:{nonce}")


def test_a_killed_process_nobody_has_waited_for_is_dead() -> None:
    script = (
        "import time; from jobs.owner import current_owner; print(current_owner(), flush=True);"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        owner = child.stdout.readline().strip()
        assert not is_dead(owner)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        assert is_dead(owner)


def test_nothing_is_said_of_processes_that_cannot_be_seen() -> None:
    host, namespace, pid, started, nonce = owner_of_a_process_that_ended().rsplit(":", 4)
    assert not is_dead(f"elsewhere:{namespace}:{pid}:{started}:{nonce}")
    assert not is_dead(f"{host}:00000000:{pid}:{started}:{nonce}")
    assert not is_dead("somebody")

"""The actor pool against a real Ray: deaths, hangs, poison, and actors that cannot start."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from jobs.actor_pool import SURELY_LIVES_S, ActorPool, Outcome
from jobs.errors import JobError

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]


class Labeller:
    """Does what the task says."""

    def ready(self) -> int:
        return os.getpid()

    def label(self, task: str) -> str:
        if task.startswith("poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        if task.startswith("hang"):
            time.sleep(600)
        if task.startswith("raise"):
            raise ValueError(f"cannot do {task}")
        if task.startswith("slow"):
            time.sleep(0.5)
        return task.upper()


class Unstartable:
    """Fails while it starts."""

    def __init__(self) -> None:
        raise FileNotFoundError("no weights here")

    def ready(self) -> None:
        """Never reached."""


def start(kind: type = Labeller) -> Any:
    actor = ray.remote(kind).options(
        num_cpus=0.5,
        max_concurrency=2,
        max_restarts=0,
        max_task_retries=0,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parents[2])}},
    )
    return actor.remote()


def run(pool: ActorPool[str], tasks: list[str], *, attempts: int = 3) -> dict[str, Outcome[str]]:
    """What a driver does, without leases: retry the lost alone, give up after some attempts."""
    charged: dict[str, int] = {}
    final: dict[str, Outcome[str]] = {}
    for task in tasks:
        pool.submit(task)
    deadline = time.monotonic() + 120
    while not pool.is_idle:
        assert time.monotonic() < deadline, "the pool never came to rest"
        for outcome in pool.wait(0.5):
            charged[outcome.task] = charged.get(outcome.task, 0) + 1
            if outcome.actor_lost and charged[outcome.task] < attempts:
                pool.submit(outcome.task, alone=True)
            else:
                assert outcome.task not in final, "a task ended twice"
                final[outcome.task] = outcome
    return final


@pytest.fixture
def pool() -> Any:
    made = ActorPool[str](start, size=2, task_timeout_s=4.0)
    yield made
    made.close()


def test_innocent_tasks_are_done_whatever_dies_beside_them(pool: ActorPool[str]) -> None:
    good = [f"slow {index}" for index in range(6)]
    final = run(pool, [*good[:3], "poison", *good[3:], "hang", "raise"])
    assert {task: final[task].result for task in good} == {task: task.upper() for task in good}
    assert final["poison"].actor_lost
    assert "no answer within 4 s" in str(final["hang"].error)
    assert not final["raise"].actor_lost
    assert "cannot do raise" in str(final["raise"].error)


def test_a_killed_actor_is_replaced(pool: ActorPool[str]) -> None:
    while not pool.ready_actors:
        pool.wait(0.2)
    pid = ray.get(pool._slots[0].actor.ready.remote()) if pool._slots[0].is_ready else None
    if pid is None:
        pid = ray.get(pool._slots[1].actor.ready.remote())
    pool.submit("slow 1")
    pool.submit("slow 2")
    pool.wait(0.0)
    os.kill(pid, signal.SIGKILL)
    final = run(pool, ["slow 3"])
    assert final["slow 3"].result == "SLOW 3"


def test_a_suspect_is_not_charged_with_an_actor_that_died_idle() -> None:
    pool = ActorPool[str](start, size=1)
    try:
        while not pool.ready_actors:
            pool.wait(0.2)
        os.kill(ray.get(pool._slots[0].actor.ready.remote()), signal.SIGKILL)
        time.sleep(SURELY_LIVES_S + 0.5)
        pool.submit("innocent", alone=True)
        [outcome] = [each for _ in range(60) if not pool.is_idle for each in pool.wait(0.5)]
        assert (outcome.result, outcome.actor_lost) == ("INNOCENT", False)
        assert pool.lost_actors == 1
    finally:
        pool.close()


def test_actors_that_cannot_start_end_the_run_with_the_cause() -> None:
    pool = ActorPool[str](lambda: start(Unstartable), size=1)
    pool.submit("anything")
    with pytest.raises(JobError, match="no weights here"):
        for _ in range(120):
            pool.wait(1.0)
    pool.close()


CLUSTER_THAT_GROWS = """
import os
from ray.cluster_utils import Cluster
import ray
import jobs.actor_pool
from jobs.actor_pool import ActorPool
from jobs.config import LabelConfig
from jobs.label_actors import plan_actors, waiting_for_room
from jobs.ray_runtime import cluster_resources, free_resources, ray_cluster
from tests.integration.test_actor_pool import Labeller
from tests.warm_workers import warm_workers

jobs.actor_pool.RECOUNT_INTERVAL_S = 0.5
with warm_workers():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
config = LabelConfig(sources=("s",), teacher="t", ray=cluster.address)
with ray_cluster(config.ray):
    plan = plan_actors(config, cluster_resources())
    print(waiting_for_room(plan, has=cluster_resources(), free=free_resources()))

    def start():
        return ray.remote(Labeller).options(num_cpus=1, max_restarts=0).remote()

    pool = ActorPool(start, size=plan.count,
                     wanted=lambda: plan_actors(config, cluster_resources()).count)
    for nodes in (1, 2):
        assert pool.ready_actors == nodes - 1
        with warm_workers():
            cluster.add_node(num_cpus=1)
        while pool.ready_actors < nodes:
            pool.wait(0.2)
    pool.submit("slow one")
    pool.submit("slow two")
    done = []
    while len(done) < 2:
        done += pool.wait(0.2)
    print(sorted(outcome.result for outcome in done), pool.size, flush=True)
    pool.close()
os._exit(0)  # the cluster's own exit handlers complain
"""


@pytest.mark.timeout(300)
def test_a_pool_waits_for_a_machine_and_grows_with_the_cluster() -> None:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER_THAT_GROWS],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.strip().splitlines()[-2:]
    assert "asks for 1 CPU on one machine" in first and "none of them large enough" in first
    assert last == "['SLOW ONE', 'SLOW TWO'] 2"

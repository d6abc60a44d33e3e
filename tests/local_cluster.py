"""A cluster of several machines on this one, with a token, that a test can take machines away from.

The head has no CPU and serves the dashboard on loopback; every other machine has one CPU. It lives
in a process of its own, which does what it is told line by line: Ray's start takes over signals.

    with local_cluster({"AWS_ACCESS_KEY_ID": "…"}, machines=2) as cluster:
        cluster.start("ray", "job", "submit", …)
        cluster.drain(cluster.machines()[0], notice_s=20)
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.warm_workers import handed_on

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = Path(sys.executable).parent
BEGINS = "cluster: "  # what Ray itself writes to the same stream does not
_SERVER = "from tests.local_cluster import serve; serve()"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a test does with it.

    Attributes:
        environment: Of those who may use it: the token, and what the head was started with.
        folder: Where Ray keeps its logs.
    """

    server: subprocess.Popen[str]
    environment: dict[str, str]
    folder: Path
    address: str = ""
    dashboard: str = ""

    def ask(self, *words: object) -> Any:
        """Have the process of the cluster do something; its answer."""
        assert self.server.stdin is not None and self.server.stdout is not None
        print(*words, file=self.server.stdin, flush=True)
        for line in self.server.stdout:
            if line.startswith(BEGINS):
                return json.loads(line.removeprefix(BEGINS))
        raise AssertionError("the cluster is gone")

    def machines(self) -> list[str]:
        """Ids of those that are there, apart from the head, the oldest first."""
        return list(self.ask("machines"))

    def add(self) -> str:
        """One more machine; its id."""
        return str(self.ask("add"))

    def drain(self, machine: str, *, notice_s: int) -> None:
        """Tell a machine to go, as clouds, autoscalers and ``SIGTERM`` do."""
        assert self.ask("drain", machine, notice_s), "Ray refused"

    def kill(self, machine: str) -> None:
        """Take a machine away without a word."""
        self.ask("kill", machine)

    def start(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """Start ``ray`` or ``factory`` as somebody who knows the token."""
        return subprocess.Popen(
            [str(PROGRAMS / words[0]), *words[1:]],
            env=self.environment | environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@contextmanager
def local_cluster(environment: Mapping[str, str], *, machines: int) -> Iterator[Cluster]:
    """Start one whose head, and nobody else, has ``environment``; ended with all that is on it."""
    folder = Path(tempfile.mkdtemp(prefix="r"))  # a socket's path has 107 bytes
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    shared = os.environ | token | {"RAY_TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        env=shared | handed_on() | {"CLUSTER_HEAD": json.dumps(dict(environment))},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    users = {name: value for name, value in shared.items() if name != "PYTHONPATH"}
    cluster = Cluster(server, users, folder)
    try:
        address = str(cluster.ask("begin", port, machines))
        yield Cluster(server, users, folder, address, f"http://127.0.0.1:{port}")
    finally:
        assert server.stdin is not None and server.stdout is not None
        server.stdin.close()
        server.wait(timeout=60)
        server.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def serve() -> None:
    """What the process of the cluster does."""
    from ray.cluster_utils import Cluster as Nodes

    from tests.warm_workers import warm_workers

    cluster: Nodes = None
    nodes: dict[str, Any] = {}
    head = json.loads(os.environ.pop("CLUSTER_HEAD"))

    def add() -> str:
        with warm_workers():
            node = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        nodes[node.node_id] = node
        return str(node.node_id)

    for line in sys.stdin:
        what, *words = line.split()
        answer: Any = True
        if what == "begin":
            os.environ.update(head)
            options = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": True}
            options |= {"dashboard_host": "127.0.0.1", "dashboard_port": int(words[0])}
            # Not Ray's own: with another Ray on this machine no agent of the head would begin.
            options |= {"dashboard_agent_listen_port": _free_port()}
            cluster = Nodes(initialize_head=True, head_node_args=options)
            for name in head:
                del os.environ[name]
            for _ in range(int(words[1])):
                add()
            _wait_for_agent(cluster)
            answer = cluster.address
        elif what == "add":
            answer = add()
        elif what == "drain":
            answer = _drain(cluster, words[0], int(words[1]))
        elif what == "kill":
            cluster.remove_node(nodes[words[0]], allow_graceful=False)
        elif what == "machines":
            answer = list(nodes)
        print(BEGINS + json.dumps(answer), flush=True)
    cluster.shutdown()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _wait_for_agent(cluster: Any) -> None:
    """Whoever submits a job before the head's agent has said where it is, is refused."""
    from ray._private.ray_constants import KV_NAMESPACE_DASHBOARD
    from ray.dashboard.consts import DASHBOARD_AGENT_ADDR_NODE_ID_PREFIX

    key = f"{DASHBOARD_AGENT_ADDR_NODE_ID_PREFIX}{cluster.head_node.node_id}".encode()
    until = time.monotonic() + 120
    client = cluster.head_node.get_gcs_client()
    while client.internal_kv_get(key, namespace=KV_NAMESPACE_DASHBOARD) is None:
        assert time.monotonic() < until, "the head's agent did not begin"
        time.sleep(0.1)


def _drain(cluster: Any, node_id: str, notice_s: int) -> bool:
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    accepted, _ = cluster.head_node.get_gcs_client().drain_node(
        node_id,
        DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION,
        "the machine is taken away",
        int((time.time() + notice_s) * 1000),
    )
    return bool(accepted)

"""Ray workers that are forked from a process which has imported the heavy libraries already.

A worker of Ray begins as a new Python that imports torch and transformers: seconds of a core for
each of the two hundred that the integration tests start. Here one process imports what others have
written, nothing of this project's and not Ray, and each worker is a fork of it: a process of its
own like any other, with its own Ray, environment, standard streams and death.

    with warm_workers():
        ray.init(...)

Ray starts workers with the Python it runs in. Within the context that is a script which hands the
command of a worker over to the process that forks, and runs everything else as it is. A session
that has no such process, or ``FACTORY_COLD_WORKERS=1``, has workers as Ray starts them.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

FOLDER = "FACTORY_WARM_WORKERS"
IMPORTED = (
    "torch",
    "torch.utils.tensorboard",
    "transformers.modeling_utils",
    "transformers.models.depth_anything.modeling_depth_anything",
    "transformers.models.dinov2.modeling_dinov2",
    "alembic.command",
    "cv2",
    "fsspec",
    "imagecodecs",
    "kornia",
    "PIL.Image",
    "pyarrow.parquet",
    "sqlalchemy.dialects.sqlite",
)
_LONGEST_READ = 1 << 20
_SCRIPT = """#!{python} -SE
import json, os, socket, sys
if not sys.argv[1:] or not sys.argv[1].endswith(("default_worker.py", "setup_worker.py")):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
environment = dict(os.environ) | {{"RAY_RAYLET_PID": str(os.getppid())}}
command = {{"argv": sys.argv[1:], "environment": environment, "folder": os.getcwd()}}
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    data = json.dumps(command).encode()
    server.sendall(data[socket.send_fds(server, [data], [0, 1, 2]):])
"""


@contextmanager
def warm_workers() -> Iterator[None]:
    """A Ray that is started meanwhile forks its workers, where there is something to fork."""
    folder = os.environ.get(FOLDER)
    if folder is None or os.environ.get("FACTORY_COLD_WORKERS"):
        yield
        return
    with mock.patch.object(sys, "executable", f"{folder}/python"):
        yield


@contextmanager
def warm_process() -> Iterator[None]:
    """The process that forks, for this one and those it starts; it ends when this one does."""
    with tempfile.TemporaryDirectory(prefix="factory-warm-") as folder:
        address, script = f"{folder}/socket", Path(folder, "python")
        script.write_text(_SCRIPT.format(python=sys.executable, address=address))
        script.chmod(0o700)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(64)
            server = subprocess.Popen(
                [sys.executable, __file__, str(listener.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
            )
        try:
            with server, mock.patch.dict(os.environ, {FOLDER: folder}):
                yield
        finally:
            server.kill()


def handed_on() -> dict[str, str]:
    """What a process needs in its environment that was not started by this one."""
    return {FOLDER: os.environ[FOLDER]} if FOLDER in os.environ else {}


def serve(listener: socket.socket) -> None:
    """Fork a worker for each command that arrives, until whoever started this is gone."""
    for name in IMPORTED:
        import_module(name)
    gc.freeze()  # else a fork's collector writes to every page that it shares with this process
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them here
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if listener not in ready:
            return
        connection, _ = listener.accept()
        with connection:
            data, streams, _, _ = socket.recv_fds(connection, _LONGEST_READ, 3)
            while more := connection.recv(_LONGEST_READ):
                data += more
        if os.fork() == 0:
            listener.close()
            _become_worker(json.loads(data), streams)
        for stream in streams:
            os.close(stream)


def _become_worker(command: Mapping[str, Any], streams: list[int]) -> None:
    """Do in this fork what the command would have done in a process of its own, and end."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(command["folder"])
        os.environ.clear()
        os.environ.update(command["environment"])
        _run(command["argv"])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:  # what this process would do at its end is not for a fork of it to do
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(argv: list[str]) -> None:
    """Run a script of Ray's as the main one; what it would start another Python for, too."""
    from ray._private import utils
    from ray._private.runtime_env.context import RuntimeEnvContext

    def exec_worker(context: RuntimeEnvContext, argv: list[str], _: object) -> None:
        utils.update_envs(context.env_vars)
        _run(argv)

    def set_omp_num_threads() -> bool:
        is_set = set_if_unset()
        _follow_omp_num_threads()
        return is_set

    set_if_unset = utils.set_omp_num_threads_if_unset
    sys.argv, sys.path[0] = argv, str(Path(argv[0]).parent)
    with (
        mock.patch.object(RuntimeEnvContext, "exec_worker", exec_worker),
        mock.patch.object(utils, "set_omp_num_threads_if_unset", set_omp_num_threads),
    ):
        runpy.run_path(argv[0], run_name="__main__")


def _follow_omp_num_threads() -> None:
    """A torch that is imported afterwards would look there; sums depend on it."""
    import torch

    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))

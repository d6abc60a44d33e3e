"""How jobs and actors are called where Ray shows them: its dashboard, its state API, its logs.

A *job* has the title of its verb, ``label photos with dav2-l``, which is the column Name of the
dashboard. An *actor* has two names. One it is given before anybody knows where it will run, and no
two alike; the other it says itself, of what it does and where: Ray's ``repr_name``.
"""

import itertools
import os
import socket
from collections.abc import Sequence
from typing import Any

from pipeline.catalog_values import storable_text

MOST_NAMED = 3  # sources, models: further ones are counted
_NUMBERS = itertools.count(1)


def title(verb: str, targets: Sequence[str], *, by: str = "") -> str:
    """What a job does: ``label photos, places365 with dav2-l``, where ``by`` is a model.

    Of a path or an address the last part is shown: an address may have a password in it, and a
    path half a letter.
    """
    named = ", ".join(_last_part(each) for each in targets[:MOST_NAMED])
    more = len(targets) - MOST_NAMED
    named = f"{named} and {more} more" if more > 0 else named
    by = f"with {_last_part(by)}" if by else ""
    return " ".join(part for part in (verb, named, by) if part)


def _last_part(name: str) -> str:
    return storable_text(name).rstrip("/").rpartition("/")[2] or name


def job_config(said: str) -> Any:
    """A Ray job of that title; that of a submitted job is the one it was submitted with."""
    from ray.job_config import JobConfig

    return JobConfig(metadata={"job_name": said})


def actor_name(doing: str) -> str:
    """A name for one more actor of this process: what it does, a number, and whose it is."""
    return f"{doing} #{next(_NUMBERS)} of {socket.gethostname()}:{os.getpid()}"


def place(device: str = "cpu") -> str:
    """Where this process computes: ``gpu-node-3 GPU 5, process 4711``.

    ``device`` is torch's name, which counts the GPUs that this process sees; those are named as the
    machine counts them.
    """
    kind, _, index = device.partition(":")
    where = "CPU" if kind != "cuda" else f"GPU {_of_machine(int(index or 0))}"
    return f"{socket.gethostname()} {where}, process {os.getpid()}"


def _of_machine(index: int) -> str:
    seen = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    return seen[index].strip().removeprefix("GPU-") if index < len(seen) else str(index)

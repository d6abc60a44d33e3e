"""A few batches labelled in this process, on the device an actor would have here."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from jobs.config import LabelConfig
from jobs.console import Reporter
from jobs.forecast import PROCESS_START_S
from jobs.label_actors import ActorPlan
from jobs.label_ahead import LabelAim
from jobs.label_network import LabelNetwork
from jobs.label_probe import Reads, probe_labels, sample_rows
from jobs.models import fetch_model
from jobs.plan_measurement import Measurement
from jobs.version import code_version
from jobs.workspace import Workspace
from model.depth_model import DepthModel, load_depth_model
from model.label_pass import LabelPass
from pipeline.depth_codec import BITS


def measure(
    config: LabelConfig,
    workspace: Workspace,
    aim: LabelAim,
    *,
    actors: ActorPlan,
    sources: Sequence[str],
    batches: int,
    reporter: Reporter,
) -> Measurement:
    """Label so many batches of these sources and keep nothing but what it took."""
    recipe = aim.recipe
    started = time.monotonic()
    with _threads_of_an_actor(actors):
        model = _load(aim, workspace, actors.device)
        label_pass = LabelPass(model, bits=BITS[recipe.codec], consistency=recipe.consistency)
        network = LabelNetwork(
            label_pass, batch_size=config.batch_size, memory_share=actors.memory_share
        )
        start_s = PROCESS_START_S + time.monotonic() - started
        shards = [shard for source in sources for shard in workspace.catalog.image_shards(source)]
        reads = Reads()
        most = batches * network.room.batch_size
        images = list(sample_rows(workspace.store, shards, most, reads=reads))
        reporter.note(f"measuring {len(images)} images in batches of {network.room.batch_size}")
        probe = probe_labels(
            images,
            model,
            label_pass,
            recipe=recipe,
            room=network.room,
            threads=actors.threads,
            reads=reads,
        )
    return Measurement(
        device_name=_device_name(model.device),
        on_gpu=model.device.type == "cuda",
        threads=actors.threads,
        start_s=start_s,
        label_set=aim.label_set,
        teacher=aim.teacher.name,
        teacher_sha256=aim.teacher.sha256,
        side=recipe.side,
        resize=recipe.resize,
        precision=recipe.precision,
        bits=BITS[recipe.codec],
        consistency=recipe.consistency,
        code_version=code_version(),
        probe=probe,
    )


def _load(aim: LabelAim, workspace: Workspace, device: str) -> DepthModel:
    recipe = aim.recipe
    return load_depth_model(
        fetch_model(aim.location, workspace.store),
        device=device,
        precision=recipe.precision,
        side=recipe.side,
        resize=recipe.resize,
    )


@contextmanager
def _threads_of_an_actor(actors: ActorPlan) -> Iterator[None]:
    """On a CPU the network has as many threads as an actor's would have."""
    before = torch.get_num_threads()
    torch.set_num_threads(actors.cpus)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.get_num_threads()} threads"

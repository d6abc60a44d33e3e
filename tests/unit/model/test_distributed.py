"""Two real processes train one network: the head has weights that no forward pass reads."""

import io

import numpy as np
import pytest
import torch
from torch import distributed
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from model.batches import Sample, collate
from model.loading import is_unused
from model.optimisation import build_optimiser
from model.recipes import V2, override
from model.student import TrainableDepth, build_network
from model.training_step import TrainingStep

SIZE = 28
RECIPE = override(V2, size=SIZE, pseudo_only=False, learning_rate=1e-3)


def batch(seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    targets = rng.random((2, SIZE, SIZE), np.float32)
    return collate([Sample(*each) for each in zip(images, targets, strict=True)])


def two_steps(network, rank):
    trainable = DistributedDataParallel(network, find_unused_parameters=False)
    optimiser, _ = build_optimiser(trainable, RECIPE, steps=2)
    step = TrainingStep(trainable, recipe=RECIPE, rank=rank)
    for number in range(2):
        optimiser.zero_grad()
        losses = step(batch(10 * rank + number), batch(100 + 10 * rank + number), step=number)
        losses.total.backward()
        optimiser.step()


def trained(variant, rank):
    """Every weight after two steps as one vector, and the largest change from before them."""
    network = TrainableDepth(build_network("scratch:tiny", size=SIZE, variant=variant))
    before = torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone()
    two_steps(network, rank)
    after = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    return after, (after - before).abs().max().item()


def complaint(rank):
    """What DDP says where the weights that nothing reads are trained like the others."""
    network = TrainableDepth(build_network("scratch:tiny", size=SIZE))
    for name, parameter in network.named_parameters():
        if is_unused(name):
            parameter.requires_grad_(True)
    try:
        two_steps(network, rank)
    except RuntimeError as error:
        return str(error)
    return ""


def worker(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    found = {variant: trained(variant, rank) for variant in ("v1", "v2")}
    found["complaint"] = complaint(rank)
    buffer = io.BytesIO()
    torch.save(found, buffer)
    (folder / f"{rank}.pt").write_bytes(buffer.getvalue())
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    spawn(worker, (folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_two_steps_leave_both_ranks_with_the_same_new_weights(ranks, variant):
    (first, change), (second, _) = (found[variant] for found in ranks)
    assert torch.equal(first, second)
    assert torch.isfinite(first).all()
    assert change > 1e-4


def test_weights_that_nothing_reads_would_stop_it(ranks):
    for found in ranks:
        assert "finished reduction" in found["complaint"]

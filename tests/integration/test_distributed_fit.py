"""The loop in two processes against the same steps in one."""

import json
import multiprocessing
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from model.batches import Batch
from model.errors import NonFiniteLossError, ScaleDriftError
from model.monitors import ScaleMonitor
from model.optimisation import build_optimiser
from model.recipes import V1, override
from model.training import TIMINGS, fit
from model.training_step import StepLosses

pytestmark = pytest.mark.integration

STEPS, PASSES, WORKERS = 3, 2, 2


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Conv2d(3, 5, 1)
        self.head = nn.Conv2d(5, 1, 1)
        nn.init.ones_(self.head.bias)  # a healthy map is above 0

    def forward(self, pixels):
        return self.head(self.backbone(pixels).tanh())[:, 0]


class MeanStep:
    """Mean squared error; from step ``bad`` on it is spoilt."""

    def __init__(self, network, *, bad=None, how=""):
        self.network = network
        self.bad = bad
        self.how = how

    def __call__(self, labelled, pseudo, *, step):
        seen = self.network(labelled.images_B3HW / 255)
        total = (seen - labelled.target_BHW).square().mean()
        maximum = seen.detach().max()
        if self.bad is not None and step >= self.bad * PASSES:
            total = total * (torch.nan if self.how == "nan" else 1)
            maximum = maximum + (1e6 if self.how == "huge" else 0)
        numbers = {"prediction_mean": seen.detach().mean(), "prediction_std": seen.detach().std()}
        nothing = dict.fromkeys(("pseudo", "feature", "kept_share"))
        return StepLosses(
            total=total, labelled=total, prediction_maximum=maximum, **numbers, **nothing
        )


def batch(seed, count):
    images = torch.randint(
        0, 256, (count, 3, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    target = images[:, 0] / 255
    return Batch(images, target, target >= 0)


def share(whole, rank, size):
    parts = (whole.images_B3HW, whole.target_BHW, whole.valid_BHW)
    return Batch(*(part[rank * size : (rank + 1) * size] for part in parts))


def train(network, batches, step):
    optimiser, schedule = build_optimiser(network, override(V1, learning_rate=0.01), steps=STEPS)
    found = []
    fit(
        step,
        (SimpleNamespace(labelled=each, pseudo=None) for each in batches),
        optimiser=optimiser,
        schedule=schedule,
        steps=STEPS,
        accumulate=PASSES,
        clip_norm=1.0,
        network=network,
        monitor=ScaleMonitor(patience=1),
        on_step=lambda _, metrics: found.append(
            {name: value for name, value in metrics.items() if name not in TIMINGS}
        ),
    )
    return found


def work(rank, folder, how):
    """One worker of a run that goes through, or that worker 1 spoils at its second step."""
    network = DistributedDataParallel(Network())
    batches = [share(batch(seed, 4), rank, 2) for seed in range(STEPS * PASSES)]
    result = {"metrics": [], "error": ""}
    try:
        step = MeanStep(network, bad=1 if how and rank == 1 else None, how=how)
        result["metrics"] = train(network, batches, step)
    except (NonFiniteLossError, ScaleDriftError) as error:
        result["error"] = f"{type(error).__name__}: {error}"
    result["weights"] = [p.flatten().tolist() for p in network.parameters()]
    Path(folder, f"{how}-{rank}.json").write_text(json.dumps(result))


def all_runs(rank, folder):
    """One process."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORKERS
    )
    for how in ("", "nan", "huge"):
        work(rank, folder, how)
    torch.distributed.barrier()
    os._exit(0)  # taking a group apart may wait for ever


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of both workers, by how the run was spoilt."""
    folder = tmp_path_factory.mktemp("distributed")
    # Processes that begin anew: a fork would take over whatever locks torch's threads hold.
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=all_runs, args=(rank, str(folder)), daemon=True) for rank in (0, 1)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    codes = [worker.exitcode for worker in workers]
    for worker in workers:
        worker.kill()
    assert codes == [0, 0]
    return {
        how: [json.loads((folder / f"{how}-{rank}.json").read_text()) for rank in (0, 1)]
        for how in ("", "nan", "huge")
    }


def test_two_workers_are_one_with_twice_the_batch(results):
    alone = Network()
    batches = [batch(seed, 4) for seed in range(STEPS * PASSES)]
    expected = train(alone, batches, MeanStep(alone))
    first, second = results[""]
    assert first == second
    for found, wanted in zip(first["metrics"], expected, strict=True):
        for name in ("total", "gradient_norm", "prediction_mean", "prediction_maximum"):
            assert found[name] == pytest.approx(wanted[name], rel=1e-4), name
    for found, wanted in zip(first["weights"], alone.parameters(), strict=True):
        assert found == pytest.approx(wanted.flatten().tolist(), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("how", ["nan", "huge"])
def test_what_one_worker_sees_stops_both_at_the_same_step(results, how):
    first, second = results[how]
    assert first["error"] == second["error"]
    assert "step 2: " in first["error"]
    assert ("NonFiniteLossError" if how == "nan" else "huge since step 2") in first["error"]
    assert first["weights"] == second["weights"]

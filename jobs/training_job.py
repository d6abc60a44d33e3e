"""What the workers of a training run share, and the network and step that it asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn
from transformers import DepthAnythingForDepthEstimation

from jobs.models import ModelLocation, fetch_model
from model.metric_network import build_metric_network
from model.metric_recipe import MetricRecipe
from model.metric_step import MetricStep
from model.recipes import Recipe
from model.student import FrozenEncoder, TrainableDepth, build_network, compile_
from model.training import StepFunction
from model.training_step import TrainingStep
from pipeline.label_filter import EVERY_LABEL, LabelFilter
from pipeline.storage import Store
from pipeline.training_input import TrainingShard


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """What all workers of a run share; picklable, and enough to start again from.

    Attributes:
        encoder: Where the network starts: an encoder or, under a `MetricRecipe`, a whole network.
        labelled: Shards with ground truth.
        pseudo: Shards with their label shards; empty for a teacher.
        steps: Optimiser steps of the whole run.
        images_per_pass: Images of one forward pass on one worker.
        accumulate: Forward passes per optimiser step.
        compile: Whether networks run compiled.
        checkpoint_activations: Whether they are computed again in the backward pass.
        threads: Decoding threads per worker and kind of input.
        label_filter: Which pseudo-labels are good enough.
        max_damaged: Largest share of damaged rows, 0 to 1, of each kind of input.
        attempt: Of the driver that runs this; its workers write only while the run is its own.
        keep_checkpoints: Newest checkpoints kept, beside the best.
        ema: Decay of the average of the weights; None for no average.
        validation: Shards to score the model on at each checkpoint; may be empty.
        validation_images: Images of those that are scored.
        preview_steps: Steps between two pictures of predictions.
        wandb: Weights & Biases project that follows the run.
        mlflow: URI of the MLflow server or database that follows it.
    """

    run_id: str
    name: str
    store: Store
    encoder: ModelLocation
    recipe: Recipe
    labelled: tuple[TrainingShard, ...]
    pseudo: tuple[TrainingShard, ...]
    steps: int
    images_per_pass: int
    seed: int
    precision: str
    checkpoint_steps: int
    threads: int
    accumulate: int = 1
    compile: bool = False
    checkpoint_activations: bool = False
    label_filter: LabelFilter = EVERY_LABEL
    max_damaged: float = 0.01
    attempt: str = ""
    keep_checkpoints: int = 2
    ema: float | None = None
    validation: tuple[TrainingShard, ...] = ()
    validation_images: int = 64
    preview_steps: int = 500
    wandb: str | None = None
    mlflow: str | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """Which worker of how many this is, and how networks become theirs.

    Attributes:
        wrap: Puts a network on the device and into DDP; Ray Train's ``prepare_model``.
    """

    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    wrap: Callable[[nn.Module], nn.Module] = lambda network: network


class Prepared(NamedTuple):
    """What is trained, and how.

    Attributes:
        network: What is saved as the model in the end.
        trainable: The network as the loop sees it: on the device, wrapped for all workers.
        step: From a batch to its losses.
    """

    network: DepthAnythingForDepthEstimation
    trainable: nn.Module
    step: StepFunction


def prepare(job: TrainingJob, worker: Worker) -> Prepared:
    """Build the network of a job on this worker's device, and its step."""
    start = fetch_model(job.encoder, job.store)
    network = _network(job, start)
    trainable = worker.wrap(TrainableDepth(network, recompute=job.checkpoint_activations))
    frozen = _frozen_encoder(job, start, worker)
    if job.compile:
        compile_(trainable)
        if frozen is not None:
            compile_(frozen)
    return Prepared(network, trainable, _step(job, worker, trainable, frozen))


def _network(job: TrainingJob, start: str) -> DepthAnythingForDepthEstimation:
    recipe = job.recipe
    if isinstance(recipe, MetricRecipe):
        return build_metric_network(
            start,
            max_depth=recipe.max_depth,
            size=recipe.size,
            taken_over=recipe.taken_over,
            seed=job.seed,
        )
    return build_network(start, size=recipe.size, seed=job.seed, variant=recipe.head_blocks)


def _step(
    job: TrainingJob, worker: Worker, trainable: nn.Module, frozen: FrozenEncoder | None
) -> StepFunction:
    if isinstance(job.recipe, MetricRecipe):
        return MetricStep(
            trainable, recipe=job.recipe, device=worker.device, precision=job.precision
        )
    return TrainingStep(
        trainable,
        recipe=job.recipe,
        frozen_encoder=frozen,
        device=worker.device,
        precision=job.precision,
        seed=job.seed,
        rank=worker.rank,
    )


def _frozen_encoder(job: TrainingJob, start: str, worker: Worker) -> FrozenEncoder | None:
    """What the student's features are held to; None for a teacher and for encoders from scratch."""
    if not job.pseudo or not job.recipe.feature_weight:
        return None
    frozen = FrozenEncoder.load(start)
    return None if frozen is None else frozen.to(worker.device)

"""One stage of the ablation: train a network with some of the losses, then score it.

The paper's Table 9 (arXiv:2401.10891, §4.5), one row on top of the other:

teacher     labelled images alone; it makes the pseudo-labels
labelled    the same from another start, for as many steps as a student: the table's first row
pseudo      labelled and pseudo-labelled images, 1 : 2, neither perturbed
perturbed   the pseudo-labelled ones with colour changes and CutMix
aligned     and their features held to the encoder that training started from

Every step has as many images, and all but the teacher take three times its steps: a student sees as
many labelled images as its teacher did, and twice as many others, which is the paper's ratio too
(teacher 20 x 1.5 M; student 62 M and 31 M). The networks of a seed, but for the teacher, start from
the same weights; its students see the same images in the same order, and the same perturbations.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ablation_data import Pair, Scenes
from numpy.typing import NDArray

from model.batches import Batch, Sample, collate, prepare_sample, to_target
from model.depth_model import DepthModel, load_depth_model
from model.evaluation import ImageScore, evaluate_image
from model.optimisation import build_optimiser
from model.protocols import Protocol, protocol
from model.recipes import V1, Recipe, override
from model.student import FrozenEncoder, TrainableDepth, build_network
from model.training import fit
from model.training_step import TrainingStep
from pipeline.depth_codec import dequantise, quantise

TEACHER, LABELLED = "teacher", "labelled"
STUDENTS = ("pseudo", "perturbed", "aligned")
STAGES = (TEACHER, LABELLED, *STUDENTS)
PERTURBATIONS = (
    "cutmix_probability",
    "jitter_probability",
    "grayscale_probability",
    "blur_probability",
)
METRICS = ("abs_rel", "delta1")
FORWARD = 50  # images predicted at once

# 80 m, as KITTI is scored: a pixel whose aligned disparity falls to 0 would otherwise count as a
# thousand metres and a single one outweigh the image.
SCENES = Protocol(name="ablation", version=1, description="relative@1 up to 80 m", maximum_depth=80)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How large an ablation is, and what its recipes share.

    Attributes:
        size: Side of a crop, and shorter side of a scene, pixels; a multiple of 42, so that both
            sides of a scene are whole patches.
        encoder_steps: Of the stand-in encoder's training.
        steps: Of the teacher; all others take three times as many.
        learning_rate: Of the encoder; the head's is ten times that.
        labelled: Narrow scenes with depth.
        unlabelled: Wide scenes to be labelled.
        tests: Wide scenes that are scored; a quarter as many narrow ones.
    """

    size: int
    batch_size: int
    encoder_steps: int
    steps: int
    labelled: int
    unlabelled: int
    tests: int
    learning_rate: float
    precision: str = "fp32"

    def recipe(self, stage: str = TEACHER) -> Recipe:
        """``v1`` at this size, for a stage; blur is as wide as there, as a share of the crop."""
        shrunk = self.size / V1.size
        steps = self.steps if stage == TEACHER else round(self.steps * (1 + V1.pseudo_per_labelled))
        recipe = override(
            V1,
            size=self.size,
            batch_size=self.batch_size,
            steps=steps,
            learning_rate=self.learning_rate,
            warmup_steps=min(50, steps // 10),
            blur_sigma_minimum=V1.blur_sigma_minimum * shrunk,
            blur_sigma_maximum=V1.blur_sigma_maximum * shrunk,
        )
        perturbed = stage in ("perturbed", "aligned")
        return recipe if perturbed else override(recipe, **dict.fromkeys(PERTURBATIONS, 0.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sets:
    """What is learnt from and what is scored."""

    labelled: Scenes
    unlabelled: Scenes
    scored: dict[str, Scenes]
    real: Sequence[Pair] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step learns from."""

    labelled: Batch | None
    pseudo: Batch | None


def run_stage(
    stage: str, *, seed: int, plan: Plan, sets: Sets, out: Path, encoder: Path, device: str
) -> dict[str, Any]:
    """Train and score one stage, and write its result; read it where it is there already.

    Students need the teacher's result, which includes its labels.
    """
    file = out / f"seed{seed}-{stage}.json"
    if file.exists():
        return dict(json.loads(file.read_text(encoding="utf-8")))
    started = time.perf_counter()
    folder = out / f"seed{seed}-{stage}"
    labels = out / f"seed{seed}-labels.npy"
    pseudo = None
    if stage in STUDENTS:
        pseudo = _samples(sets.unlabelled.images_NHW3, np.load(labels))
    losses = train(
        folder,
        recipe=plan.recipe(stage),
        labelled=_samples(sets.labelled.images_NHW3, _targets(sets.labelled)),
        pseudo=pseudo,
        encoder=encoder,
        aligned=stage == "aligned",
        seed=1000 + seed if stage == TEACHER else seed,
        device=device,
        precision=plan.precision,
    )
    trained_s = time.perf_counter() - started
    model = load_depth_model(str(folder), device=device)
    if stage == TEACHER:
        np.save(labels, pseudo_labels(model, sets.unlabelled.images_NHW3))
    scores = {name: score_scenes(model, scenes) for name, scenes in sets.scored.items()}
    if sets.real:
        scores["real"] = score_pairs(model, sets.real)
    seconds = {"training_s": trained_s, "total_s": time.perf_counter() - started}
    result = {"stage": stage, "seed": seed, "scores": scores, "last": losses, **seconds}
    _write(file, result)
    return result


def train(
    folder: Path,
    *,
    recipe: Recipe,
    labelled: Sequence[Sample],
    pseudo: Sequence[Sample] | None,
    encoder: Path,
    aligned: bool,
    seed: int,
    device: str,
    precision: str,
) -> dict[str, float]:
    """Train a network from the stand-in encoder, save it, and return the last step's metrics."""
    network = build_network(str(encoder), size=recipe.size, seed=seed).to(device)
    trainable = TrainableDepth(network).train()
    frozen = FrozenEncoder.load(str(encoder)) if aligned else None
    step = TrainingStep(
        trainable,
        recipe=recipe,
        frozen_encoder=None if frozen is None else frozen.to(device),
        device=device,
        precision=precision,
        seed=seed,
    )
    optimiser, schedule = build_optimiser(trainable, recipe, steps=recipe.steps)
    metrics = fit(
        step,
        _steps(labelled, pseudo, recipe=recipe, seed=seed),
        optimiser=optimiser,
        schedule=schedule,
        steps=recipe.steps,
        clip_norm=recipe.clip_norm,
    )
    trainable.cpu().save(folder, side=recipe.size)
    return metrics


def pseudo_labels(model: DepthModel, images_NHW3: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a model says of clean images, as a 16-bit label would keep it."""
    return np.stack([dequantise(quantise(values)) for values in _predict(model, images_NHW3)])


def score_scenes(model: DepthModel, scenes: Scenes) -> dict[str, list[float | None]]:
    """Each metric of each scene, in depth; None where a scene cannot be scored."""
    scores = [
        evaluate_image(
            prediction,
            truth,
            geometry=model.geometry,
            truth_geometry="depth_metric",
            protocol=SCENES,
        )
        for prediction, truth in zip(
            _predict(model, scenes.images_NHW3), scenes.depth_NHW, strict=True
        )
    ]
    return _columns(scores)


def score_pairs(model: DepthModel, pairs: Sequence[Pair]) -> dict[str, list[float | None]]:
    """The same for real pairs, under ``relative@1``: their depths have limits of their own."""
    scores = [
        evaluate_image(
            model.predict(pair.image_HW3),
            pair.truth_HW,
            geometry=model.geometry,
            truth_geometry=pair.geometry,
            protocol=protocol("relative@1"),
        )
        for pair in pairs
    ]
    return _columns(scores)


def _columns(scores: Sequence[ImageScore]) -> dict[str, list[float | None]]:
    return {
        name: [score.metrics["depth"][name] if score.metrics else None for score in scores]
        for name in METRICS
    }


def _predict(model: DepthModel, images_NHW3: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Maps of scenes, whose size is the network's already."""
    for start in range(0, len(images_NHW3), FORWARD):
        yield from model.forward(images_NHW3[start : start + FORWARD]).cpu().numpy()


def _targets(scenes: Scenes) -> Iterator[NDArray[np.float32]]:
    for depth in scenes.depth_NHW:
        yield to_target(depth, "depth_metric", np.isnan(depth))


def _samples(images_NHW3: NDArray[np.uint8], targets: Any) -> list[Sample]:
    return [Sample(image, target) for image, target in zip(images_NHW3, targets, strict=True)]


def _steps(
    labelled: Sequence[Sample], pseudo: Sequence[Sample] | None, *, recipe: Recipe, seed: int
) -> Iterator[Step]:
    """Batches without end: a third of each is labelled, or all of it."""
    if pseudo is None:
        for batch in _batches(labelled, recipe.batch_size, recipe=recipe, seed=(seed, 0)):
            yield Step(batch, None)
    else:
        split = recipe.split(recipe.batch_size)
        parts = (
            _batches(labelled, split.labelled, recipe=recipe, seed=(seed, 0)),
            _batches(pseudo, split.pseudo, recipe=recipe, seed=(seed, 1)),
        )
        for pair in zip(*parts, strict=True):
            yield Step(*pair)


def _batches(
    samples: Sequence[Sample], count: int, *, recipe: Recipe, seed: tuple[int, int]
) -> Iterator[Batch]:
    """Random crops of the samples, each sample once before any comes again."""
    rng = np.random.default_rng(seed)
    order: list[int] = []
    while True:
        while len(order) < count:
            order.extend(rng.permutation(len(samples)).tolist())
        chosen, order = order[:count], order[count:]
        views = [
            prepare_sample(
                samples[index].image_HWC,
                samples[index].target_HW,
                size=recipe.size,
                rng=rng,
                flip_probability=recipe.flip_probability,
                interpolation="nearest",
            )
            for index in chosen
        ]
        yield collate(views)


def _write(file: Path, result: dict[str, Any]) -> None:
    scratch = file.with_suffix(".tmp")
    scratch.write_text(json.dumps(result), encoding="utf-8")
    scratch.replace(file)

"""The configuration of the verbs that train; see `jobs.config` for what a field's metadata says."""

from dataclasses import dataclass

from jobs.config import Common, option, required


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopOptions(Common):
    """What every verb that trains takes: the data, the loop, and who watches it."""

    labelled: tuple[str, ...] = option("Labelled sources.", ())
    name: str = required("Name of the model in the catalog.", is_name=True)
    steps: int | None = option("Optimiser steps (default: the recipe's passes).", minimum=1)
    batch_size: int | None = option(
        "Images per optimiser step, on all workers together (default: the recipe's).", minimum=1
    )
    accumulate: int = option(
        "Forward passes per optimiser step: the same batch in less memory.", 1, minimum=1
    )
    size: int | None = option(
        "Side of the square training crop, pixels (default: the recipe's 518).", minimum=14
    )
    learning_rate: float | None = option(
        "Of the encoder; the head keeps the recipe's ratio (default: the recipe's).", minimum=0
    )
    override: tuple[str, ...] = option(
        "Change a value of the recipe, NAME=VALUE; docs/recipe.md lists the names.", ()
    )
    precision: str = option(
        "Of the forward pass; auto is bf16 on a GPU that has it, else fp32.",
        "auto",
        choices=("auto", "fp32", "bf16"),
    )
    compile: str = option(
        "torch.compile the network; auto is on for a GPU.", "auto", choices=("auto", "on", "off")
    )
    checkpoint_activations: bool = option(
        "Compute activations again in the backward pass: a third more work, far less memory.",
        False,
    )
    ema: float | None = option(
        "Also keep an exponential moving average of the weights with this decay per step, and "
        "save that as the model.",
        minimum=0,
        maximum=1,
    )
    workers: int = option(
        "Ray Train workers; each takes one GPU where there are any.", 1, minimum=1
    )
    device: str = option(
        "On what workers compute; auto takes GPUs where there are any, and refuses a --ray cluster "
        "that has none.",
        "auto",
        choices=("auto", "cpu", "cuda"),
    )
    seed: int = option("Seed of weights, order and perturbations.", 0, minimum=0)
    validation: tuple[str, ...] = option(
        "Labelled or benchmark sources to score at each checkpoint; the best one is kept too.", ()
    )
    validation_images: int = option("Images scored at each checkpoint.", 64, minimum=1)
    checkpoint_steps: int = option("Write a checkpoint every so many steps.", 500, minimum=1)
    keep_checkpoints: int = option("Newest checkpoints kept, beside the best.", 2, minimum=1)
    preview_steps: int = option(
        "Show predictions on some images every so many steps, as pictures.", 500, minimum=1
    )
    allow_licence: tuple[str, ...] = option(
        "Refuse to learn from sources and models under another licence than these, also behind "
        "labels and teachers; patterns such as CC-BY-4.0, CC0*, any (default: warn of those that "
        "restrict commercial use).",
        (),
        alias="--allow-license",
    )
    max_damaged: float = option(
        "Stop when more than this share of the rows read is damaged, 0 to 1; those skipped are "
        "counted and named.",
        0.01,
        minimum=0,
        maximum=1,
    )
    wandb: str | None = option("Also log to this Weights & Biases project.")
    mlflow: str | None = option(
        "Also log to the MLflow server or database at this URI (https://…, sqlite:///mlflow.db)."
    )
    resume: bool = option("Go on from the newest checkpoint of the run with this name.", False)
    resume_if_any: bool = option(
        "Begin if there is no run of this name, go on if there is one, do nothing if it has made "
        "its model: for whoever gives the same command again.",
        False,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions(LoopOptions):
    """What teachers and students take besides."""

    encoder: str = required(
        "DINOv2 encoder: Hugging Face id, directory, original FILE.pth#dinov2-s, "
        "or scratch:tiny | scratch:s | scratch:b | scratch:l."
    )
    preset: str = option("Recipe: of Depth Anything V1 or V2.", "v1", choices=("v1", "v2"))
    sky_segmenter: str | None = option(
        "Semantic segmentation model that finds sky in the labelled images (catalog name, "
        "directory, fsspec URL or Hugging Face id); run once, its masks are kept."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainTeacherConfig(TrainingOptions):
    """Train a teacher on labelled sources."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainStudentConfig(TrainingOptions):
    """Train a student on labelled sources and pseudo-labelled images."""

    pseudo: tuple[str, ...] = required("Label sets to learn from.")
    max_saturated: float | None = option(
        "Skip labels with a larger share of pixels at the first or last code of the map, 0 to 1.",
        minimum=0,
        maximum=1,
    )
    max_flat: float | None = option(
        "Skip labels with a larger share of pixels equal to their neighbours, 0 to 1.",
        minimum=0,
        maximum=1,
    )
    min_flip_correlation: float | None = option(
        "Skip labels that correlate less with the label of the mirrored image, -1 to 1; needs "
        "label --consistency.",
        minimum=-1,
        maximum=1,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneMetricConfig(LoopOptions):
    """Turn a relative model into one that predicts metres."""

    init: str = required("Relative model to start from, as for label --teacher.")
    max_depth: int = required(
        "Largest depth the model can say, whole metres: 20 indoors, 80 outdoors."
    )

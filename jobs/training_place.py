"""On what a training run computes: decided once, before it begins."""

from dataclasses import dataclass

from jobs.errors import ConfigError
from jobs.ray_runtime import Resources
from jobs.training_config import LoopOptions


@dataclass(frozen=True, slots=True)
class TrainingPlace:
    """What all workers of a run have.

    Attributes:
        use_gpus: One for each worker; else they compute on CPUs.
        precision: ``fp32`` or ``bf16``.
        compile: Whether networks run compiled.
        cpus: Of each worker, and its decoding threads.
    """

    use_gpus: bool
    precision: str
    compile: bool
    cpus: int


def choose_place(config: LoopOptions, resources: Resources) -> TrainingPlace:
    """GPUs where there are any, unless told otherwise.

    On one machine that has none, CPUs are all there is. A cluster without a GPU may be one that
    has lost them, or whose GPUs are still to come: somebody has to say which is meant.

    Raises:
        ConfigError: Workers that this machine could never start together, or a cluster without a
            GPU and nobody said what to do about it.
    """
    if config.ray is None:
        _check_machine(config, resources)
    elif config.device == "auto" and not resources.gpus:
        raise ConfigError(
            [
                f"--ray: the cluster has no GPU now ({resources.in_words()}): give --device cuda "
                "to wait for GPUs to join, or --device cpu to train on CPUs"
            ]
        )
    use_gpus = _uses_gpus(config, resources)
    return TrainingPlace(
        use_gpus=use_gpus,
        precision=_precision(config, use_gpus=use_gpus),
        compile=config.compile == "on" or (config.compile == "auto" and use_gpus),
        # Ray Train's controller takes no CPU of its own, so the workers may have all.
        cpus=resources.cpus_each(config.workers, gpus=1.0 if use_gpus else 0.0),
    )


def _uses_gpus(config: LoopOptions, resources: Resources) -> bool:
    return config.device == "cuda" or (config.device == "auto" and resources.gpus > 0)


def _check_machine(config: LoopOptions, resources: Resources) -> None:
    if config.device == "cuda" and not resources.gpus:
        raise ConfigError(["--device cuda: this machine has no GPU (`factory doctor` says more)"])
    uses = _uses_gpus(config, resources)
    there, what = (resources.gpus, "GPUs") if uses else (resources.cpus, "CPUs")
    if config.workers > there:
        raise ConfigError([f"--workers {config.workers}: this machine has {there} {what}"])


def _precision(config: LoopOptions, *, use_gpus: bool) -> str:
    if config.precision != "auto":
        return config.precision
    return "bf16" if use_gpus else "fp32"

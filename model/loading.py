"""Loading with transformers so that nothing is silently random."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from model.checkpoint_files import ModelFolder
from model.errors import CheckpointError

# Parameters that no forward pass reads: the coarsest fusion layer has no second input (older files
# leave it out), and nothing is masked. Buffers that are computed, which older files carry along.
_UNUSED = re.compile(
    r"fusion_stage\.(layers|intermediate)\.0\.residual_layer1\.|\.mask_token$|^mask_token$"
)
_COMPUTED = re.compile(r"relative_position_index$|relative_coords_table$|num_batches_tracked$")
_SHOWN = 6


def is_unused(parameter: str) -> bool:
    """Whether no forward pass reads the parameter of that name."""
    return _UNUSED.search(parameter) is not None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no load reports: what matters of them is raised instead."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_whole(
    of_type: Any, files: ModelFolder, *, extra: str | None = None, **options: Any
) -> Any:
    """A network of one of transformers' classes, float32 on the CPU, entirely or not at all.

    ``options`` are further ones of ``from_pretrained``, ``extra`` as in `check_loaded`.

    Raises:
        CheckpointError: It cannot be loaded, or is not entirely what its file says.
    """
    try:
        with quiet_transformers():
            network, info = of_type.from_pretrained(
                files.path,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
            )
    # Damaged configurations and weights fail in transformers in more ways than can be listed.
    except Exception as error:
        raise CheckpointError(
            f"{files.name}: cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    check_loaded(network, info, files.name, extra=extra)
    return network


def check_loaded(
    network: PreTrainedModel, info: Mapping[str, Any], name: str, *, extra: str | None = None
) -> None:
    """Refuse a network that is not entirely what its file says.

    ``info`` is what ``from_pretrained(output_loading_info=True)`` reports; ``extra`` is a pattern
    of keys that the file may have beside the network's.

    Raises:
        CheckpointError: Parameters that the file does not set, keys that the network does not
            have, other shapes, or values that are not finite.
    """
    missing = [key for key in info["missing_keys"] if not is_unused(key)]
    unexpected = [
        key
        for key in info["unexpected_keys"]
        if not is_unused(key)
        and not _COMPUTED.search(key)
        and not (extra and re.search(extra, key))
    ]
    mismatched = [str(entry[0]) for entry in info["mismatched_keys"]]
    problems = [
        *_problem(missing, "are missing: these layers would be random"),
        *_problem(unexpected, "are not of this network"),
        *_problem(mismatched, "have another shape"),
        *map(str, info.get("error_msgs", ())),
    ]
    problems += _problem(_not_finite(network), "hold values that are not finite")
    if problems:
        raise CheckpointError(f"{name}: " + "; ".join(problems))


def _problem(keys: list[str], what: str) -> list[str]:
    if not keys:
        return []
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return [f"{len(keys)} keys {what} ({', '.join(sorted(keys)[:_SHOWN])}{more})"]


def _not_finite(network: PreTrainedModel) -> list[str]:
    return [
        name
        for name, value in network.state_dict().items()
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]

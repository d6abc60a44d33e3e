"""Credentials and endpoints on their way from the driver to workers on other machines.

Ray shows the variables of a runtime environment to everybody who may open its dashboard, and writes
them into logs on every machine. So they travel inside of a function that each worker runs when it
begins: pickled, in the memory of the head, and shown nowhere.
"""

import os
from collections.abc import Callable
from typing import Any

FORWARDED_PREFIXES = ("AWS_", "FSSPEC_", "HF_", "GOOGLE_", "AZURE_", "WANDB_", "MLFLOW_")


def forwarded_environment() -> dict[str, str]:
    """What workers on other machines need to reach the store, hubs of models, and trackers."""
    return {
        name: value for name, value in os.environ.items() if name.startswith(FORWARDED_PREFIXES)
    }


def worker_environment() -> dict[str, Any]:
    """The runtime environment of a job whose workers have what this process has."""
    forwarded = forwarded_environment()
    return {"worker_process_setup_hook": _setter(forwarded)} if forwarded else {}


def _setter(variables: dict[str, str]) -> Callable[[], None]:
    def set_environment() -> None:
        import os  # pickled by value: what this module has imported is not there

        os.environ.update(variables)

    return set_environment

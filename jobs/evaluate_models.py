"""The model that an engine holds: one at a time, changed when nobody uses the last one any more."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from jobs.evaluate_pass import BatchMaps, MapPass
from jobs.label_network import LabelNetwork
from jobs.models import ModelLocation, fetch_model
from model.depth_model import DepthModel, load_depth_model
from model.devices import free_memory
from model.errors import CheckpointError
from pipeline.storage import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """A model as an engine loads it, on whichever machine.

    Attributes:
        name: For people.
        side: Shorter side at the network's input, pixels.
        precision: ``fp32`` or ``bf16``.
    """

    name: str
    location: ModelLocation
    sha256: str
    side: int
    precision: str


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on its device."""

    model: DepthModel
    network: LabelNetwork[BatchMaps]


def load_model(
    spec: ModelSpec,
    store: Store,
    *,
    device: str,
    batch_size: int | None,
    memory_share: float,
) -> LoadedModel:
    """Bring a model to its device.

    Raises:
        CheckpointError: There is none, or its weights are others than the driver found.
    """
    model = load_depth_model(
        fetch_model(spec.location, store), device=device, precision=spec.precision, side=spec.side
    )
    if model.sha256 != spec.sha256:
        raise CheckpointError(
            f"model {spec.name}: weights here have sha256 {model.sha256}, "
            f"the driver found {spec.sha256}"
        )
    network = LabelNetwork(MapPass(model), batch_size=batch_size, memory_share=memory_share)
    return LoadedModel(model, network)


class OneModel:
    """Keeps one model loaded; whoever needs another one waits until the last one is free."""

    def __init__(self, load: Callable[[ModelSpec], LoadedModel]) -> None:
        self._load = load
        self._changed = threading.Condition()
        self._spec: ModelSpec | None = None
        self._loaded: LoadedModel | None = None
        self._users = 0

    @contextmanager
    def using(self, spec: ModelSpec) -> Iterator[LoadedModel]:
        """The model, which stays until the end of the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._users == 0 or self._spec == spec)
            loaded = self._current(spec)
            self._users += 1
        try:
            yield loaded
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def _current(self, spec: ModelSpec) -> LoadedModel:
        if self._loaded is None or self._spec != spec:
            self._forget()
            self._loaded, self._spec = self._load(spec), spec
        return self._loaded

    def _forget(self) -> None:
        """Before the next one is loaded, or both would have to fit."""
        if self._loaded is not None:
            device = self._loaded.model.device
            self._loaded = self._spec = None
            free_memory(device)

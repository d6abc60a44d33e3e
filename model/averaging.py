"""An exponential moving average of the weights: what is saved as the model where it is asked for.

Not part of either paper; a late average is as good as a decayed learning rate at some of its cost.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """The average of a network's trainable parameters over the steps done.

    After update n, counted from 0, average ← d · average + (1 - d) · weights, with
    d = min(``decay``, (1 + n) / (10 + n)). The second term is the usual warm-up: without it the
    weights that training began with, random ones among them, would be in the average of any run
    that is not many times 1 / (1 - ``decay``) steps long.

    Costs one more copy of the parameters, in their own precision and on their device. Every worker
    of a distributed run keeps the same average.

    Raises:
        ValueError: ``decay`` is not in 0 to 1, or nothing is trainable.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be 0 to 1, not {decay}")
        if isinstance(network, DistributedDataParallel):
            network = network.module
        self.decay = decay
        self.updates = 0
        self._weights = {name: p for name, p in network.named_parameters() if p.requires_grad}
        if not self._weights:
            raise ValueError(f"{type(network).__name__} has no trainable parameters to average")
        self._average = {name: p.detach().clone() for name, p in self._weights.items()}

    def update(self) -> None:
        """Take the weights after one more step into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, weights = list(self._average.values()), list(self._weights.values())
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update(averages, weights, self.updates)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the network has the averaged weights: to save it or to look at what it predicts.

        Its own come back afterwards to the last bit, whatever happens within. Not while a backward
        pass is due.
        """
        kept = {name: p.detach().clone() for name, p in self._weights.items()}
        try:
            _copy_(self._weights, self._average)
            yield
        finally:
            _copy_(self._weights, kept)

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on; the tensors are the live ones."""
        return {"decay": self.decay, "updates": self.updates, "average": dict(self._average)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: It is of another network or decay.
        """
        if state["decay"] != self.decay:
            raise ValueError(f"the average had a decay of {state['decay']}, not {self.decay}")
        odd = sorted(self._average.keys() ^ state["average"].keys())
        if odd:
            raise ValueError(f"the average is of other parameters: {', '.join(odd[:5])}")
        _copy_(self._average, state["average"])
        self.updates = int(state["updates"])


@torch.no_grad()
def _copy_(targets: Mapping[str, Tensor], sources: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(sources[name])

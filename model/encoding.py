"""One pass through a DINOv2 encoder, block by block.

transformers' own pass collects the output of every block through hooks. Here the blocks are called
one after another, so that each can be compiled as a region of its own and computed again in the
backward pass, in that order: recomputing around a compiled block works with
``DistributedDataParallel``, a compiled graph with recomputation in it does not. One block's graph
serves all of them, so compiling a ViT-L takes no longer than a ViT-S. Blocks behind the last one
wanted are not computed, and outputs that nobody wants are not kept.
"""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import Dinov2Backbone

Call = Callable[..., Any]

_HOOKED = "_output_capturing_hooks_installed"  # transformers' note to itself


def call(module: nn.Module, *arguments: Any) -> Any:
    """Run a module; what `compiled_call` compiles."""
    return module(*arguments)


def compiled_call(backend: str | Callable[..., Any] = "inductor") -> Call:
    """`call`, compiled for each kind of module and each shape it is given.

    Modules stay as they are: names, hooks and state dicts do not change, and who calls them
    directly gets them uncompiled, at any size.
    """
    # torch keeps at most 8 compiled variants for a code object: so each has its own.
    own = FunctionType(call.__code__.replace(), call.__globals__, call.__name__)
    return torch.compile(own, backend=backend, dynamic=False)


def encode(
    backbone: Dinov2Backbone,
    pixels_B3HW: Tensor,
    blocks: Sequence[int],
    *,
    run: Call = call,
    recompute: bool = False,
) -> list[Tensor]:
    """Tokens after some blocks, counted from 1, normalised, with the class token first.

    ``run`` is how modules are run: `call` or a `compiled_call`. With ``recompute`` only the input
    of each block is kept, and the block computed again for its gradient.
    """
    if run is not call:
        _remove_hooks_(backbone.encoder)
    tokens = run(backbone.embeddings, pixels_B3HW)
    found = []
    for number, block in enumerate(backbone.encoder.layer[: max(blocks)], start=1):
        if recompute and torch.is_grad_enabled():
            tokens = checkpoint(run, block, tokens, use_reentrant=False)
        else:
            tokens = run(block, tokens)
        if number in blocks:
            found.append(backbone.layernorm(tokens))
    return found


def _remove_hooks_(encoder: nn.Module) -> None:
    """Take off what a call through transformers left on the blocks: no graph can hold such hooks.

    transformers puts them back when it needs them.
    """
    if not getattr(encoder, _HOOKED, False):
        return
    for module in encoder.modules():
        for key, hook in list(module._forward_hooks.items()):
            if hook.__module__ == "transformers.utils.output_capturing":
                del module._forward_hooks[key]
    setattr(encoder, _HOOKED, False)

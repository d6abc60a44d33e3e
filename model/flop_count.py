"""Floating point operations of any network, counted while it computes.

`model.flops` has them in closed form for one family; a teacher may be of any. Attention is computed
step by step meanwhile, because torch knows no count for its fused kernels on a CPU.
"""

from collections.abc import Callable

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counted_flops(work: Callable[[], object]) -> float:
    """Of the matrix products and convolutions in ``work``, a multiplication and an addition as two.

    Takes a little longer than the work itself, and more memory.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return float(counter.get_total_flops())

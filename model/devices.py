"""Which device and which precision, where nobody says; and what it looks like when it is full."""

import torch

PRECISIONS = ("fp32", "bf16")

# torch has a class for its own allocator on a GPU. What CUDA and its libraries take besides (for
# handles, kernels, pinned memory), the allocator on a CPU and oneDNN have only words; the last of
# them oneDNN also has for what it cannot do at all.
_IS_FULL = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "can't allocate memory",
    "not enough memory",
    "could not create a memory",
    "could not create a primitive",
)


def pick_device(device: torch.device | str = "auto") -> torch.device:
    """The device of that name; ``auto`` is the first CUDA device, or the CPU where there is none.

    Raises:
        ValueError: No device of that name here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"no device is called {device!r}") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device} is not here: {torch.cuda.device_count()} CUDA devices")
    return chosen


def pick_precision(precision: str, device: torch.device | str) -> str:
    """``fp32`` or ``bf16``; ``auto`` is bf16 on a GPU that computes it in hardware, else fp32.

    Raises:
        ValueError: For another word.
    """
    if precision in PRECISIONS:
        return precision
    if precision != "auto":
        raise ValueError(f"precision must be auto, {' or '.join(PRECISIONS)}, not {precision!r}")
    # A V100 emulates bf16, and is slower with it than without.
    on_gpu = torch.device(device).type == "cuda"
    return "bf16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def placed(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A few numbers from the CPU on a device, without waiting for what a GPU still has to do.

    A plain ``to`` waits for everything queued; from page-locked memory it can go behind it.
    """
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or this machine, had no memory for a computation."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _IS_FULL)


def free_memory(device: torch.device) -> None:
    """Wait for what is queued on a GPU and give back what its allocator keeps; else nothing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()

"""The configuration of `factory plan`."""

from dataclasses import dataclass, field

from jobs.config import LabelOptions, option
from jobs.gpu_kinds import GPU_KINDS


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanConfig(LabelOptions):
    """Forecast time, storage and cost of labelling from a few batches measured here.

    With --json on a machine like those that will label, then --measured with that file anywhere.
    """

    sources: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Sources to label (default: every unlabelled source of the catalog).",
            "argument": True,
        },
    )
    teacher: str = option(
        "Catalog name, directory, fsspec URL, Hugging Face id, or original weights as "
        "FILE.pth#v2-s; not needed with --measured.",
        "",
    )
    all: bool = option("Forecast all images, those already labelled too.", False)
    images: int | None = option(
        "Forecast so many images like the measured ones, whatever the catalog has.", minimum=1
    )
    batches: int = option("Batches to measure; more of them say more.", 8, minimum=1)
    measured: str | None = option(
        "Measure nothing: a file that `factory plan --json` wrote elsewhere.", is_local=True
    )
    gpu: str | None = option(
        "Kind of GPU to forecast for (default: the device that was measured); another than the "
        "measured one is scaled by datasheets, and the forecast is a range.",
        choices=tuple(GPU_KINDS),
    )
    gpus: tuple[int, ...] = option("How many devices to forecast for.", (1, 8, 64))
    cpus_per_gpu: int | None = option(
        "CPUs beside each device that decode and encode (default: as measured).", minimum=1
    )
    simulate: bool = option(
        "Also simulate the run with failures and with machines that are taken away; seconds to "
        "a minute.",
        False,
    )
    cost_per_gpu_hour: tuple[float, ...] = option(
        "Price of one device for an hour, in any currency; two values are a range.", (), minimum=0
    )
    cost_per_gb_month: float | None = option(
        "Price of storing a gigabyte (1e9 bytes) for a month, in any currency.", minimum=0
    )

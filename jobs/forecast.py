"""What labelling is going to take, worked out from what a few batches took; only arithmetic.

A device that computes ``forward_s`` seconds per image labels ``1 / forward_s`` images a second if
threads decode and encode as fast. On a GPU these work beside it, so the slower of the two decides;
on a CPU both share the cores, so the times add up. What an engine loses at the beginning and end of
a run, and a store that is slower than the device, are not in it.
"""

from dataclasses import dataclass
from typing import Any

from jobs.readable import readable_duration

BYTES_PER_GB = 1e9


@dataclass(frozen=True, slots=True)
class Probe:
    """What a sample of images took; times and bytes are means over all of them.

    Attributes:
        images: Looked at.
        refused: Of these, images that give no label.
        sizes: How many different sizes they have at the network.
        batch_size: Images of ordinary size in a full batch.
        forward_s: Seconds of the device per image, in full batches.
        forward_low_s: A tenth of the images takes less than this, or the mean if that is less.
        forward_high_s: A tenth of the images takes more than this, or the mean if that is more.
        host_s: Seconds of one thread per image, to decode, resize and encode.
        image_bytes: Encoded image, as it is read.
        label_bytes: Of a label shard, per row.
        shard_bytes: Of a label shard without rows.
    """

    images: int
    refused: int
    sizes: int
    batch_size: int
    forward_s: float
    forward_low_s: float
    forward_high_s: float
    host_s: float
    image_bytes: float
    label_bytes: float
    shard_bytes: int


@dataclass(frozen=True, slots=True)
class Work:
    """How much is to be labelled."""

    images: int
    shards: int


@dataclass(frozen=True, slots=True)
class Host:
    """What one device has beside it.

    Attributes:
        threads: That decode and encode for one device.
        on_gpu: Whether they work beside the device rather than on it.
    """

    threads: int
    on_gpu: bool

    def seconds(self, forward_s: float, host_s: float) -> float:
        """Per image."""
        beside = host_s / self.threads
        return max(forward_s, beside) if self.on_gpu else forward_s + beside

    def is_the_limit(self, forward_s: float, host_s: float) -> bool:
        """Whether more threads would make it faster."""
        return self.on_gpu and host_s / self.threads > forward_s


def forecast(probe: Probe, work: Work, host: Host) -> dict[str, Any]:
    """Rates of one device, and what the work takes on any number of them.

    Keys: ``images_per_s`` with ``_low`` and ``_high`` (the slowest and fastest tenth of the
    images), ``device_hours``, ``threads_needed`` for one device at the rate of its network alone,
    ``read_mb_per_s`` at ``images_per_s``, ``bytes_per_label``, ``bytes``.
    """
    each_s = host.seconds(probe.forward_s, probe.host_s)
    rates = {
        "images_per_s": 1 / each_s,
        "images_per_s_low": 1 / host.seconds(probe.forward_high_s, probe.host_s),
        "images_per_s_high": 1 / host.seconds(probe.forward_low_s, probe.host_s),
        "limited_by": "threads" if host.is_the_limit(probe.forward_s, probe.host_s) else "network",
        "threads": host.threads,
        "threads_needed": probe.host_s / probe.forward_s,
        "read_mb_per_s": probe.image_bytes / each_s / 1e6,
        "device_hours": work.images * each_s / 3600,
    }
    size = work.images * probe.label_bytes + work.shards * probe.shard_bytes
    return rates | {"bytes_per_label": round(probe.label_bytes), "bytes": round(size)}


def on_devices(one: dict[str, Any], devices: int, work: Work) -> dict[str, Any]:
    """The forecast of one device for so many of them; a shard is never shared.

    ``hours`` with ``_low`` and ``_high``, by the same spread, and as words ``time``.
    """
    used = min(devices, max(work.shards, 1))
    hours = one["device_hours"] / used
    return {
        "devices": devices,
        "time": readable_duration(3600 * hours),
        "images_per_s": one["images_per_s"] * used,
        "read_mb_per_s": one["read_mb_per_s"] * used,
        "hours": hours,
        "hours_low": hours * one["images_per_s"] / one["images_per_s_high"],
        "hours_high": hours * one["images_per_s"] / one["images_per_s_low"],
    }


def costs(
    one: dict[str, Any], *, per_gpu_hour: float | None, per_gb_month: float | None
) -> dict[str, float]:
    """``cost`` of the devices and ``cost_per_month`` of the labels, where prices are given."""
    found = {}
    if per_gpu_hour is not None:
        found["cost"] = one["device_hours"] * per_gpu_hour
    if per_gb_month is not None:
        found["cost_per_month"] = one["bytes"] / BYTES_PER_GB * per_gb_month
    return found

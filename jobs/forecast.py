"""What labelling is going to take, worked out from what a few batches took; only arithmetic.

A device that computes ``network_s`` seconds per image labels ``1 / network_s`` images a second if
the rest is as fast: the store, through the threads that read and write, and the threads that decode
and encode. On a GPU all this goes on beside it, so the slowest decides. On a CPU the network shares
the cores with decoding, encoding and the building of label shards, so these times add up, and only
what waits for the store goes on beside them.

The wall's time has three more parts: the start of the actors, the devices that have nothing left
while others end their last shard, and that shard's writing. Not in it: machines that a cloud has to
find first, and what is lost with machines that go (`jobs.simulation` has these).
"""

import math
from dataclasses import dataclass
from typing import Any

from jobs.gpu_kinds import Span
from jobs.label_actors import SHARDS_PER_ACTOR
from jobs.readable import readable_duration

BYTES_PER_GB = 1e9
# Ray, a worker's process and its imports, and their end, on a machine that is there already:
# `benchmarks/plan.py` saw 22.6 to 23.7 s on two cores, 0.7 s of them for the teacher.
PROCESS_START_S = 22.0
SCALES = ("low", "middle", "high")


@dataclass(frozen=True, slots=True)
class Probe:
    """What a sample of images took; times and bytes are means over all of them.

    Attributes:
        images: Looked at.
        refused: Of these, images that give no label.
        sizes: How many different sizes they have at the network.
        batch_size: Images of ordinary size in a full batch.
        network_s: Seconds of the device per image, in full batches.
        read_s: Seconds of one thread per image until its bytes are there.
        decode_s: Seconds of one thread per image, to decode and resize.
        encode_s: Seconds of one thread per image.
        write_s: Seconds of one thread per image, to build a label shard on a disk.
        image_bytes: Encoded image, as it is read.
        label_bytes: Of a label shard, per row.
        shard_bytes: Of a label shard without rows.
        flops: Floating point operations of the network per image.
    """

    images: int
    refused: int
    sizes: int
    batch_size: int
    network_s: Span
    read_s: float
    decode_s: float
    encode_s: float
    write_s: float
    image_bytes: float
    label_bytes: float
    shard_bytes: int
    flops: float


@dataclass(frozen=True, slots=True)
class Work:
    """How much is to be labelled."""

    images: int
    shards: int

    @property
    def shard_images(self) -> float:
        """Of a shard, on average."""
        return self.images / self.shards if self.shards else 0.0


@dataclass(frozen=True, slots=True)
class Host:
    """What one device has beside it.

    Attributes:
        threads: That decode and encode for one device.
        on_gpu: Whether they work beside the device rather than on it.
    """

    threads: int
    on_gpu: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """One device at work.

    Attributes:
        probe: What it follows from.
        host: What stands beside the device.
        network_s: Seconds of the network per image on that device.
        start_s: Until an actor labels.
    """

    probe: Probe
    host: Host
    network_s: Span
    start_s: float = 0.0

    @property
    def beside_s(self) -> dict[str, float]:
        """Seconds per image of what goes on beside the network, with all threads that do it."""
        probe, threads = self.probe, self.host.threads
        reading = {"read": probe.read_s / SHARDS_PER_ACTOR}
        if not self.host.on_gpu:
            return reading
        return reading | {
            "threads": (probe.decode_s + probe.encode_s) / threads,
            "write": probe.write_s / SHARDS_PER_ACTOR,
        }

    @property
    def each_s(self) -> Span:
        """Seconds per image, all things together."""
        return Span(*(self._seconds(getattr(self.network_s, each)) for each in SCALES))

    def _seconds(self, network_s: float) -> float:
        return max(self._device_s(network_s), *self.beside_s.values())

    def _device_s(self, network_s: float) -> float:
        """Seconds in which the device is busy: with the network, and on a CPU with the rest too."""
        if self.host.on_gpu:
            return network_s
        probe = self.probe
        return network_s + (probe.decode_s + probe.encode_s + probe.write_s) / self.host.threads

    @property
    def limited_by(self) -> str:
        """What would have to be faster: ``network``, ``threads``, ``read`` or ``write``."""
        slowest = max(self.beside_s, key=lambda stage: self.beside_s[stage])
        is_slower = self.beside_s[slowest] > self._device_s(self.network_s.middle)
        return slowest if is_slower else "network"

    def rates(self, work: Work) -> dict[str, Any]:
        """What one device does, and what all of the work takes of devices and store."""
        each_s, probe = self.each_s, self.probe
        size = work.images * probe.label_bytes + work.shards * probe.shard_bytes
        return {
            "images_per_s": 1 / each_s.middle,
            "images_per_s_low": 1 / each_s.high,
            "images_per_s_high": 1 / each_s.low,
            "limited_by": self.limited_by,
            "threads": self.host.threads,
            "threads_needed": (probe.decode_s + probe.encode_s) / self.network_s.middle,
            "start_s": self.start_s,
            "device_hours": work.images * each_s.middle / 3600,
            "device_hours_low": work.images * each_s.low / 3600,
            "device_hours_high": work.images * each_s.high / 3600,
            "bytes_to_read": round(work.images * probe.image_bytes),
            "bytes_per_label": round(probe.label_bytes),
            "bytes": round(size),
        }

    def stages(self) -> list[dict[str, Any]]:
        """Each stage alone: ``images_per_s`` of one device, with how many threads at how long each.

        ``threads_needed`` keep the network busy, where threads do it; ``mb_per_s`` then go through.
        """
        probe, threads = self.probe, self.host.threads
        rows = [
            ("read", probe.read_s, SHARDS_PER_ACTOR, probe.image_bytes),
            ("decode", probe.decode_s, threads, None),
            ("network", self.network_s.middle, None, None),
            ("encode", probe.encode_s, threads, None),
            ("write", probe.write_s, SHARDS_PER_ACTOR, probe.label_bytes),
        ]
        return [
            {
                "stage": stage,
                "images_per_s": (at_once or 1) / max(seconds, 1e-9),
                "ms_per_image": 1000 * seconds,
                "threads": at_once,
                "threads_needed": seconds / self.network_s.middle if at_once else None,
                "mb_per_s": size / self.each_s.middle / 1e6 if size is not None else None,
            }
            for stage, seconds, at_once, size in rows
        ]

    def on_devices(
        self, devices: int, work: Work, *, per_gpu_hour: tuple[float, ...] = ()
    ) -> dict[str, Any]:
        """The wall's time on so many devices, and what is paid for: all of them, until the end."""
        hours = {each: self.wall_s(devices, work, each) / 3600 for each in SCALES}
        used = min(devices, max(work.shards, 1))
        rate = used / self.each_s.middle
        row = {
            "devices": devices,
            "time": readable_duration(3600 * hours["middle"]),
            "images_per_s": rate,
            "read_mb_per_s": rate * self.probe.image_bytes / 1e6,
            "write_mb_per_s": rate * self.probe.label_bytes / 1e6,
            "hours": hours["middle"],
            "hours_low": hours["low"],
            "hours_high": hours["high"],
            "gpu_hours": devices * hours["middle"],
            "at_work": self._at_work(devices, work, hours["middle"]),
        }
        if per_gpu_hour:
            row["cost_low"] = min(per_gpu_hour) * devices * hours["low"]
            row["cost_high"] = max(per_gpu_hour) * devices * hours["high"]
        return row

    def wall_s(self, devices: int, work: Work, scale: str = "middle") -> float:
        """Start, the shards of the device that has most of them, and the last one's writing."""
        if not work.images:
            return 0.0
        used = min(devices, work.shards)
        shard_s: float = work.shard_images * getattr(self.each_s, scale)
        # On a CPU writing is in `each_s` already, as part of what the cores do.
        last_s = work.shard_images * self.probe.write_s if self.host.on_gpu else 0.0
        return self.start_s + math.ceil(work.shards / used) * shard_s + last_s

    def _at_work(self, devices: int, work: Work, hours: float) -> float | None:
        """Share of what is paid for in which images are labelled, 0..1."""
        paid_s = 3600 * hours * devices
        return work.images * self.each_s.middle / paid_s if paid_s else None

"""What was measured on one machine, as a file that a forecast can be made from on any other.

``factory plan --json`` writes it, among the rest, under ``measurement``.
"""

import json
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from jobs.errors import ConfigError
from jobs.forecast import Probe
from jobs.gpu_kinds import Span, kind_of

FORMAT = 1
MOST = 1e18  # of anything; arithmetic on more would overflow
LEAST_S = 1e-9  # for an image in any network


@dataclass(frozen=True, slots=True)
class Measurement:
    """A probe, the machine it was made on, and what it was made of.

    Attributes:
        device_name: As its driver calls it.
        on_gpu: False for a CPU.
        threads: That decoded and encoded for one device.
        start_s: Seconds until the teacher was loaded and the batch size found.
        bits: Of a label value.
    """

    device_name: str
    on_gpu: bool
    threads: int
    start_s: float
    label_set: str
    teacher: str
    teacher_sha256: str
    side: int
    resize: str
    precision: str
    bits: int
    consistency: bool
    code_version: str
    probe: Probe

    @property
    def kind(self) -> str | None:
        """In the table of `jobs.gpu_kinds`."""
        return kind_of(self.device_name) if self.on_gpu else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"format": FORMAT, **asdict(self)}


def read_measurement(path: str) -> Measurement:
    """Read what ``factory plan --json`` wrote.

    Raises:
        ConfigError: There is no such file, or it is something else; names what is wrong.
    """
    try:
        found = json.loads(Path(path).read_text("utf-8"))
        measured = found.get("measurement", found)
        if measured.get("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {measured.get('format')!r}")
        measurement: Measurement = _read(Measurement, measured, where="measurement")
        _check(measurement)
    except (OSError, ValueError, OverflowError, RecursionError, AttributeError) as error:
        problem = f"--measured {path}: not what `factory plan --json` writes: {error}"
        raise ConfigError([problem]) from error
    return measurement


def _check(measurement: Measurement) -> None:
    probe, span = measurement.probe, measurement.probe.network_s
    if not LEAST_S <= span.low <= span.middle <= span.high:
        raise ValueError(f"measurement.probe.network_s is {span}: not above 0 and in order")
    if measurement.threads < 1 or probe.flops < 1:
        what = f"threads {measurement.threads}, flops {probe.flops:g}"
        raise ValueError(f"measurement has {what}: less than 1")


def _read(kind: Any, given: object, *, where: str) -> Any:
    """A value of that class or plain type; numbers are between 0 and `MOST`."""
    if kind in (Measurement, Probe, Span):
        if not isinstance(given, Mapping):
            raise ValueError(f"{where} is no mapping")
        kinds = typing.get_type_hints(kind)
        names = [each.name for each in fields(kind)]
        if missing := [name for name in names if name not in given]:
            raise ValueError(f"{where} has no {', '.join(missing)}")
        return kind(
            **{name: _read(kinds[name], given[name], where=f"{where}.{name}") for name in names}
        )
    if kind is float and isinstance(given, int) and not isinstance(given, bool):
        given = float(given)
    if not isinstance(given, kind) or (kind is int and isinstance(given, bool)):
        raise ValueError(f"{where} is {given!r}, expected {kind.__name__}")
    if isinstance(given, int | float) and not 0 <= given <= MOST:
        raise ValueError(f"{where} is {given!r}")
    return given

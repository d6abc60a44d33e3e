"""Recording metrics: checked against the table here, and handed to Ray where there is one.

Nothing is recorded by a process without Ray, and nothing of that is an error: a verb that works
inline has nobody to export for it. Ray sends the values on every ten seconds and when a process
ends in order (its actor was let go or killed by Ray, a terminating signal); what is killed outright
takes its last values with it.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jobs.metrics import BY_NAME, Kind, Metric


class Sink(Protocol):
    """Where checked values go."""

    def record(self, metric: Metric, value: float, tags: Mapping[str, str]) -> None:
        """Add to a counter, set a gauge, or put into a histogram."""


@dataclass(slots=True)
class RaySink:
    """The Ray that this process uses, if it does; its objects are made when first needed."""

    _made: dict[str, Any] = field(default_factory=dict)

    def record(self, metric: Metric, value: float, tags: Mapping[str, str]) -> None:
        """Hand it to Ray, or drop it where there is none."""
        ray = sys.modules.get("ray")  # who uses Ray has imported it
        if ray is None or not ray.is_initialized():
            return
        if metric.name not in self._made:
            self._made[metric.name] = _made(metric)
        made = self._made[metric.name]
        by_kind = {"counter": "inc", "gauge": "set", "histogram": "observe"}
        getattr(made, by_kind[metric.kind])(value, {key: _ascii(tags[key]) for key in tags})


def _ascii(text: str) -> str:
    """Ray raises for any other character: one in a model's path must not end a run."""
    return text.encode("ascii", "backslashreplace").decode()


def _made(metric: Metric) -> Any:
    from ray.util.metrics import Counter, Gauge, Histogram

    if metric.kind == "histogram":
        return Histogram(metric.name, metric.meaning, list(metric.buckets), metric.tags)
    kind = Counter if metric.kind == "counter" else Gauge
    return kind(metric.name, metric.meaning, metric.tags)


class Recorder:
    """Metrics of one verb at one target.

    Args:
        sink: Ray if nothing else is given.
        fixed: Tags that every metric with such a key gets.

    Every method raises ``ValueError`` for a name that is not in the table, is of another kind
    there, or has other tags.
    """

    def __init__(self, sink: Sink | None = None, **fixed: str) -> None:
        self._sink = sink or RaySink()
        self._fixed = fixed
        self._gauges: dict[tuple[str, tuple[tuple[str, str], ...]], Metric] = {}

    def count(self, name: str, amount: float = 1.0, **tags: str) -> None:
        """Add to a counter; nothing and less is not added."""
        metric, every = self._checked("counter", name, tags)
        if amount > 0:
            self._sink.record(metric, float(amount), every)

    def set(self, name: str, value: float, **tags: str) -> None:
        """Set a gauge; its series is there until `close`, where it is set every 20 s."""
        metric, every = self._checked("gauge", name, tags)
        self._gauges[name, tuple(every.items())] = metric
        self._sink.record(metric, float(value), every)

    def observe(self, name: str, value: float, **tags: str) -> None:
        """Put a value into a histogram."""
        metric, every = self._checked("histogram", name, tags)
        self._sink.record(metric, float(value), every)

    def close(self) -> None:
        """Take back the series of all gauges that were set: NaN is not exported."""
        for (_, tags), metric in self._gauges.items():
            self._sink.record(metric, math.nan, dict(tags))
        self._gauges.clear()

    def _checked(
        self, kind: Kind, name: str, tags: Mapping[str, str]
    ) -> tuple[Metric, dict[str, str]]:
        metric = BY_NAME.get(name)
        if metric is None or metric.kind != kind:
            raise ValueError(f"there is no {kind} {name!r} in jobs/metrics.py")
        fixed = {key: value for key, value in self._fixed.items() if key in metric.tags}
        every = {**fixed, **tags}
        if every.keys() != set(metric.tags):
            raise ValueError(f"{name} has tags {metric.tags}, not {tuple(every)}")
        return metric, {key: every[key] for key in metric.tags}

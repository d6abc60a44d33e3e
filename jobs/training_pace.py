"""How fast a training run is, for whoever watches it."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

WINDOW_S = 60.0


@dataclass(slots=True)
class Pace:
    """Steps over about the last minute, everything between them included.

    Attributes:
        steps: Of the whole run.
        images: Of one step, on all workers.
    """

    steps: int
    images: int
    clock: Callable[[], float] = time.monotonic
    _seen: deque[tuple[int, float]] = field(default_factory=deque)
    _recent: list[tuple[float, float]] = field(default_factory=list)
    _means: tuple[float, float] = (0.0, 0.0)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """One step more is done."""
        now = self.clock()
        self._seen.append((step, now))
        while len(self._seen) > 2 and now - self._seen[0][1] > WINDOW_S:
            self._seen.popleft()
        self._recent.append((metrics["loss"], metrics.get("data_wait_share", 0.0)))

    def progress(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        """Where the run is; loss and data wait are means over the steps since this was last asked.

        At least one step must be done.
        """
        (first, began), (step, now) = self._seen[0], self._seen[-1]
        rate = (step - first) / (now - began) if now > began else None
        if self._recent:
            losses, waits = zip(*self._recent, strict=True)
            self._means, self._recent = (fmean(losses), fmean(waits)), []
        return {
            "step": step,
            "steps": self.steps,
            "loss": self._means[0],
            "learning_rate": metrics.get("learning_rate_encoder"),
            "data_wait_share": self._means[1],
            "images_per_s": None if rate is None else rate * self.images,
            "seconds_left": None if rate is None else (self.steps - step) / rate,
        }


def in_words(progress: Mapping[str, Any]) -> str:
    """The same for the end of a progress bar, which has rate and time left in steps itself."""
    parts = [f"loss {progress['loss']:.4f}"] if "loss" in progress else []
    if progress.get("validation") is not None:
        parts.append(f"validation {progress['validation']:.4f}")
    if progress.get("learning_rate") is not None:
        parts.append(f"lr {progress['learning_rate']:.2g}")
    if progress.get("images_per_s") is not None:
        parts.append(f"{progress['images_per_s']:,.1f} images/s")
    if progress.get("data_wait_share", 0.0) >= 0.01:
        parts.append(f"{progress['data_wait_share']:.0%} waiting for data")
    return ", ".join(parts)

"""What a training run leaves in the store: configuration, metrics, progress, checkpoints, result.

Every file is one object, put whole: an interrupted upload never looks finished. Metrics are one
JSON-lines object that is rewritten at each checkpoint, because objects cannot be appended to.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from pipeline.storage import Store, run_prefix

KEPT_CHECKPOINTS = 2


@dataclass(slots=True)
class RunFiles:
    """The files of one run."""

    store: Store
    run_id: str
    _metrics: list[dict[str, Any]] = field(default_factory=list)

    def key(self, name: str) -> str:
        """Path of one of the run's files inside the store."""
        return f"{run_prefix(self.run_id)}/{name}"

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Put a JSON object."""
        self.store.put(self.key(name), json.dumps(content, indent=2, sort_keys=True).encode())

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Read a JSON object back; None where there is none."""
        try:
            content: dict[str, Any] = json.loads(self.store.get(self.key(name)))
        except FileNotFoundError:
            return None
        return content

    def forget(self, name: str) -> None:
        """Delete one of the run's files, if it is there."""
        if self.store.exists(self.key(name)):
            self.store.delete(self.key(name))

    def add_metrics(self, row: dict[str, Any]) -> None:
        """Remember one line of metrics until the next `flush_metrics`."""
        self._metrics.append(row)

    def flush_metrics(self) -> None:
        """Put all lines so far."""
        lines = "".join(json.dumps(row) + "\n" for row in self._metrics)
        self.store.put(self.key("metrics.jsonl"), lines.encode())

    def keep_metrics_until(self, step: int) -> None:
        """Read the lines of an earlier attempt and forget those after ``step``."""
        self._metrics = [row for row in self.metrics() if row["step"] <= step]

    def metrics(self) -> list[dict[str, Any]]:
        """All lines that were put."""
        try:
            text = self.store.get(self.key("metrics.jsonl")).decode()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines()]

    def write_checkpoint(self, step: int, state: dict[str, Any]) -> str:
        """Put a checkpoint and delete all but the newest two; returns its key."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        key = self.key(f"checkpoints/{step:09d}.pt")
        self.store.put(key, buffer.getvalue())
        for old in list(self._checkpoints())[:-KEPT_CHECKPOINTS]:
            self.store.delete(old)
        return key

    def newest_checkpoint(self) -> dict[str, Any] | None:
        """Tensors and plain values only: nothing in it is unpickled as code."""
        keys = list(self._checkpoints())
        if not keys:
            return None
        buffer = io.BytesIO(self.store.get(keys[-1]))
        state: dict[str, Any] = torch.load(buffer, map_location="cpu", weights_only=True)
        return state

    def _checkpoints(self) -> Iterator[str]:
        """Keys from the oldest to the newest: their names sort by step."""
        return (key for key in self.store.list(self.key("checkpoints")) if key.endswith(".pt"))

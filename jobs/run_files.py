"""What a training run leaves in the store: configuration, metrics, progress, checkpoints, result.

Every file is one object, put whole: an interrupted upload never looks finished. Metrics are
JSON lines in parts, one per checkpoint, because objects cannot be appended to; a part is put before
its checkpoint, and parts after the checkpoint from which a run goes on are written again.

Two files say who may write. ``owner.json`` names the attempt of the driver that took the run last,
``writer.json`` the worker that began last. A writer looks at both before each checkpoint and stops
where they are not its own any more. What remains is the time from that look to the end of the
upload: a checkpoint that lands in it is a whole one of the same run.
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.run_checkpoints import CheckpointEntry, Checkpoints
from pipeline.errors import LeaseLostError
from pipeline.storage import Store, run_prefix

WARNINGS = "warnings.json"
HISTORY = "history.json"
REMEMBERED = 200  # of what happened to a run, the newest


@dataclass(slots=True)
class RunFiles:
    """The files of one run.

    Attributes:
        attempt: For writers: of the driver that started them, as in ``owner.json``; without it
            nothing is fenced.
        keep_checkpoints: Newest checkpoints kept, beside the best.
    """

    store: Store
    run_id: str
    attempt: str = ""
    keep_checkpoints: int = 2
    _writer: str = field(default_factory=lambda: secrets.token_hex(4))

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

    def warn(self, text: str) -> None:
        """Leave a warning for whoever watches this attempt: a worker's log is seen by nobody."""
        self.write_json(WARNINGS, {"attempt": self.attempt, "texts": [*self.warnings(), text]})
        self.remember("warned", text=text)

    def warnings(self) -> list[str]:
        """What workers of this attempt warned of, in order."""
        content = self.read_json(WARNINGS) or {}
        texts: list[str] = content["texts"] if content.get("attempt") == self.attempt else []
        return texts

    def remember(self, what: str, **facts: Any) -> None:
        """Add what happened, for a report: workers that began, warnings, how it ended.

        Driver and worker both write it, seldom; where they do at once, one of the two is lost.
        """
        event = {"what": what, "time": time.time(), **facts}
        self.write_json(HISTORY, {"events": [*self.history(), event][-REMEMBERED:]})

    def history(self) -> list[dict[str, Any]]:
        """What happened, oldest first; runs of earlier versions have none."""
        events: list[dict[str, Any]] = (self.read_json(HISTORY) or {}).get("events", [])
        return events

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put some lines of metrics as a part of its own, named after the step of the last."""
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        self.store.put(self.key(f"metrics/{rows[-1]['step']:09d}.jsonl"), lines.encode())

    def forget_metrics_after(self, step: int) -> None:
        """Delete the parts that end after a step: whoever goes on from there writes them again."""
        for key in list(self._metric_parts()):
            if int(Path(key).stem) > step:
                self.store.delete(key)

    def metrics(self) -> list[dict[str, Any]]:
        """All lines that were put, in the order of their steps."""
        return [row for key in self._metric_parts() for row in self._lines(key)]

    def last_metrics(self) -> dict[str, Any]:
        """The last line that was put; empty where there is none."""
        keys = list(self._metric_parts())
        return self._lines(keys[-1])[-1] if keys else {}

    def _metric_parts(self) -> Iterator[str]:
        """Keys of the parts; their names sort by step."""
        return (key for key in self.store.list(self.key("metrics")) if key.endswith(".jsonl"))

    def _lines(self, key: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.store.get(key).decode().splitlines()]

    def claim(self) -> None:
        """Become the writer of the run; whoever was it before writes no more checkpoints.

        Raises:
            LeaseLostError: Another driver has taken the run.
        """
        self.check_owner()
        where = {"host": socket.gethostname(), "pid": os.getpid()}
        from_step = {"step": self.newest_step()}
        mine = {"attempt": self.attempt, "writer": self._writer}
        self.write_json("writer.json", mine | from_step | where)
        self.remember("began", **from_step, **where)

    def check_owner(self) -> None:
        """Look whether the run still belongs to the driver of this attempt.

        Raises:
            LeaseLostError: Another has taken it.
        """
        if not self.is_owned():
            owner = (self.read_json("owner.json") or {}).get("owner")
            raise LeaseLostError(f"run {self.run_id}: {owner} has taken it over")

    def is_owned(self) -> bool:
        """Whether the run still belongs to the driver of this attempt."""
        owner = self.read_json("owner.json") if self.attempt else None
        return owner is None or owner.get("attempt") == self.attempt

    def check_mine(self) -> None:
        """Look whether this is still who may write.

        Raises:
            LeaseLostError: Another driver has taken the run, or another worker has begun.
        """
        self.check_owner()
        writer = self.read_json("writer.json") if self.attempt else None
        if writer is not None and writer["writer"] != self._writer:
            raise LeaseLostError(f"run {self.run_id}: another worker has begun to write it")

    def write_checkpoint(
        self, step: int, state: dict[str, Any], *, score: float | None = None
    ) -> CheckpointEntry:
        """Put a checkpoint and delete all but the newest ones and the best (the lowest score).

        Raises:
            LeaseLostError: See `check_mine`; nothing is put.
            StoreFullError: There is no room; the checkpoints before are as they were.
        """
        self.check_mine()
        entry = self.checkpoints.write(step, state, score=score)
        self.checkpoints.keep(self.keep_checkpoints, step=step)
        return entry

    def newest_checkpoint(
        self, note: Callable[[str], None] = lambda _: None
    ) -> dict[str, Any] | None:
        """The state of the newest checkpoint that is whole; broken ones are noted, passed over."""
        return self.checkpoints.newest(note)

    def newest_step(self) -> int:
        """Steps done at the newest checkpoint, 0 without any; it may yet prove broken."""
        entries = self.checkpoints.entries()
        return entries[-1].step if entries else 0

    @property
    def checkpoints(self) -> Checkpoints:
        """All that there are."""
        return Checkpoints(self.store, self.key("checkpoints"))

"""Whether `factory plan` foretells what `factory label` then takes, on this machine.

    .venv/bin/python benchmarks/plan.py [--images FOLDER] [--count 96] [--size 168] [--repeats 3]

Plan and label take turns (plan, label, plan, label, …), each a process of its own as a person would
start it, each label run into a label set of its own; medians of both are compared. The teacher has
random weights, for speed does not depend on what they say. Without ``--images`` scenes are
rendered. Exit status 1 where the forecast of wall time, rate or bytes is off by more than 20 %.
No turn is begun that would probably end beyond three minutes.

*Wall time* is from the first shard handed out to the last one committed: what Ray and the imports
take before that is a guess in the forecast, and shown apart. *Threads* are those at work on average
to read, decode, encode and write beside the network.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.depth_model import save_depth_model
from model.student import build_network

LIMIT = 0.2
BUDGET_S = 175.0
SHARDS = 4
MUST_HOLD = ("wall time, s", "images per s", "bytes per label")
HOST_STAGES = ("read", "decode", "encode", "write")


@dataclass(slots=True)
class Row:
    """One figure: as it was forecast, and as it then was, a number per repetition."""

    forecast: list[float] = field(default_factory=list)
    real: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.forecast) / statistics.median(self.real)


def main() -> None:
    arguments, began_s = parse(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="factory-plan-benchmark-") as folder:
        place = Path(folder)
        teacher = place / "teacher"
        network = build_network(f"scratch:{arguments.scale}", size=arguments.size)
        save_depth_model(network, teacher, side=arguments.size)
        factory(place, "ingest", *images_of(arguments))
        rows: dict[str, Row] = {}
        longest_s = 0.0
        for turn in range(arguments.repeats):
            turn_began_s = time.monotonic()
            if turn and turn_began_s - began_s + longest_s > BUDGET_S:
                break
            measure(place, turn, rows)
            longest_s = max(longest_s, time.monotonic() - turn_began_s)
    print_rows(arguments, rows, took_s=time.monotonic() - began_s)
    off = [name for name in MUST_HOLD if abs(rows[name].ratio - 1) > LIMIT]
    if off:
        sys.exit(f"off by more than {LIMIT:.0%}: {', '.join(off)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", help="folder of photographs")
    parser.add_argument("--count", default=96, type=int, help="scenes to render without --images")
    parser.add_argument("--scale", default="s", choices=("tiny", "s", "b"))
    parser.add_argument("--size", default=168, type=int)
    parser.add_argument("--repeats", default=3, type=int)
    return parser.parse_args()


def images_of(arguments: argparse.Namespace) -> list[str]:
    uri = arguments.images or f"synthetic://mixed?n={arguments.count}&seed=0"
    per_shard = str(-(-arguments.count // SHARDS))
    return [uri, "--source", "pictures", "--role", "unlabelled", "--shard-images", per_shard]


def measure(place: Path, turn: int, rows: dict[str, Row]) -> None:
    """One forecast, and the run that it is of."""
    label_set = f"set-{turn}"
    what = ["pictures", "--teacher", str(place / "teacher"), "--label-set", label_set]
    foretold, _ = factory(place, "plan", *what, "--gpus", "1")
    done, took_s = factory(place, "label", *what)
    wall_s = done["labelled"] / done["images_per_s"]
    weight = sum(file.stat().st_size for file in (place / "store/labels" / label_set).rglob("*.p*"))
    [one] = foretold["on_devices"]
    stages, rates = done["stages"], {r["stage"]: r for r in foretold["stage_rates"]}
    host_ms = sum(rates[stage]["ms_per_image"] for stage in HOST_STAGES)
    figures = {
        "wall time, s": (3600 * one["hours"] - foretold["start_s"], wall_s),
        "images per s": (foretold["images_per_s"], done["images_per_s"]),
        "bytes per label": (foretold["bytes"] / foretold["images"], weight / done["labelled"]),
        "threads at work": (
            host_ms * foretold["images_per_s"] / 1000,
            sum(stages[stage] for stage in HOST_STAGES) / wall_s,
        ),
        "network, ms per image": (
            rates["network"]["ms_per_image"],
            1000 * stages["forward"] / done["labelled"],
        ),
        "decode, ms per image": (
            rates["decode"]["ms_per_image"],
            1000 * stages["decode"] / done["labelled"],
        ),
        "encode, ms per image": (
            rates["encode"]["ms_per_image"],
            1000 * stages["encode"] / done["labelled"],
        ),
        "start and end, s": (foretold["start_s"], took_s - wall_s),
    }
    for name, (forecast, real) in figures.items():
        row = rows.setdefault(name, Row())
        row.forecast.append(forecast)
        row.real.append(real)


def factory(place: Path, verb: str, *words: str) -> tuple[dict[str, Any], float]:
    """The summary of a command, and the seconds it took from its first to its last."""
    command = [sys.executable, "-m", "jobs.cli", verb, *words, "--store", str(place / "store")]
    started = time.monotonic()
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary, time.monotonic() - started


def print_rows(arguments: argparse.Namespace, rows: dict[str, Row], *, took_s: float) -> None:
    turns = len(rows[MUST_HOLD[0]].real)
    print(
        f"\n{os.cpu_count()} cores, ViT-{arguments.scale.upper()} at {arguments.size}; medians of "
        f"{turns} (all of them), {took_s:.0f} s\n\n| | forecast | real | forecast ÷ real |"
    )
    print("|---|--:|--:|--:|")
    for name, row in rows.items():
        cells = [
            f"{statistics.median(each):.4g} ({', '.join(f'{value:.3g}' for value in each)})"
            for each in (row.forecast, row.real)
        ]
        print(f"| {name} | {cells[0]} | {cells[1]} | {row.ratio:.2f} |")


if __name__ == "__main__":
    main()

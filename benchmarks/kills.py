"""What is lost, labelled twice or labelled otherwise when processes die at random for hours.

    .venv/bin/python benchmarks/kills.py [--minutes 10] [--seed N] [--nodes]

Labels one set after another with `factory label`, kills actors and drivers (with ``--nodes`` also
whole machines of a simulated cluster) after random times, and starts the same command again where
it ended. When a set is finished, it must be the undisturbed one, byte for byte. Kills at every
single step of the protocol are in `tests/integration/test_label_kills.py`; this is for what nobody
thought of.

A shard that was under way in three deaths is given up by name, as it should be, and brought back
with ``--retry failed``; *given up* counts them. The same seed chooses the same victims and pauses,
though not the same moments in the victims' lives.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.config import IngestConfig, LabelConfig
from jobs.ingest import ingest
from jobs.workspace import open_workspace
from model.depth_model import save_depth_model
from model.student import build_network
from pipeline.labels import read_label_rows
from pipeline.shards import read_image_rows

FACTORY = Path(sys.executable).parent / "factory"
SOURCE, UNDISTURBED = "pictures", "undisturbed"
LONGEST_RUN_S, LONGEST_START_S = 600.0, 120.0
WHILE_LABELLING = 0.8  # of the deaths; the others at any time, also while all is starting
ACTOR = b"ray::LabelEngine"
Labels = dict[str, list[tuple[Any, ...]]]


@dataclass
class Tally:
    """What happened, and what it did."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    sets: int = 0
    images: int = 0
    orphans: int = 0
    given_up: int = 0
    lost: int = 0
    twice: int = 0
    differing: int = 0

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.twice or self.differing)


class Machines:
    """Where drivers run their actors: a Ray of their own, or a cluster whose machines may die."""

    def __init__(self, *, simulated: bool) -> None:
        self._cluster: Any = None
        self._nodes: list[Any] = []
        if simulated:
            from ray.cluster_utils import Cluster

            self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
            self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(2)]

    @property
    def arguments(self) -> list[str]:
        return ["--ray", self._cluster.address] if self._cluster else []

    def kill_one(self, rng: random.Random) -> None:
        """A machine dies, and another one joins."""
        node = self._nodes.pop(rng.randrange(len(self._nodes)))
        os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        self._nodes.append(self._cluster.add_node(num_cpus=1))

    def stop(self) -> None:
        if self._cluster:
            self._cluster.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--images", type=int, default=3000, help="in a set")
    parser.add_argument("--shard-images", type=int, default=8)
    parser.add_argument("--mean-s", type=float, default=4.0, help="between kills")
    parser.add_argument("--nodes", action="store_true", help="kill machines, too")
    options = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="factory-kills-") as folder:
        tally = kill_for_a_while(Path(folder), options)
    print_table(tally, options)
    sys.exit(0 if tally.is_good else 1)


def kill_for_a_while(folder: Path, options: argparse.Namespace) -> Tally:
    rng = random.Random(options.seed)
    tally = Tally()
    command = prepare(folder, options)
    machines = Machines(simulated=options.nodes)
    kinds = ["actor", "driver", "node"] if options.nodes else ["actor", "driver"]
    try:
        finish([*command, UNDISTURBED, *machines.arguments])
        undisturbed = read_labels(folder, UNDISTURBED)
        end = time.monotonic() + 60 * options.minutes
        while time.monotonic() < end:  # then the last set is left in peace to finish
            name = f"killed-{tally.sets}"
            arguments = [*command, name, "--retry", "failed", *machines.arguments]
            while not run_once(
                arguments, rng, kinds, machines, tally, mean_s=options.mean_s, until=end
            ):
                pass
            verify(folder, name, undisturbed, tally)
            print(f"{name}: {dict(tally.kills)}", flush=True)
    finally:
        machines.stop()
    return tally


def prepare(folder: Path, options: argparse.Namespace) -> list[str]:
    """A store with images, a tiny teacher, and the command that labels, up to the set's name."""
    store, teacher = str(folder / "store"), folder / "teacher"
    uri = f"synthetic://clutter?n={options.images}&seed={options.seed}&width=64&height=48"
    ingest(IngestConfig(uri=uri, source=SOURCE, store=store, shard_images=options.shard_images))
    save_depth_model(build_network("scratch:tiny", size=42, seed=0), teacher, side=42)
    command = [str(FACTORY), "label", SOURCE, "--teacher", str(teacher), "--store", store]
    return [*command, "--batch-size", "2", "--actors", "1", "--cpus-per-actor", "1", "--label-set"]


def finish(command: list[str]) -> None:
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def run_once(
    command: list[str],
    rng: random.Random,
    kinds: list[str],
    machines: Machines,
    tally: Tally,
    *,
    mean_s: float,
    until: float,
) -> bool:
    """Run the command, and kill meanwhile until that moment; whether it ended well."""
    with driver_of(command) as driver:
        tally.runs += 1
        end = time.monotonic() + LONGEST_RUN_S
        while True:
            kind, pause_s = rng.choice(kinds), rng.expovariate(1 / mean_s)
            if rng.random() < WHILE_LABELLING:
                wait_for_an_actor(driver)
            try:
                status = driver.wait(timeout=pause_s)
            except subprocess.TimeoutExpired:
                if time.monotonic() > end:
                    raise SystemExit(f"a run hangs: {command}") from None
                if time.monotonic() < until and strike(kind, driver, rng, machines):
                    tally.kills[kind] += 1
                continue
            if status == 1:
                tally.given_up += 1
            elif status not in (0, -signal.SIGKILL):
                raise SystemExit(f"exit status {status} of {command}")
            return status == 0


def wait_for_an_actor(driver: subprocess.Popen[bytes]) -> None:
    """Starting takes longer than labelling here; most deaths are to fall into the labelling."""
    end = time.monotonic() + LONGEST_START_S
    while driver.poll() is None and not any(actors_below(os.getpid())):
        if time.monotonic() > end:
            return
        time.sleep(0.2)


@contextmanager
def driver_of(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield driver
    finally:
        driver.kill()
        driver.wait()


def strike(
    kind: str, driver: subprocess.Popen[bytes], rng: random.Random, machines: Machines
) -> bool:
    """Kill one process of a kind; False where there is none at the moment."""
    if kind == "driver":
        driver.kill()
    elif kind == "node":
        machines.kill_one(rng)
    else:
        actors = sorted(actors_below(os.getpid()))
        if not actors:
            return False
        try:
            os.kill(rng.choice(actors), signal.SIGKILL)
        except ProcessLookupError:
            return False
    return True


def actors_below(pid: int) -> Iterator[int]:
    """Processes that label, among the descendants of one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
        except (OSError, ValueError):  # no process, or no more
            continue
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        waiting += below
        yield from (each for each in below if command_line(each).startswith(ACTOR))


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def read_labels(folder: Path, label_set: str) -> Labels:
    """All committed labels by sample id, however often they are there."""
    found: Labels = {}
    config = LabelConfig(sources=(), teacher="", store=str(folder / "store"))
    with open_workspace(config) as workspace:
        for row in workspace.catalog.label_shards(label_set):
            images = read_image_rows(workspace.store, row.shard.key, image=False)
            labels = read_label_rows(workspace.store, row.key)
            for image, label in zip(images, labels, strict=True):
                value = (label.status, label.reason, label.disparity, label.minimum, label.maximum)
                in_order = image.sample_id == label.sample_id
                found.setdefault(image.sample_id, []).append(value if in_order else ())
    return found


def verify(folder: Path, label_set: str, undisturbed: Labels, tally: Tally) -> None:
    labels = read_labels(folder, label_set)
    tally.sets += 1
    tally.images += len(labels)
    tally.lost += len(undisturbed.keys() - labels.keys())
    tally.twice += sum(len(values) > 1 for values in labels.values())
    tally.differing += sum(labels[key] != undisturbed.get(key) for key in labels)
    config = LabelConfig(sources=(), teacher="", store=str(folder / "store"))
    with open_workspace(config) as workspace:
        committed = {row.key for row in workspace.catalog.label_shards(label_set)}
        there = {key for key in workspace.store.list(f"labels/{label_set}") if ".parquet" in key}
    tally.lost += len(committed - there)
    tally.orphans += len(there - committed)


def print_table(tally: Tally, options: argparse.Namespace) -> None:
    rows = {
        **{f"{kind}s killed": number for kind, number in sorted(tally.kills.items())},
        "runs of the command": tally.runs,
        "runs that gave a shard up": tally.given_up,
        "label sets finished": tally.sets,
        "images labelled": tally.images,
        "orphans left": tally.orphans,
        "lost": tally.lost,
        "labelled twice": tally.twice,
        "not the undisturbed bytes": tally.differing,
    }
    print(f"\n{options.minutes:g} minutes, seed {options.seed}, {os.cpu_count()} CPUs\n")
    print("| what | how many |\n|---|---|")
    for what, number in rows.items():
        print(f"| {what} | {number} |")


if __name__ == "__main__":
    main()

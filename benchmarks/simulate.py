"""62.3 million images on 1 to 64 GPUs, simulated: what it takes, and what the control plane bears.

    .venv/bin/python benchmarks/simulate.py [--rates 50 200 800] [--gpus 1 8 64] [--seeds 3]

No GPU is behind this. Images per second of one GPU are an assumption to be replaced by what
`factory plan` measures: 200 stands for ViT-L at 518 pixels in bf16 on a data centre GPU, 50 for an
older one, 800 for a small teacher. The protocol is the one that is built (`jobs.simulation`); what
goes wrong is assumed as `factory plan --simulate` assumes it (`jobs.plan_simulation` says what it
is). With several seeds, a cell is the range over them.
"""

import argparse
import time
from collections.abc import Callable, Sequence

from jobs.plan_simulation import SCENARIOS, SHARD_SPREAD, START_SPREAD, troubled
from jobs.simulation import SimulatedCluster, SimulatedRun, simulate

IMAGES = 62_300_000
IMAGES_PER_SHARD = 1000

Column = tuple[str, Callable[[SimulatedRun], float], str]
WORK: tuple[Column, ...] = (
    ("wall, h", lambda run: run.wall_hours, ".1f"),
    ("GPU hours", lambda run: run.gpu_hours, ",.0f"),
    ("useful, %", lambda run: 100 * run.gpu_hours_useful / run.gpu_hours, ".1f"),
    ("for nothing, %", lambda run: 100 * run.wasted_share, ".2f"),
    ("no actor, %", lambda run: 100 * run.gpu_hours_without_actor / run.gpu_hours, ".1f"),
    ("tail, min", lambda run: 60 * run.tail_hours, ".1f"),
    ("leased again", lambda run: leased_again(run), ",.0f"),
    ("failed", lambda run: run.shards_failed, "d"),
    ("drivers", lambda run: 1 + sum(run.stopped.values()), "d"),
)
CONTROL: tuple[Column, ...] = (
    ("transactions/s", lambda run: run.catalog.per_s, ".2f"),
    ("p99", lambda run: run.catalog.p99_per_s, ".0f"),
    ("peak, 10 s", lambda run: run.catalog.peak_10s_per_s, ".1f"),
    ("peak, 1 s", lambda run: run.catalog.peak_per_s, ".0f"),
    ("commits/s", lambda run: run.catalog.commits_per_s, ".2f"),
    ("rows per renewal", lambda run: run.catalog.renewed_rows, ".0f"),
    ("driver busy, %", lambda run: 100 * run.driver_busy_share, ".1f"),
    ("read, MB/s", lambda run: run.read_mb_per_s, ",.0f"),
    ("written, MB/s", lambda run: run.written_mb_per_s, ",.0f"),
    ("orphans", lambda run: run.orphans, "d"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default=IMAGES, type=int)
    parser.add_argument("--rates", nargs="+", default=[50.0, 200.0, 800.0], type=float)
    parser.add_argument("--gpus", nargs="+", default=[1, 2, 4, 8, 16, 32, 64], type=int)
    parser.add_argument("--gpus-per-node", default=8, type=int)
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=SCENARIOS)
    parser.add_argument("--start-s", default=60.0, type=float, help="until an actor is ready")
    parser.add_argument("--image-kb", default=300.0, type=float, help="read per image")
    parser.add_argument("--label-kb", default=420.0, type=float, help="written per image")
    parser.add_argument("--seeds", default=1, type=int, help="runs of each kind")
    arguments = parser.parse_args()
    began_s = time.process_time()
    for scenario in arguments.scenarios:
        for rate in arguments.rates:
            print_tables(scenario, rate, arguments)
    print(f"\n{time.process_time() - began_s:.0f} s of one core")


def print_tables(scenario: str, rate: float, arguments: argparse.Namespace) -> None:
    rows = {
        gpus: [
            simulate(cluster(scenario, rate, gpus, seed, arguments))
            for seed in range(arguments.seeds)
        ]
        for gpus in arguments.gpus
    }
    print(f"\n### {scenario}, {rate:g} images/s on each GPU")
    for columns in (WORK, CONTROL):
        print("\n| GPUs | " + " | ".join(name for name, _, _ in columns) + " |")
        print("|--:" * (len(columns) + 1) + "|")
        for gpus, runs in rows.items():
            cells = (in_words([value(run) for run in runs], form) for _, value, form in columns)
            print(f"| {gpus} | " + " | ".join(cells) + " |")


def cluster(
    scenario: str, rate: float, gpus: int, seed: int, arguments: argparse.Namespace
) -> SimulatedCluster:
    """What a scenario stands for."""
    calm = SimulatedCluster(
        shards=-(-arguments.images // IMAGES_PER_SHARD),
        gpus=gpus,
        images_per_s=rate,
        images_per_shard=IMAGES_PER_SHARD,
        shard_spread=SHARD_SPREAD,
        image_bytes=1000 * arguments.image_kb,
        label_bytes=1000 * arguments.label_kb,
        gpus_per_node=arguments.gpus_per_node,
        actor_start_s=arguments.start_s,
        actor_start_spread=START_SPREAD,
        first_batch_s=0.5,
        last_batch_s=0.5,
        seed=seed,
    )
    return troubled(calm, scenario)


def leased_again(run: SimulatedRun) -> int:
    """Leases beyond one for each shard."""
    return sum((leases - 1) * shards for leases, shards in run.attempts.items())


def in_words(values: Sequence[float], form: str) -> str:
    """A value, or the range of several."""
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low}–{high}"


if __name__ == "__main__":
    main()

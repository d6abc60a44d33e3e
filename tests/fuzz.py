"""Reads damaged and hostile files for as long as it is told, and counts what comes of them.

    .venv/bin/python -m tests.fuzz --seconds 300 [--seed 1] [--samples ../shared/data/tricky]

Nothing but verdicts may come out: no exception, no more memory than the limit, no more than a
minute for a file, the same answer twice. Each kind of file is read in a process of its own with
limits; where one dies the file that did it is kept, and named. Files that native code opens
(Parquet, Arrow) may kill the process that reads them: the factory reads those in workers of their
own, and here their deaths are counted.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline import truth_files
from pipeline.data_sets import DataSet, read_data_set
from pipeline.examiner import Examiner
from pipeline.filters import ImageLimits, Refusal
from pipeline.records import Drop, Ignored, Member
from pipeline.sandbox import SandboxLimits
from tests import fuzz_corpus

MEMORY_BYTES = 1 << 30  # beside the address space of what is imported
FILE_S = 60
LIMITS = ImageLimits(min_side=1, max_pixels=4_000_000)
MAX_MEMBER_BYTES = 16 << 20

Case = tuple[str, bytes]
Verdicts = list[str]


def image_cases(chance: random.Random, samples: Path | None) -> Iterator[Case]:
    """Endless damaged images, as files with all kinds of endings."""
    sound = fuzz_corpus.images() + [path.read_bytes() for path in files_in(samples)]
    sound = [data[: 1 << 20] for data in sound]
    while True:
        data = fuzz_corpus.damaged(chance.choice(sound), chance, sound)
        yield f"x{chance.choice(['.jpg', '.png', '.webp', '.tif', ''])}", data


def archive_cases(chance: random.Random, samples: Path | None) -> Iterator[Case]:
    """What was designed, then endless damaged archives."""
    yield from fuzz_corpus.designed_archives()
    yield from _damaged(fuzz_corpus.archives(), chance)


def table_cases(chance: random.Random, samples: Path | None) -> Iterator[Case]:
    """Endless damaged files for native readers."""
    yield from _damaged(fuzz_corpus.tables(), chance)


def truth_cases(chance: random.Random, samples: Path | None) -> Iterator[Case]:
    """What was designed, then endless damaged ground truth."""
    yield from fuzz_corpus.designed_truths()
    yield from _damaged(fuzz_corpus.truths(), chance)


def _damaged(sound: dict[str, bytes], chance: random.Random) -> Iterator[Case]:
    while True:
        name = chance.choice(list(sound))
        yield name, fuzz_corpus.damaged(sound[name], chance, list(sound.values()))


def judge_image(name: str, data: bytes, examine: Examiner) -> Verdicts:
    """Its header's verdict, and that of decoding it."""
    verdict = examine(data)
    return [verdict.reason if isinstance(verdict, Refusal) else "kept"]


def judge_archive(name: str, data: bytes, folder: Path) -> Verdicts:
    """What is in a folder with this one file."""
    (folder / name).write_bytes(data)
    try:
        data_set = DataSet(uri=str(folder), max_bytes=MAX_MEMBER_BYTES)
        return [_checked(found) for found in read_data_set(data_set)]
    finally:
        (folder / name).unlink()


def _checked(found: Member | Drop | Ignored) -> str:
    parts = found.path.split("/")
    assert not {"", ".", ".."} & set(parts), found.path
    found.path.encode()  # text that a database takes
    if isinstance(found, Member):
        assert len(found.data) <= MAX_MEMBER_BYTES
        return f"{found.path} {hash(found.data)}"
    return f"{found.path} {found.what if isinstance(found, Ignored) else found.reason}"


def judge_truth(name: str, data: bytes) -> Verdicts:
    """A map or a reason."""
    try:
        values = getattr(truth_files, name)(data)
    except truth_files.TruthFileError as error:
        return [error.reason]
    assert values.ndim == 2
    return ["a map"]


CASES: dict[str, Callable[[random.Random, Path | None], Iterator[Case]]] = {
    "images, header": image_cases,
    "images, decoded": image_cases,
    "archives": archive_cases,
    "tables": table_cases,
    "ground truth": truth_cases,
}


def work(kind: str, *, seed: int, seconds: float, count: int, samples: Path | None) -> None:
    """In a process with limits: read case after case, print what came of them."""
    limit_memory()
    random_names = random.Random(seed)
    results: Counter[str] = Counter()
    slowest_s, done, until = 0.0, 0, time.monotonic() + seconds
    verify = "decode" if kind.endswith("decoded") else "header"
    limits = SandboxLimits(memory_bytes=MEMORY_BYTES, cpu_s=FILE_S / 2, wall_s=FILE_S)
    with (
        tempfile.TemporaryDirectory() as scratch,
        Examiner(LIMITS, verify=verify, sandbox_limits=limits) as examine,
    ):
        judge = {
            "images": lambda name, data: judge_image(name, data, examine),
            "archives": lambda name, data: judge_archive(name, data, Path(scratch)),
            "tables": lambda name, data: judge_archive(name, data, Path(scratch)),
            "ground truth": judge_truth,
        }[kind.partition(",")[0]]
        for name, data in CASES[kind](random_names, samples):
            if done >= count or time.monotonic() > until:
                break
            culprit(name, data)
            signal.alarm(2 * FILE_S)  # ends the process, whatever it is doing
            started_s = time.monotonic()
            verdicts = judge(name, data)
            slowest_s = max(slowest_s, time.monotonic() - started_s)
            assert verdicts == judge(name, data), "another answer the second time"
            results.update(verdict.rpartition(" ")[2] for verdict in verdicts)
            done += 1
    signal.alarm(0)
    peak_mb = _peak_bytes() >> 20
    counted = Counter("kept" if _is_digest(key) else key for key in results.elements())
    facts = {"files": done, "slowest_s": round(slowest_s, 2), "peak_mb": peak_mb}
    print(json.dumps(facts | {"verdicts": dict(counted.most_common())}))


def _peak_bytes() -> int:
    """Of this process alone: what `getrusage` says begins with the memory of who started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


def _is_digest(text: str) -> bool:
    return text.lstrip("-").isdigit()


def limit_memory() -> None:
    """No more address space than there is now and `MEMORY_BYTES`."""
    with open("/proc/self/statm", "rb") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES, now + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def culprit(name: str, data: bytes) -> None:
    """Remember what is being read, for whoever looks into why the process died."""
    folder = os.environ.get("FUZZ_CULPRITS")
    if folder:
        (Path(folder) / "name").write_text(name, encoding="utf-8")
        (Path(folder) / "data").write_bytes(data)


def run(kind: str, *, seed: int, seconds: float, count: int, samples: Path | None) -> dict:
    """Work of one kind in processes; those that die of a table are counted and replaced."""
    until, deaths, totals = time.monotonic() + seconds, 0, {}
    while True:
        left_s = max(1.0, until - time.monotonic())
        folder = tempfile.mkdtemp(prefix="fuzz-")
        command = [sys.executable, "-m", "tests.fuzz", "--work", kind, "--seed", str(seed + deaths)]
        command += ["--seconds", str(left_s), "--count", str(count)]
        command += ["--samples", str(samples)] if samples else []
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).resolve().parents[1],
            env=os.environ | {"FUZZ_CULPRITS": folder},
        )
        if done.returncode == 0:
            totals = json.loads(done.stdout.splitlines()[-1])
            return totals | {"deaths": deaths}
        is_death = done.returncode < 0
        if kind != "tables" or not is_death or time.monotonic() > until:
            name = (Path(folder) / "name").read_text(encoding="utf-8")
            died = f"{kind}: status {done.returncode} at {name}, kept in {folder}"
            raise SystemExit(f"{died}\n{done.stderr[-3000:]}")
        deaths += 1


def files_in(folder: Path | None) -> list[Path]:
    """All files below a folder."""
    return [] if folder is None else sorted(path for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1 << 60, help="files of each kind, at most")
    parser.add_argument("--samples", type=Path, help="folder of images to damage, too")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = {"seed": arguments.seed, "count": arguments.count, "samples": arguments.samples}
    if arguments.work:
        work(arguments.work, seconds=arguments.seconds, **options)
        return
    print("| what | files | slowest s | peak MB | deaths | verdicts |\n|---|---|---|---|---|---|")
    for kind in CASES:
        facts = run(kind, seconds=arguments.seconds / len(CASES), **options)
        verdicts = ", ".join(f"{name} {n:,}" for name, n in facts.pop("verdicts").items())
        row = " | ".join(f"{facts[key]:,}" for key in ("files", "slowest_s", "peak_mb", "deaths"))
        print(f"| {kind} | {row} | {verdicts} |", flush=True)


def sigalrm_ends() -> None:
    """Whatever the parent has done with the signal."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


if __name__ == "__main__":
    sigalrm_ends()
    main()

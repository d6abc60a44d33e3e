"""What the catalog answers, and how fast, when it knows 62 million images.

    .venv/bin/python benchmarks/catalog_scale.py [--quick] [--catalog postgresql+psycopg://…]

A simulated line: eight unlabelled sources as large as those of Depth Anything, labelled sources and
benchmarks, a teacher and three students, each of which labelled everything for the next; drops,
quarantine, withdrawals, ingest pieces, twenty evaluations. Only rows: 62,000 image shards of 1,000
images in sources, and as many label shards in each of three label sets. Then every question of
`factory catalog` is asked through the function that the command runs, opening the catalog anew each
time as the command does, but without starting Python and without printing. The catalog must be
empty; without ``--catalog`` it is SQLite in a temporary folder.

Of each question the table has the median of ``--repeat`` times, and the rows of the longest list in
the answer.
"""

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import Table, insert, text

from jobs.catalog_queries import query_catalog
from jobs.catalog_withdraw import withdraw
from jobs.config import CatalogConfig
from jobs.sample_config import CatalogWithdrawConfig
from pipeline import catalog_tables as tables
from pipeline.catalog import Catalog
from pipeline.catalog_rows import SnapshotMember
from pipeline.catalog_snapshots import snapshot_digest
from pipeline.records import ShardRef

# Millions of images, table 1 of arXiv:2401.10891.
UNLABELLED = {
    "bdd100k": 8.2, "google-landmarks-v2": 4.1, "imagenet-21k": 13.1, "lsun": 9.8,
    "objects365": 1.7, "open-images-v7": 7.8, "places365": 6.5, "sa-1b": 11.1,
}  # fmt: skip
LABELLED = {
    "blendedmvs": 0.115, "diml": 0.927, "hrwsi": 0.020, "irs": 0.103, "megadepth": 0.128,
    "tartanair": 0.306,
}  # fmt: skip
BENCHMARKS = {"kitti": 0.001, "nyu": 0.001, "sintel": 0.001, "ddad": 0.001, "diode": 0.001}
GENERATIONS = ("student-1", "student-2", "student-3")
IMAGES = 1000
GOAL_S = 1.0
AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Answer:
    """How long a question took, and how long the longest list of the answer is."""

    question: str
    seconds: float
    rows: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--catalog", help="an empty database (default: SQLite, temporary)")
    parser.add_argument("--repeat", default=3, type=int, help="times that each question is asked")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the shards")
    arguments = parser.parse_args()
    scale = 0.01 if arguments.quick else 1.0
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.catalog or f"sqlite:///{Path(folder) / 'catalog.sqlite'}"
        started_s = time.perf_counter()
        with Catalog.open(url) as catalog:
            if catalog.sources():
                sys.exit("the catalog is not empty: name a database of its own")
            counts = Line(catalog, scale).fill()
            if not url.startswith("sqlite"):  # as autovacuum does by itself, but now
                with catalog.write() as connection:
                    connection.execute(text("ANALYZE"))
        filled_s = time.perf_counter() - started_s
        answers = [
            ask(question, run, arguments.repeat)
            for question, run in questions(url, str(Path(folder) / "store"))
        ]
    print_table(url.partition(":")[0], counts, filled_s, answers)


class Line:
    """Fills a catalog with the rows of a whole line, straight into its tables."""

    def __init__(self, catalog: Catalog, scale: float) -> None:
        self.catalog = catalog
        self.scale = scale
        self.number = 0
        self.shards: dict[str, list[ShardRef]] = {}
        self.counts: dict[str, int] = {}

    def fill(self) -> dict[str, int]:
        """Returns the number of rows per table."""
        roles = {"unlabelled": UNLABELLED, "labelled": LABELLED, "benchmark": BENCHMARKS}
        for role, sources in roles.items():
            for name, millions in sources.items():
                self.source(name, role, max(2, round(millions * 1000 * self.scale)))
        self.withdraw("imagenet-21k", max(1, round(500 * self.scale)))
        labelled = [
            self.member("labelled", shard) for name in LABELLED for shard in self.shards[name]
        ]
        self.model("teacher", "scratch", labelled)
        teacher = "teacher"
        for student in GENERATIONS:
            label_set = f"{teacher}-labels"
            self.label(label_set, teacher)
            pseudo = [
                self.member("pseudo", shard, label_set)
                for name in UNLABELLED
                for shard in self.shards[name]
            ]
            self.model(student, teacher, [*labelled, *pseudo])
            teacher = student
        self.withdraw("sa-1b", max(1, round(200 * self.scale)))
        return self.counts

    def put(self, table: Table, rows: Iterator[dict[str, Any]] | Sequence[dict[str, Any]]) -> None:
        """Insert rows of one shape, many at once."""
        waiting = list(rows)
        for start in range(0, len(waiting), AT_ONCE):
            with self.catalog.write() as connection:
                connection.execute(insert(table), waiting[start : start + AT_ONCE])
        self.counts[table.name] = self.counts.get(table.name, 0) + len(waiting)

    def source(self, name: str, role: str, count: int) -> None:
        self.catalog.register_source(
            name, role=role, uri=f"/data/{name}", layout="tar", licence="CC-BY-4.0"
        )
        lease = self.catalog.begin_ingest(
            name, owner="benchmark", ttl_s=3600, uri=f"/data/{name}", config={}, code_version="1"
        )
        shards = [image_shard(name, number) for number in range(count)]
        self.shards[name] = shards
        self.put(tables.image_shards, [self.shard_row(s, lease.run_id) for s in shards])
        batch = {"source": name, "run_id": lease.run_id}
        self.put(tables.image_drops, [
            batch | {"batch_id": shard.shard_id, "reason": reason, "images": 2}
            for shard in shards for reason in ("truncated", "too_small")
        ])  # fmt: skip
        self.put(tables.ingest_pieces, [
            batch | {"piece_id": f"p{number:020x}", "options": "o", "items": 50_000,
                     "finished_at": 1.0}
            for number in range(max(1, count // 50))
        ])  # fmt: skip
        self.catalog.finish_ingest(lease, {})

    def shard_row(self, shard: ShardRef, run_id: str) -> dict[str, Any]:
        facts = {name: getattr(shard, name) for name in ShardRef.__slots__}
        return facts | {"run_id": run_id, "committed_at": 1.7e9}

    def withdraw(self, source: str, count: int) -> None:
        """Some shards are replaced, each without one sample."""
        lease = self.catalog.begin_ingest(
            source, owner="benchmark", ttl_s=3600, uri="/data", config={"withdraw": ""},
            code_version="1",
        )  # fmt: skip
        started_s = time.perf_counter()
        for number in range(count):
            old, new = (
                self.shards[source][number],
                image_shard(source, 1_000_000 + number, rows=999),
            )
            self.catalog.withdraw_shard(
                lease, old.shard_id, replacement=new, key=f"{old.shard_id}", samples=1,
                reason="near_duplicate", ttl_s=3600,
            )  # fmt: skip
            self.shards[source][number] = new
        self.catalog.finish_ingest(lease, {})
        self.counts["withdrawals"] = self.counts.get("withdrawals", 0) + count
        seconds = (time.perf_counter() - started_s) / count
        print(f"withdrawing a shard of {source}: {seconds * 1000:.1f} ms", file=sys.stderr)

    def label(self, label_set: str, teacher: str) -> None:
        self.catalog.open_label_set(
            label_set, teacher=teacher, teacher_sha256=digest(teacher), recipe={"side": 518},
            recipe_hash=digest("recipe"), code_version="1",
        )  # fmt: skip
        started_s = time.perf_counter()
        self.catalog.plan_work(label_set, list(UNLABELLED))
        print(f"planning {label_set}: {time.perf_counter() - started_s:.2f} s", file=sys.stderr)
        shards = [shard for name in UNLABELLED for shard in self.shards[name]]
        self.counts["work"] = self.counts.get("work", 0) + len(shards)
        with self.catalog.write() as connection:
            mine = tables.work.c.label_set == label_set
            connection.execute(tables.work.update().where(mine).values(state="done", epoch=1))
        made = {"forward_s": 5.0, "wall_s": 6.0, "owner": "o", "epoch": 1, "committed_at": 1.7e9}
        self.put(tables.label_shards, [
            made | {"label_set": label_set, "shard_id": shard.shard_id, "source": shard.source,
                    "key": label_key(label_set, shard), "sha256": shard.sha256, "bytes": 10**8,
                    "rows": shard.rows, "labelled": shard.rows - 1}
            for shard in shards
        ])  # fmt: skip
        self.put(tables.quarantine, [
            {"label_set": label_set, "shard_id": shard.shard_id, "reason": "decode_failed",
             "source": shard.source, "images": 1}
            for shard in shards
        ])  # fmt: skip

    def member(self, role: str, shard: ShardRef, label_set: str | None = None) -> SnapshotMember:
        return SnapshotMember(
            role, shard.source, label_set, shard.shard_id, shard.rows, shard.key, shard.sha256,
            label_key(label_set, shard) if label_set else None,
            shard.sha256 if label_set else None,
        )  # fmt: skip

    def model(self, name: str, init: str, members: Sequence[SnapshotMember]) -> None:
        """A run on a snapshot of these, its model and how it scored."""
        snapshot = snapshot_digest(members)
        self.put(tables.snapshots, [{"snapshot_id": snapshot, "created_at": 1.7e9}])
        self.put(tables.snapshot_members, [
            {"snapshot_id": snapshot, "position": position}
            | {key: getattr(member, key) for key in SnapshotMember.__slots__}
            for position, member in enumerate(members)
        ])  # fmt: skip
        run = self.catalog.begin_run(
            "student", name=name, config={"encoder": init}, snapshot_id=snapshot, code_version="1"
        )
        self.catalog.finish_run(run, state="done", metrics={"loss": 0.1})
        self.catalog.register_model(
            name, sha256=digest(name), key=f"models/{name}", family="depth-anything",
            geometry="disparity_affine_invariant", kind="student", run_id=run,
        )  # fmt: skip
        for benchmark in BENCHMARKS:
            self.catalog.record_evaluation(
                model=name, model_sha256=digest(name), protocol="relative", version=1,
                source=benchmark, source_digest="d", images=1000, valid_pixels=10**9,
                metrics={"abs_rel": 0.1}, config={}, code_version="1",
            )  # fmt: skip


def questions(url: str, store: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every question by name, and what answers it as the command would."""
    asked = [
        ("sources", None), ("label-sets", None), ("models", None), ("runs", None),
        ("evaluations", None), ("shards", "sa-1b"), ("shards", "student-2-labels"),
        ("lineage", "teacher"), ("lineage", GENERATIONS[-1]), ("lineage", "student-2-labels"),
        ("lineage", "imagenet-21k"), ("lineage", "kitti"),
    ]  # fmt: skip
    for question, ref in asked:
        config = CatalogConfig(store=store, catalog=url, question=question, ref=ref)
        name = f"{question} {ref or ''}".strip()
        yield name, lambda config=config: query_catalog(config)
    source = CatalogWithdrawConfig(
        store=store, catalog=url, source="places365", reason="asked", dry_run=True
    )
    yield "withdraw places365 --dry-run", lambda: withdraw(source)

    def progress() -> Any:
        with Catalog.open(url) as catalog:
            return catalog.progress_by_source("student-2-labels"), catalog.work_ahead(
                "student-2-labels", list(UNLABELLED)
            )

    yield "progress of a label set", progress


def ask(question: str, run: Callable[[], Any], repeat: int) -> Answer:
    seconds, answer = [], None
    for _ in range(repeat):
        started_s = time.perf_counter()
        answer = run()
        seconds.append(time.perf_counter() - started_s)
    return Answer(question, median(seconds), longest(answer))


def longest(answer: Any) -> int:
    """Length of the longest list anywhere in an answer."""
    parts = answer.values() if isinstance(answer, dict) else answer
    if not isinstance(answer, dict | list | tuple):
        return 0
    own = len(answer) if isinstance(answer, list) else 0
    return max([own, *map(longest, parts)])


def image_shard(source: str, number: int, *, rows: int = IMAGES) -> ShardRef:
    shard_id = f"s{digest(f'{source} {number}')[:20]}"
    key = f"sources/{source}/{shard_id}.parquet"
    return ShardRef(source, shard_id, key, rows, 150_000_000, digest(key))


def label_key(label_set: str, shard: ShardRef) -> str:
    return f"labels/{label_set}/{shard.shard_id}/0001-owner.parquet"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def print_table(
    kind: str, counts: dict[str, int], filled_s: float, answers: Sequence[Answer]
) -> None:
    listed = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count > 10)
    print(f"\n{kind}, filled in {filled_s:.0f} s: {listed}\n")
    print(f"| {'question':<34} | seconds | longest list |")
    print(f"|{'-' * 36}|--------:|-------------:|")
    for answer in answers:
        slow = "  above the goal" if answer.seconds > GOAL_S else ""
        print(f"| {answer.question:<34} | {answer.seconds:7.3f} | {answer.rows:12,} |{slow}")


if __name__ == "__main__":
    main()

"""Benchmarks of an evaluation, and whether their protocols can use the truth that there is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.errors import ConfigError
from jobs.workspace import Workspace
from model.comparison import valid_disparity
from model.protocols import Protocol, protocol
from pipeline.errors import ShardCorruptError
from pipeline.records import ShardRef
from pipeline.shards import has_point_pairs, truth_geometries


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One ``PROTOCOL=SOURCE`` of the command line, and what there is of the source.

    Attributes:
        digest: Of the image shards.
    """

    protocol: Protocol
    source: str
    shards: tuple[ShardRef, ...]
    digest: str

    @property
    def name(self) -> str:
        """As it was asked for."""
        return f"{self.protocol.ref}={self.source}"


def parse_benchmarks(texts: Sequence[str]) -> list[tuple[Protocol, str]]:
    """``PROTOCOL=SOURCE`` each, without repetitions.

    Raises:
        ConfigError: With every problem.
    """
    problems, parsed = [], []
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals or not name or not source:
            problems.append(f"--benchmark {text!r}: expected PROTOCOL=SOURCE, as relative@1=kitti")
            continue
        try:
            parsed.append((protocol(name), source))
        except ValueError as error:
            problems.append(f"--benchmark {text!r}: {error}")
    if not texts:
        problems.append("name at least one --benchmark PROTOCOL=SOURCE")
    if problems:
        raise ConfigError(problems)
    return [pair for place, pair in enumerate(parsed) if pair not in parsed[:place]]


def find_benchmarks(texts: Sequence[str], workspace: Workspace) -> list[Benchmark]:
    """Benchmarks with images, and with truth that their protocols can use.

    Raises:
        ConfigError: With the first one that cannot be used.
        CatalogMissingError: No such source.
        WithdrawnError: It was withdrawn.
    """
    return [_find_benchmark(rules, source, workspace) for rules, source in parse_benchmarks(texts)]


def _find_benchmark(rules: Protocol, source: str, workspace: Workspace) -> Benchmark:
    catalog = workspace.catalog
    if catalog.source(source).role == "unlabelled":
        raise ConfigError([f"source {source!r} is unlabelled: a benchmark needs ground truth"])
    catalog.check_not_withdrawn([source])
    shards = tuple(catalog.image_shards(source))
    if not shards:
        raise ConfigError([f"source {source!r} has no images yet: ingest some first"])
    benchmark = Benchmark(rules, source, shards, catalog.source_digest(source))
    _check_truth(benchmark, workspace)
    return benchmark


def _check_truth(benchmark: Benchmark, workspace: Workspace) -> None:
    """Whether the protocol can use the truth; a shard that cannot be read fails by name later."""
    rules = benchmark.protocol
    try:
        if rules.truth == "pairs":
            _check_pairs(benchmark, workspace)
        else:
            _check_maps(benchmark, workspace)
    except (ShardCorruptError, FileNotFoundError):
        return


def _check_pairs(benchmark: Benchmark, workspace: Workspace) -> None:
    if not any(has_point_pairs(workspace.store, shard.key) for shard in benchmark.shards):
        says = f"{benchmark.protocol.ref} needs pairs of points, and the source has none"
        raise ConfigError([f"--benchmark {benchmark.name}: {says}"])


def _check_maps(benchmark: Benchmark, workspace: Workspace) -> None:
    rules, geometries = benchmark.protocol, set[str]()
    for shard in benchmark.shards:
        geometries |= truth_geometries(workspace.store, shard.key)
    if not geometries:
        raise ConfigError(
            [f"--benchmark {benchmark.name}: {rules.ref} needs maps, and the source has none"]
        )
    for geometry in sorted(geometries):
        try:
            valid_disparity(np.ones((2, 2), np.float32), geometry=geometry, protocol=rules)
        except ValueError as error:
            raise ConfigError([f"--benchmark {benchmark.name}: {error}"]) from error

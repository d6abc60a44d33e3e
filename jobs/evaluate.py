"""`factory evaluate`: a model's zero-shot scores on benchmark sources, under named protocols."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.console import Bar, Reporter
from jobs.errors import ConfigError, JobError
from jobs.evaluate_config import EvaluateConfig
from jobs.models import resolve_model
from jobs.version import code_version
from jobs.workspace import Workspace, check_store_exists, open_workspace
from model.depth_model import DepthModel, load_depth_model
from model.evaluation import METRIC_GEOMETRIES, ImageScore, evaluate_image, summarise
from model.protocols import Protocol, protocol
from pipeline.images import ImageDecodeError, decode_rgb
from pipeline.ledger import record_evaluation
from pipeline.records import ImageRecord, ShardRef
from pipeline.shards import load_bytes, read_image_rows


@dataclass(frozen=True, slots=True)
class _Benchmark:
    """One ``PROTOCOL=SOURCE`` of the command line."""

    protocol: Protocol
    source: str


def evaluate(config: EvaluateConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Score a model; see `EvaluateConfig` and design §3 for the summary's keys."""
    reporter = reporter or Reporter.silent()
    benchmarks = _parse(config.benchmark)
    check_store_exists(config)
    if config.out is not None and Path(config.out).is_file():
        raise ConfigError([f"--out {config.out} is a file: name a folder"])
    with open_workspace(config) as workspace:
        shards = {item.source: _benchmark_shards(workspace, item.source) for item in benchmarks}
        resolved = resolve_model(config.models[0], workspace.catalog, workspace.store)
        model = load_depth_model(
            resolved.reference, device="auto", precision=config.precision, side=config.size
        )
        resolved.location.check(model.sha256)
        _check_geometry(model, benchmarks)
        known = workspace.catalog.find_model(model.sha256)
        name = resolved.location.name or (known.name if known else config.models[0])
        results = [
            _score(model, name, item, shards[item.source], workspace, config, reporter)
            for item in benchmarks
        ]
    summary = {"model": name, "model_sha256": model.sha256, "results": results}
    if config.out is not None:
        _write(summary, Path(config.out))
    return summary


def _parse(benchmarks: Sequence[str]) -> list[_Benchmark]:
    problems, parsed = [], []
    for text in benchmarks:
        name, equals, source = text.partition("=")
        if not equals or not name or not source:
            problems.append(f"--benchmark {text!r}: expected PROTOCOL=SOURCE, as relative@1=kitti")
            continue
        try:
            parsed.append(_Benchmark(protocol(name), source))
        except ValueError as error:
            problems.append(f"--benchmark {text!r}: {error}")
    if not benchmarks:
        problems.append("name at least one --benchmark PROTOCOL=SOURCE")
    if problems:
        raise ConfigError(problems)
    return parsed


def _check_geometry(model: DepthModel, benchmarks: Sequence[_Benchmark]) -> None:
    """Refuse to hold what has no unit against metres."""
    problems = [
        f"--benchmark {item.protocol.ref}={item.source}: scores metres as they are, and "
        f"{model.reference} predicts {model.geometry}"
        for item in benchmarks
        if item.protocol.alignment == "none" and model.geometry not in METRIC_GEOMETRIES
    ]
    if problems:
        raise ConfigError(problems)


def _benchmark_shards(workspace: Workspace, source: str) -> list[ShardRef]:
    role = workspace.catalog.source(source).role
    if role == "unlabelled":
        raise ConfigError([f"source {source!r} is unlabelled: a benchmark needs ground truth"])
    workspace.catalog.check_not_withdrawn([source])
    shards = workspace.catalog.image_shards(source)
    if not shards:
        raise ConfigError([f"source {source!r} has no images yet: ingest some first"])
    return shards


def _score(
    model: DepthModel,
    name: str,
    benchmark: _Benchmark,
    shards: Sequence[ShardRef],
    workspace: Workspace,
    config: EvaluateConfig,
    reporter: Reporter,
) -> dict[str, Any]:
    total = sum(shard.rows for shard in shards)
    title = f"evaluate {name} on {benchmark.source}"
    with reporter.progress(title, total=total) as bar:
        scores = list(_image_scores(model, benchmark.protocol, shards, workspace, bar))
    result = summarise(scores)
    if result["images"] == 0:
        raise JobError(
            f"{benchmark.source}: not one of {total} images could be scored: {result['skipped']}"
        )
    number = workspace.catalog.record_evaluation(
        model=name,
        model_sha256=model.sha256,
        protocol=benchmark.protocol.name,
        version=benchmark.protocol.version,
        source=benchmark.source,
        source_digest=workspace.catalog.source_digest(benchmark.source),
        images=result["images"],
        valid_pixels=result["valid_pixels"],
        metrics=_flat(result["metrics"]),
        config={"size": config.size, "precision": config.precision},
        code_version=code_version(),
    )
    record_evaluation(workspace.store, workspace.catalog, number)
    return {
        "protocol": benchmark.protocol.name,
        "version": benchmark.protocol.version,
        "source": benchmark.source,
        **result,
    }


def _image_scores(
    model: DepthModel,
    rules: Protocol,
    shards: Sequence[ShardRef],
    workspace: Workspace,
    bar: Bar,
) -> Iterator[ImageScore]:
    for shard in shards:
        for record in read_image_rows(workspace.store, shard.key):
            yield _image_score(model, rules, record)
            bar.advance()


def _image_score(model: DepthModel, rules: Protocol, record: ImageRecord) -> ImageScore:
    """The score of one image; one that gives no prediction is skipped, with the reason."""
    if record.truth is None:
        return ImageScore(skipped="no_map")  # pairs of points need a protocol of their own
    try:
        image_HWC = decode_rgb(load_bytes(record))
    except ImageDecodeError as error:
        return ImageScore(skipped=error.reason)
    try:
        prediction_HW = model.predict(image_HWC)
    except ValueError:  # a strip that the size rule would blow up beyond all memory
        return ImageScore(skipped="too_large_for_network")
    return evaluate_image(
        prediction_HW,
        record.truth.values_HW,
        geometry=model.geometry,
        truth_geometry=record.truth.geometry,
        protocol=rules,
    )


def _flat(metrics: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    """One key per space and metric, as ``disparity/abs_rel``."""
    return {
        f"{space}/{name}": value
        for space, names in metrics.items()
        for name, value in names.items()
    }


def _write(summary: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
    (folder / "evaluation.md").write_text(_markdown(summary))


def _markdown(summary: dict[str, Any]) -> str:
    """One table per benchmark: a metric per row, a space per column."""
    lines = [f"# {summary['model']}", "", f"Weights sha256 `{summary['model_sha256']}`.", ""]
    for result in summary["results"]:
        lines += [
            f"## {result['source']}, {result['protocol']}@{result['version']}",
            "",
            f"{result['images']} images, {result['valid_pixels']} valid pixels.",
            "",
            *_table(result["metrics"]),
            "",
        ]
    return "\n".join(lines)


def _table(metrics: dict[str, dict[str, float | None]]) -> list[str]:
    spaces = list(metrics)
    names = list(dict.fromkeys(name for scores in metrics.values() for name in scores))
    return [
        f"| metric | {' | '.join(spaces)} |",
        "|---" * (len(spaces) + 1) + "|",
        *(
            f"| {name} | {' | '.join(_shown(metrics[space].get(name)) for space in spaces)} |"
            for name in names
        ),
    ]


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"

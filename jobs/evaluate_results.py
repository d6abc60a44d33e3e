"""From parts that are done to results, and from results to rows of the catalog."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.evaluate_engine import EvaluationTask, PartDone
from jobs.evaluate_plan import Evaluation
from jobs.evaluate_scoring import scored_images
from jobs.evaluation_result import BenchmarkResult
from jobs.evaluation_words import validation_sentence
from jobs.version import code_version
from jobs.workspace import Workspace
from pipeline.ledger import record_evaluation

LEAKS_NAMED = 3


def result_of(
    evaluation: Evaluation,
    tasks: Sequence[EvaluationTask],
    done: Mapping[str, PartDone],
) -> BenchmarkResult:
    """All parts of an evaluation put together, in the order of its images; leaks not looked for."""
    parts = [(task, done[task.part.key]) for task in tasks]
    forward_images = sum(part.forward_images for _, part in parts)
    forward_s = sum(part.forward_s for _, part in parts)
    devices = [part.device for _, part in parts if part.device and part.forward_images]
    return BenchmarkResult(
        model=evaluation.model,
        protocol=evaluation.benchmark.protocol,
        source=evaluation.benchmark.source,
        source_digest=evaluation.benchmark.digest,
        upsampling=evaluation.scoring.upsampling,
        images=tuple(
            image
            for task, part in parts
            for image in scored_images(part.scores.rows, shard_id=task.shard.shard_id)
        ),
        left_out=sum(part.scores.left_out for _, part in parts),
        forward_images_per_s=forward_images / forward_s if forward_s else None,
        device=", ".join(dict.fromkeys(devices)) or None,
    )


def doubts(result: BenchmarkResult) -> Iterator[str]:
    """What a reader of a result should know before believing it."""
    where = f"{result.protocol.ref}={result.source}"
    expected, found = result.protocol.images, len(result.images)
    if expected is not None and found != expected:
        yield f"{where}: {found} images, and the split has {expected}: not the published number"
    leaks = result.leaks
    if leaks and leaks.validated:
        yield f"{where}: {validation_sentence(leaks.validated)}"
    leaked = [*leaks.exact, *leaks.near] if leaks else []
    if leaks and leaked:
        examples = leaks.examples[:LEAKS_NAMED]
        named = "; ".join(f"{path} is {other} of {source}" for path, source, other in examples)
        yield (
            f"{where}: {result.model.name} was trained on {len(leaks.exact)} of these images, and "
            f"on {len(leaks.near)} that look alike: {named}"
        )


def record_result(workspace: Workspace, result: BenchmarkResult, row: Mapping[str, Any]) -> None:
    """Enter a result into the catalog, and write it down for a rebuild.

    Args:
        workspace: Store and catalog.
        result: With at least one scored image.
        row: The same as the summary says it.
    """
    taken = ("intervals", "skipped", "left_out", "expected_images", "leaks", "without_leaks")
    number = workspace.catalog.record_evaluation(
        model=result.model.name,
        model_sha256=result.model.sha256,
        protocol=result.protocol.name,
        version=result.protocol.version,
        source=result.source,
        source_digest=result.source_digest,
        images=row["images"],
        valid_pixels=row["valid_pixels"],
        metrics=_flat(row["metrics"]),
        config={
            "protocol": result.protocol.as_dict(),
            "size": result.model.side,
            "precision": result.model.precision,
            "upsampling": result.upsampling,
            "device": result.device,
            "images_per_s": result.forward_images_per_s,
            "parameters": result.model.parameters,
            **{name: row[name] for name in taken},
        },
        code_version=code_version(),
    )
    record_evaluation(workspace.store, workspace.catalog, number)


def _flat(metrics: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    """One key per space and metric, as ``disparity/abs_rel``."""
    return {
        f"{space}/{name}": value
        for space, names in metrics.items()
        for name, value in names.items()
    }

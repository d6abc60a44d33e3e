"""What `factory evaluate --out` leaves behind: JSON with every image, Markdown, and a page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.evaluation_markdown import markdown
from jobs.evaluation_page import evaluation_page
from jobs.evaluation_result import BenchmarkResult, ScoredPicture
from jobs.evaluation_summary import Comparison, image_rows, summarise_results
from jobs.files import written_whole
from jobs.report_page import render


def write_results(
    folder: Path | str,
    results: Sequence[BenchmarkResult],
    comparisons: Sequence[Comparison],
    pictures: Sequence[Sequence[ScoredPicture]] = (),
    *,
    colophon: str,
    summary: Mapping[str, Any] | None = None,
    missing: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write evaluation.json, evaluation.md and evaluation.html, each whole or not at all.

    Args:
        folder: Where to.
        results: Of all models and benchmarks.
        comparisons: Of the models among them.
        pictures: Those of each result, in the order of the results, or empty.
        colophon: What made it, and what is missing, for people.
        summary: Of the same results, where it is known: its intervals take time.
        missing: Further keys of evaluation.json: what is missing, for programs.

    Returns:
        The paths.
    """
    if summary is None:
        summary = summarise_results(results, comparisons)
    files = {
        "evaluation.json": _as_json({**summary, **(missing or {})}, results),
        "evaluation.md": markdown(summary, comparisons, colophon=colophon),
        "evaluation.html": render(
            evaluation_page(summary, results, comparisons, pictures, colophon=colophon)
        ),
    }
    for name, text in files.items():
        with written_whole(str(Path(folder) / name)) as scratch:
            # Names may hold half a surrogate, which no encoding has.
            scratch.write_bytes(text.encode("utf-8", "backslashreplace"))
    return [str((Path(folder) / name).resolve()) for name in files]


def _as_json(summary: dict[str, Any], results: Sequence[BenchmarkResult]) -> str:
    rows = [
        row | {"per_image": image_rows(result)}
        for row, result in zip(summary["results"], results, strict=True)
    ]
    document = summary | {"results": rows}
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"

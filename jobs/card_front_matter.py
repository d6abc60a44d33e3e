"""The YAML at the top of a model card, as the Hugging Face Hub reads it.

Fields: huggingface.co/docs/hub/model-cards; ids of licences: …/hub/repositories-licenses. A licence
that the Hub has no id for is ``other`` with a ``license_name``; one that nobody has stated is
``unknown``, which is an id of the Hub too.
"""

import re
from collections.abc import Iterator
from typing import Any

from jobs.card_facts import CardFacts, hub_dataset
from jobs.markdown import one_line
from pipeline.catalog import EvaluationRow, SourceRow

TASK = "depth-estimation"
_HUB_LICENCES = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
    bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
    agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl apple-ascl
    apple-amlr mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl
    lgpl-lr deepfloyd-if-license unknown
"""
HUB_LICENCES = frozenset(_HUB_LICENCES.split())
_METRIC_GEOMETRIES = ("depth_metric", "disparity_metric")
_LONGEST_NAME = 80


def front_matter(facts: CardFacts, *, library: str | None = "transformers") -> str:
    """The YAML with its two lines of dashes."""
    import yaml

    fields: dict[str, Any] = {
        **licence_fields(facts.licence),
        "library_name": library,
        "pipeline_tag": TASK,
        "tags": _tags(facts),
        "base_model": list(facts.bases),
        "datasets": list(dict.fromkeys(_dataset(part.source) for part in facts.parts)),
        "model-index": _model_index(facts),
    }
    given = {key: value for key, value in fields.items() if value}
    return f"---\n{yaml.safe_dump(given, sort_keys=False, allow_unicode=True, width=100)}---\n"


def licence_fields(licence: str | None) -> dict[str, str]:
    """``license``, and ``license_name`` where the Hub has no id for it."""
    if licence is None:
        return {"license": "unknown"}
    plain = re.sub(r"[\s_-]+", "-", licence.strip().casefold())
    if plain in HUB_LICENCES:
        return {"license": plain}
    name = re.sub(r"[^a-z0-9.]+", "-", plain).strip("-.")[:_LONGEST_NAME].strip("-.")
    return {"license": "other", "license_name": name or "other"}


def scores_by_space(row: EvaluationRow) -> dict[str, dict[str, float]]:
    """The scores that there are; the catalog has them as ``space/metric``."""
    spaces: dict[str, dict[str, float]] = {}
    for key, value in row.metrics.items():
        space, _, metric = key.rpartition("/")
        if value is not None:
            spaces.setdefault(space, {})[metric] = value
    return spaces


def _tags(facts: CardFacts) -> list[str]:
    scale = "metric-depth" if facts.geometry in _METRIC_GEOMETRIES else "relative-depth"
    tags = ["monocular-depth-estimation", scale, facts.family]
    return [*tags, "pseudo-labels"] if facts.pseudo else tags


def _dataset(source: SourceRow) -> str:
    return hub_dataset(source) or source.name


def _model_index(facts: CardFacts) -> list[dict[str, Any]]:
    results = [result for row in facts.evaluations if (result := _result(row))["metrics"]]
    return [{"name": facts.name, "results": results}] if results else []


def _result(row: EvaluationRow) -> dict[str, Any]:
    """The source stands where the Hub looks for a data set, the protocol where for its subset."""
    return {
        "task": {"type": TASK, "name": "Monocular depth estimation"},
        "dataset": {
            "type": one_line(row.source),
            "name": one_line(row.source),
            "config": f"{row.protocol}@{row.version}",
            "args": {"images": row.images, "digest": row.source_digest},
        },
        "metrics": list(_metrics(row)),
    }


def _metrics(row: EvaluationRow) -> Iterator[dict[str, Any]]:
    for space, scores in scores_by_space(row).items():
        for metric, value in scores.items():
            name = f"{metric} ({space})" if space else metric
            yield {"type": metric, "name": name, "value": float(f"{value:.6g}")}

"""What a terminal shows of an evaluation's lists: a few columns of many; --json has them all."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
MODELS = ("name", "parameters", "side", "precision", "licence")
# After these the metrics follow, in the order of the protocol; what does not fit is left out.
FIRST_METRICS = ("abs_rel", "delta1", "pair_accuracy", "rmse")


def evaluation_rows(title: str, records: Sequence[Record]) -> Sequence[Record]:
    """Rows to show of a list with this title; as they are where it is none of an evaluation."""
    marks, rows = _LISTS.get(title, ((), None))
    if rows is None or not all(mark in record for mark in marks for record in records):
        return records
    return rows(records)


def is_cut(title: str) -> bool:
    """Whether the last columns of a list may be left out where there is no room."""
    return title in _LISTS


def _results(records: Sequence[Record]) -> list[Record]:
    """A row per space: scores lie in a mapping from space to metrics."""
    is_alone = len({record.get("model") for record in records}) == 1
    return [
        {
            **({} if is_alone else {"model": record["model"]}),
            **_benchmark(record),
            **_counts(record),
            "space": space,
            **_in_order(metrics),
        }
        for record in records
        for space, metrics in record["metrics"].items()
    ]


def _recorded(records: Sequence[Record]) -> list[Record]:
    """Those of the catalog, whose metrics are called ``space/metric``."""
    return _results([{**record, "metrics": _by_space(record["metrics"])} for record in records])


def _by_space(metrics: Mapping[str, float | None]) -> dict[str, dict[str, float | None]]:
    spaces: dict[str, dict[str, float | None]] = {}
    for key, value in metrics.items():
        space, _, name = key.rpartition("/")
        spaces.setdefault(space, {})[name] = value
    return spaces


def _comparisons(records: Sequence[Record]) -> list[Record]:
    """Each model and benchmark by the first metric, which the difference is named after."""
    first: dict[tuple[str, str, str], Record] = {}
    for record in records:
        first.setdefault((record["model"], record["protocol"], record["source"]), record)
    return [
        {
            "model": record["model"],
            **_benchmark(record),
            f"{record['space']} {record['metric']}": record["difference"],
            "p_holm": record["p_holm"],
            "verdict": record["verdict"],
            "interval": record["interval"],
        }
        for record in first.values()
    ]


def _models(records: Sequence[Record]) -> list[Record]:
    return [{name: record[name] for name in MODELS} for record in records]


def _benchmark(record: Record) -> dict[str, str]:
    version = f"@{record['version']}" if "version" in record else ""
    protocol = f"{record['protocol']}{version} on " if "protocol" in record else ""
    return {"benchmark": f"{protocol}{record['source']}"}


def _counts(record: Record) -> dict[str, Any]:
    """Scored images, and of how many where some were skipped: their mean would flatter."""
    if "images" not in record:
        return {}
    images, skipped = record["images"], sum(record.get("skipped", {}).values())
    return {"images": f"{images:,}/{images + skipped:,}" if skipped else images}


def _in_order(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    names = [*(name for name in FIRST_METRICS if name in metrics), *metrics]
    return {name: metrics[name] for name in names}


# Title: what its records have, and how they are shown.
_LISTS: Mapping[str, tuple[tuple[str, ...], Callable[[Sequence[Record]], list[Record]]]] = {
    "results": (("source", "metrics"), _results),
    "evaluations": (("source", "metrics"), _recorded),
    "comparisons": (("model", "difference"), _comparisons),
    "models": (MODELS, _models),
}

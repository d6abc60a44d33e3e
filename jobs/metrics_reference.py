"""The page of the documentation that lists every metric."""

from collections.abc import Sequence

from jobs import metrics
from jobs.markdown import table
from jobs.metrics import Metric

_HEAD = """\
# Metrics

What a running factory tells Prometheus, through Ray. Made by `make docs` from `jobs/metrics.py`;
[Monitoring](monitoring.md) has the dashboard and the alerts that are made from the same table.

**Where.** Every machine of a Ray cluster serves the metrics of its processes, under `/metrics` at
the port that `ray start --metrics-export-port` sets, or any free one
(`ray.nodes()[i]["MetricsExportPort"]`). That port asks for no token. A process sends its values on
every ten seconds.

**Who.** The driver of a verb, and in training the first worker. What works without Ray (`factory
ingest` of a folder in its own process, `factory evaluate --actors 0`) exports nothing. Ray adds
labels of its own, `WorkerId`, `NodeAddress` and `SessionName` among them: two drivers of one label
set are two series, as are a driver that was killed and the one that went on. The last column makes
one of them.

**When it is over.** A verb that ends takes its gauges back, and Ray forgets those that were not
set for 20 s, so that nothing goes on being said of a process that is gone. The same 20 s leave gaps
where a driver waits for a catalog that is away, or a step of training takes longer:
`last_over_time(…[5m])` bridges them. Counters and histograms stay until Ray is stopped, also those
of processes that are gone. A worker that Ray ended, or that a signal asked to end, has said
everything; one that was killed outright (for its memory, say) takes its last ten seconds with it.

**Counters.** They count what the catalog has taken, so a shard whose lease was lost is not in them.
A rate misses what a series begins with, as Prometheus sees it first with its first value: for sums
over days ask the catalog (`factory status`, `factory report`).

"""

_PARTS: dict[str, tuple[Metric, ...]] = {
    "Labelling": metrics.LABEL,
    "Drivers and their actors": metrics.DRIVERS,
    "Ingest": metrics.INGEST,
    "Evaluation": metrics.EVALUATE,
    "Training": metrics.TRAINING,
}

_TAIL = """\
## Names in Ray

| Where | What one sees |
| --- | --- |
| Jobs, column Name; `job_name` in the metadata of `ray list jobs --detail` | `label photos with \
dav2-l`; of a submitted job the name it was given, `ray job submit --metadata-json \
'{"job_name": "…"}'` |
| Actors, column Name | `label photos-dav2-l #3 of head:4711`: what it does, a number, and the \
process of its driver |
| Actors, column Repr; `repr_name`; the name of its process and of its tasks | \
`label photos-dav2-l on gpu-node-3 GPU 5, process 812`: where, as the machine counts its GPUs |
| Tag `actor` | `gpu-node-3 GPU 5, process 812` |

Training has a job of this kind; its workers are named by Ray Train (`RayTrainWorker`), by rank and
node on the dashboard's page of Ray Train.
"""


def markdown_page() -> str:
    """All metrics, part by part."""
    lines = [_HEAD.rstrip("\n"), ""]
    for heading, some in _PARTS.items():
        lines += [f"## {heading}", "", *_table(some), ""]
    return "\n".join([*lines, _TAIL])


def _table(some: Sequence[Metric]) -> list[str]:
    header = ("Name", "Kind", "Unit", "Tags", "Meaning", "Together")
    return table(header, [_row(metric) for metric in some])


def _row(metric: Metric) -> list[str]:
    tags = ", ".join(f"`{tag}`" for tag in metric.tags)
    cells = [f"`{metric.exported}`", metric.kind, metric.unit, tags, metric.meaning]
    return [*cells, f"`{metric.together}`"]


if __name__ == "__main__":
    print(markdown_page(), end="")

"""What the Grafana dashboard of the factory shows, as data: a title, a sentence, a unit, PromQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from infra.monitoring.queries import (
    RUN,
    SET,
    SHARE,
    commit_seconds,
    gained,
    images_left,
    largest,
    quarantined_share,
    rate,
    series,
    summed,
)

Kind = Literal["lines", "stacked", "number"]
LABELLING = '{verb="label",target=~"$label_set"}'


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and what its series are called: ``{{tag}}`` stands for a tag's value."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        description: One sentence, behind the ``i`` in its corner.
        unit: As Grafana names units.
        width: Of 24.
        needs: What must be there for any data, beside runs: ``GPU``, ``failure`` or ``alert``.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "lines"
    width: int = 8
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def _panel(
    title: str,
    description: str,
    unit: str,
    expr: str | Sequence[Query],
    legend: str = "",
    *,
    kind: Kind = "lines",
    width: int = 8,
    needs: str = "",
) -> Panel:
    queries = (Query(expr, legend),) if isinstance(expr, str) else tuple(expr)
    return Panel(title, description, unit, queries, kind, width, needs)


_EACH = largest(series("factory_shards", SET), "label_set", "source", "state")
_SHARDS = summed(_EACH, "label_set", "state")
_ALL_SHARDS = summed(_EACH, "label_set")
_BEAT = largest(series("factory_driver_beat_timestamp_seconds"), "verb", "target")
_DONE = series("factory_shards", '{label_set=~"$label_set",state="done"}')
_FORWARD = '{label_set=~"$label_set",stage="forward"}'
_STAGES = rate("factory_stage_seconds_total", SET, "label_set", "stage", over=SHARE)

LABELLING_ROW = Row(
    "Labelling",
    (
        _panel(
            "Images left",
            "Images of shards that are pending or under way.",
            "short",
            images_left(),
            "{{label_set}}",
            kind="number",
            width=6,
        ),
        _panel(
            "Done",
            "Share of the set's shards that are committed.",
            "percentunit",
            f"{summed(largest(_DONE, 'label_set', 'source'), 'label_set')} / {_ALL_SHARDS}",
            "{{label_set}}",
            kind="number",
            width=6,
        ),
        _panel(
            "Time left",
            "Images left at the rate of the last fifteen minutes, all drivers together.",
            "s",
            f"{images_left()} / {rate('factory_actor_images_total', SET, 'label_set', over=SHARE)}",
            "{{label_set}}",
            kind="number",
            width=6,
        ),
        _panel(
            "Driver last heard of",
            "How long ago a driver last turned its loop; it grows while the catalog is away.",
            "s",
            f"time() - {_BEAT}",
            "{{verb}} {{target}}",
            kind="number",
            width=6,
        ),
        _panel(
            "Images per second",
            "Committed images, labelled or quarantined, of all drivers.",
            "cps",
            rate("factory_actor_images_total", SET, "label_set"),
            "{{label_set}}",
        ),
        _panel(
            "Images per second and actor",
            "The same by actor: one that is far below the others has a slow device or disk.",
            "cps",
            rate("factory_actor_images_total", SET, "actor"),
            "{{actor}}",
        ),
        _panel(
            "Shards by state",
            "From the catalog: pending, leased, done, failed.",
            "short",
            _SHARDS,
            "{{label_set}} {{state}}",
            kind="stacked",
        ),
        _panel(
            "Quarantined by reason",
            "Images without a label in the last hour, and why.",
            "short",
            gained(
                series("factory_quarantined_images_total", SET), "label_set", "source", "reason"
            ),
            "{{label_set}} {{source}}: {{reason}}",
            kind="stacked",
        ),
        _panel(
            "Quarantined share",
            "Of the images that were committed in the last hour.",
            "percentunit",
            quarantined_share(),
            "{{label_set}} {{source}}",
        ),
        _panel(
            "Actors",
            "Ready and starting ones, of all drivers; those that were lost in the last hour.",
            "short",
            (
                Query(
                    summed(series("factory_actors", LABELLING), "target", "state"),
                    "{{target}} {{state}}",
                ),
                Query(
                    gained(series("factory_actors_lost_total", LABELLING), "target"),
                    "{{target}} lost",
                ),
            ),
        ),
        _panel(
            "Where the time goes",
            "Share of each stage in the time of all, summed over threads; forward is the device's.",
            "percentunit",
            f"{_STAGES} / on (label_set) group_left () "
            f"{rate('factory_stage_seconds_total', SET, 'label_set', over=SHARE)}",
            "{{label_set}} {{stage}}",
            kind="stacked",
        ),
        _panel(
            "Devices busy",
            "Share of the actors' time in which their devices computed; the rest is waiting.",
            "percentunit",
            f"{rate('factory_stage_seconds_total', _FORWARD, 'label_set', over=SHARE)} / "
            f"{rate('factory_actor_seconds_total', SET, 'label_set', over=SHARE)}",
            "{{label_set}}",
        ),
        _panel(
            "Oldest shard under way",
            "How long the slowest shard has been with its actor; --shard-timeout-s ends it.",
            "s",
            largest(series("factory_lease_age_seconds", SET), "label_set"),
            "{{label_set}}",
        ),
        _panel(
            "Commit latency",
            "How long the catalog takes to commit a shard: quantiles of the last fifteen minutes.",
            "s",
            tuple(
                Query(commit_seconds(quantile), f"{{{{label_set}}}} {quantile:.0%}")
                for quantile in (0.5, 0.9, 0.99)
            ),
        ),
        _panel(
            "Failed attempts and lost leases",
            "Attempts that were charged to shards in the last hour, and shards labelled in vain.",
            "short",
            (
                Query(
                    gained(series("factory_failed_attempts_total", SET), "label_set", "source"),
                    "{{label_set}} {{source}} failed",
                ),
                Query(
                    gained(series("factory_lost_leases_total", SET), "label_set"),
                    "{{label_set}} lost leases",
                ),
            ),
            needs="failure",
        ),
        _panel(
            "Alerts",
            "Those of factory-alerts.yml that are pending or firing.",
            "short",
            'sum by (alertname, alertstate) (ALERTS{alertname=~"Factory.+"})',
            "{{alertname}} {{alertstate}}",
            kind="stacked",
            needs="alert",
        ),
    ),
)

SOURCES_ROW = Row(
    "Ingesting and evaluating",
    (
        _panel(
            "Ingested images per second",
            "Images of committed shards.",
            "cps",
            rate("factory_ingested_images_total", "", "source"),
            "{{source}}",
        ),
        _panel(
            "Dropped by reason",
            "Samples that were refused in the last hour, and why.",
            "short",
            gained(series("factory_dropped_images_total"), "source", "reason"),
            "{{source}}: {{reason}}",
            kind="stacked",
        ),
        _panel(
            "Evaluated images per second",
            "Images that were scored.",
            "cps",
            rate("factory_evaluated_images_total", "", "model", "source"),
            "{{model}} on {{source}}",
        ),
    ),
)

_STEP = largest(series("factory_training_step", RUN), "run", "model")
_STEPS = largest(series("factory_training_steps", RUN), "run", "model")
_PACE = largest(f"deriv({series('factory_training_step', RUN)}[{SHARE}])", "run", "model")

TRAINING_ROW = Row(
    "Training",
    (
        _panel(
            "Steps done",
            "Share of the run's steps.",
            "percentunit",
            f"{_STEP} / {_STEPS}",
            "{{model}}",
            kind="number",
            width=6,
        ),
        _panel(
            "Time left",
            "Steps left at the rate of the last fifteen minutes.",
            "s",
            f"({_STEPS} - {_STEP}) / clamp_min({_PACE}, 0)",
            "{{model}}",
            kind="number",
            width=6,
        ),
        _panel(
            "Step",
            "Optimiser steps done, and those of the whole run.",
            "short",
            (
                Query(_STEP, "{{model}}"),
                Query(_STEPS, "{{model}} planned"),
            ),
            width=6,
        ),
        _panel(
            "Steps refused",
            "Steps in the last hour whose loss or gradient was not finite; each ends its run.",
            "short",
            gained(series("factory_training_not_finite_total", RUN), "run", "model"),
            "{{model}}",
            width=6,
            needs="failure",
        ),
        _panel(
            "Loss",
            "Of the last step, by term; total is what is minimised.",
            "none",
            largest(series("factory_training_loss", RUN), "run", "model", "term"),
            "{{model}} {{term}}",
        ),
        _panel(
            "Validation",
            "Scores at the newest checkpoint.",
            "none",
            largest(series("factory_training_validation", RUN), "run", "model", "metric"),
            "{{model}} {{metric}}",
        ),
        _panel(
            "Images per second",
            "Images trained on by all workers, labelled and pseudo-labelled.",
            "cps",
            rate("factory_training_images_total", RUN, "model", "kind"),
            "{{model}} {{kind}}",
            kind="stacked",
        ),
        _panel(
            "Waiting for data",
            "Share of the steps' time that the first worker waited for its input.",
            "percentunit",
            largest(series("factory_training_data_wait_ratio", RUN), "run", "model"),
            "{{model}}",
        ),
        _panel(
            "Learning rate",
            "Of the next step, by part of the network.",
            "none",
            largest(series("factory_training_learning_rate", RUN), "run", "model", "part"),
            "{{model}} {{part}}",
        ),
    ),
)

MACHINES_ROW = Row(
    "Machines",
    (
        _panel(
            "CPU",
            "Use of all cores, by machine.",
            "percent",
            "avg by (instance) (ray_node_cpu_utilization)",
            "{{instance}}",
        ),
        _panel(
            "Memory",
            "Share in use, by machine; Ray ends workers at 95 %.",
            "percentunit",
            "max by (instance) (ray_node_mem_used_host / ray_node_mem_total_host)",
            "{{instance}}",
        ),
        _panel(
            "Disk",
            "Share in use of the disk that Ray writes to, by machine.",
            "percentunit",
            "max by (instance) (ray_node_disk_usage / (ray_node_disk_usage + ray_node_disk_free))",
            "{{instance}}",
        ),
        _panel(
            "Object store",
            "Memory in use; shard ids and manifests travel through it and no pixels.",
            "bytes",
            "sum by (instance) (ray_object_store_used_memory)",
            "{{instance}}",
        ),
        _panel(
            "GPU",
            "Use of each GPU, as its driver says; a queue that is never empty looks full too.",
            "percent",
            "avg by (instance, GpuIndex) (ray_node_gpus_utilization)",
            "{{instance}} GPU {{GpuIndex}}",
            needs="GPU",
        ),
        _panel(
            "GPU memory",
            "In use on each GPU.",
            "mbytes",
            "sum by (instance, GpuIndex) (ray_node_gram_used)",
            "{{instance}} GPU {{GpuIndex}}",
            needs="GPU",
        ),
    ),
)

ROWS = (LABELLING_ROW, SOURCES_ROW, TRAINING_ROW, MACHINES_ROW)
PANELS = tuple(panel for row in ROWS for panel in row.panels)

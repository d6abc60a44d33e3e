"""Alerts of the factory, as data: what is wrong, for how long, how bad, and what to do next.

The same rules become `factory-alerts.yml` for a Prometheus of one's own and a ``PrometheusRule``
for the operator on Kubernetes. Windows and waits are shortened for tests by `shortened`; the
expressions stay what they are.

Ray forgets a gauge that is not set again for 20 s, and whoever waits for a catalog sets none. So
gauges are looked for over five minutes, and one that is away for longer belongs to somebody who is
gone or hangs.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import yaml

from infra.monitoring.queries import (
    commit_seconds,
    gained,
    images_left,
    largest,
    quarantined_share,
    series,
    summed,
)
from jobs.config import LabelConfig

SHARE_QUARANTINED = 0.1
IMAGES_AT_LEAST = 100  # a share of fewer says nothing
ACTORS_LOST = 3
SLOW_COMMIT_S = 10.0
SHARD_TIMEOUT_S = LabelConfig(sources=(), teacher="").shard_timeout_s
LABEL_SETS = ("label_set",)
TARGETS = ("verb", "target")


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule.

    Attributes:
        wait: How long the expression must have had a value.
        summary: One line, with ``{{ $labels.… }}`` of Prometheus.
        what_next: What to look at and do.
        can_wait: Whether nobody has to get up for it: severity ``warning``, not ``critical``.
    """

    name: str
    expr: str
    wait: str
    summary: str
    what_next: str
    can_wait: bool = True

    def as_rule(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.wait,
            "labels": {"severity": "warning" if self.can_wait else "critical"},
            "annotations": {
                "summary": self.summary,
                "description": self.what_next,
                "runbook": f"docs/monitoring.md#{self.name.lower()}",
            },
        }


def _by_target(expr: str) -> str:
    """A label set's name is the target of its verb."""
    return f'label_replace({expr}, "target", "$1", "label_set", "(.*)")'


def _unheard(selector: str, *, over: str) -> str:
    """When drivers last said something that have been silent since, and have not said their end."""
    beat = series("factory_driver_beat_timestamp_seconds", selector)
    end = series("factory_driver_end_timestamp_seconds", selector)
    last = f"max by (verb, target) (last_over_time({beat}[6h]))"
    ended = f"max by (verb, target) (last_over_time({end}[6h]))"
    return (
        f"({last} unless on (verb, target) last_over_time({beat}[{over}])) "
        f"> on (verb, target) ({ended} or 0 * {last})"
    )


_LEFT = images_left("", over="5m")
_READY = summed(series("factory_actors", '{state="ready"}'), *TARGETS)

LABELLING = (
    Alert(
        "FactoryLabelSetStalled",
        f"{_LEFT} > 0 unless on (label_set) "
        f"sum by (label_set) (changes({series('factory_images_left')}[5m])) > 0",
        "25m",
        "Label set {{ $labels.label_set }}: {{ $value }} images left, and none committed for half "
        "an hour",
        "Look at the driver's log for warnings and at the panel of its actors: none ready means no "
        "room or no teacher, an old shard means a hang. `--shard-timeout-s` ends a shard that "
        "hangs; stopping the driver (Ctrl-C) and running the same command again loses nothing.",
        can_wait=False,
    ),
    Alert(
        "FactoryQuarantineHigh",
        f"{quarantined_share('')} > {SHARE_QUARANTINED} and on (label_set, source) "
        f"{gained(series('factory_quarantined_images_total'), 'label_set', 'source')} > "
        f"{IMAGES_AT_LEAST}",
        "5m",
        "Label set {{ $labels.label_set }}: {{ $value | humanizePercentage }} of the last hour's "
        "images of {{ $labels.source }} were quarantined",
        "The panel of reasons says which. Images that cannot be decoded are the source's: look at "
        "some in `factory report`, stop, repair or ingest again. Labels that are not finite or "
        "degenerate are the teacher's. Afterwards `factory label … --retry quarantined`.",
    ),
    Alert(
        "FactoryLeaseOld",
        f"{largest(series('factory_lease_age_seconds'), *LABEL_SETS)} > {0.8 * SHARD_TIMEOUT_S}",
        "1m",
        "Label set {{ $labels.label_set }}: a shard has been under way for "
        "{{ $value | humanizeDuration }}",
        "Near the default of `--shard-timeout-s` its actor is killed, and after three such deaths "
        "the shard is given up. If that is simply how long shards take here, make shards smaller "
        "or the limit larger; else look at the actor's stack in Ray's dashboard.",
    ),
    Alert(
        "FactoryCatalogSlow",
        f"{commit_seconds(0.9, '')} > {SLOW_COMMIT_S}",
        "5m",
        "Label set {{ $labels.label_set }}: one commit in ten takes more than "
        "{{ $value | humanizeDuration }}",
        "The database is overloaded, far away or was gone for a while: look at its own monitoring "
        "(locks, disk, connections). Work goes on as long as `--catalog-patience-s` lasts.",
    ),
)

DRIVERS = (
    Alert(
        "FactoryDriverGone",
        _unheard('{verb!="train"}', over="5m"),
        "1m",
        "{{ $labels.verb }} {{ $labels.target }}: its driver has said nothing for five minutes "
        "and did not end in order",
        "Its log has the last words. It failed or was killed (memory, a machine that went): what "
        "was committed stays, run the same command again. Or it waits for the catalog: look at the "
        "database, `--catalog-patience-s` ends the wait.",
        can_wait=False,
    ),
    Alert(
        "FactoryActorsLost",
        f"{gained(series('factory_actors_lost_total'), *TARGETS, over='15m')} >= {ACTORS_LOST}",
        "0m",
        "{{ $labels.verb }} {{ $labels.target }}: {{ $value }} actors lost in fifteen minutes",
        "The driver's log says why each died. Out of memory: fewer actors on a machine, or a "
        "smaller `--batch-size`. A GPU or machine that fails again and again: take it out. Spot "
        "machines that were taken back: nothing to do.",
    ),
    Alert(
        "FactoryNoActors",
        f"({_READY} == 0) and on (target) {_by_target(_LEFT)} > 0",
        "10m",
        "{{ $labels.verb }} {{ $labels.target }}: work is left, and no actor for ten minutes",
        "They wait for room (`ray status` says what is asked for and what there is), or die while "
        "they load the teacher: the driver's log says which.",
        can_wait=False,
    ),
)

_WAIT = f"last_over_time({series('factory_training_data_wait_ratio')}[5m])"

TRAINING = (
    Alert(
        "FactoryLossNotFinite",
        f"{gained(series('factory_training_not_finite_total'), 'run', 'model')} > 0",
        "0m",
        "Training {{ $labels.model }}: loss or gradient was not finite, and the run has ended",
        "The last rows of the run's metrics, and its newest checkpoint, are from before. Lower the "
        "learning rate or clip harder, or look for labels with impossible values; then `--resume`.",
        can_wait=False,
    ),
    Alert(
        "FactoryTrainingStalled",
        _unheard('{verb="train"}', over="30m"),
        "1m",
        "Training {{ $labels.target }}: no step for half an hour, and it did not end in order",
        "It failed or was killed: its log has the last words, and `--resume` goes on from the "
        "newest checkpoint. Or a worker waits for its input (the store), for the others (a machine "
        "that went), or scores many images.",
        can_wait=False,
    ),
    Alert(
        "FactoryTrainingStarved",
        f"{largest(_WAIT, 'run', 'model')} > 0.5",
        "30m",
        "Training {{ $labels.model }}: {{ $value | humanizePercentage }} of its time goes into "
        "waiting for data",
        "Devices stand idle: give it more CPUs for reading, or move the store nearer.",
    ),
)

MACHINES = (
    Alert(
        "FactoryScrapeFailing",
        'up{job=~"ray|.*/factory"} == 0',
        "5m",
        "{{ $labels.instance }}: no metrics from this machine",
        "The machine is gone and Ray has not noticed yet, or a firewall is in between: from where "
        "Prometheus runs, `curl http://{{ $labels.instance }}/metrics`.",
    ),
    Alert(
        "FactoryMemoryLow",
        "max by (instance) (ray_node_mem_used_host / ray_node_mem_total_host) > 0.92",
        "5m",
        "{{ $labels.instance }}: {{ $value | humanizePercentage }} of its memory is in use",
        "At 95 % Ray ends workers. Fewer actors on the machine, a smaller `--batch-size`, or find "
        "what else runs there.",
    ),
    Alert(
        "FactoryDiskLow",
        "max by (instance) "
        "(ray_node_disk_usage / (ray_node_disk_usage + ray_node_disk_free)) > 0.95",
        "5m",
        "{{ $labels.instance }}: {{ $value | humanizePercentage }} of its disk is in use",
        "Ray's logs, scratch files and perhaps a local store lie there. A run ends with what is "
        "committed when it is full; `factory catalog gc` makes room in a store.",
    ),
)

GROUPS = {
    "factory-labelling": LABELLING,
    "factory-drivers": DRIVERS,
    "factory-training": TRAINING,
    "factory-machines": MACHINES,
}
ALERTS = tuple(alert for alerts in GROUPS.values() for alert in alerts)

Change = Callable[[Alert], Alert]


def groups(change: Change = lambda alert: alert) -> dict[str, Any]:
    """What a rule file holds, each alert as ``change`` has it."""
    return {
        "groups": [
            {"name": name, "rules": [change(alert).as_rule() for alert in alerts]}
            for name, alerts in GROUPS.items()
        ]
    }


def shortened(alert: Alert, *, minutes_s: int, longer_s: int, wait_s: int) -> Alert:
    """The same alert for runs that last for seconds.

    ``minutes_s`` takes the place of windows of five minutes and of half an hour, after which
    something is thought to stand still; ``longer_s`` that of all others, which look back on more.
    """

    def in_seconds(window: re.Match[str]) -> str:
        return f"{minutes_s if window[0] in ('5m', '30m') else longer_s}s"

    expr = re.sub(r"(?<=\[)\d+[mh](?=\])|(?<=offset )\d+[mh]", in_seconds, alert.expr)
    return replace(alert, expr=expr, wait=f"{wait_s}s")


def rules_yaml() -> str:
    """``factory-alerts.yml``, for ``rule_files`` of a Prometheus."""
    return _yaml(groups())


def prometheus_rule_yaml() -> str:
    """The same as a manifest for the Prometheus operator."""
    return _yaml(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {
                "name": "factory",
                "labels": {"app.kubernetes.io/part-of": "pseudo-label-factory"},
            },
            "spec": groups(),
        }
    )


def _yaml(content: dict[str, Any]) -> str:
    made = "# Made by `make dashboards` from infra/monitoring/alerts.py.\n"
    return made + yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)

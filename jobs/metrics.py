"""Every metric that the factory exports through Ray, as data: names, units, tags, meanings.

`jobs.metrics_recording` writes them and takes no other name or tag; dashboards, alerts and
``docs/metrics.md`` are made from this table. A process exports its series for as long as it lives,
and Ray names the process in labels of its own (``WorkerId``, ``NodeAddress``, ``SessionName``).
Several drivers on one target, and the workers that a run had one after another, are several series:
``together`` is the expression that makes one number of them.

Ray forgets a gauge that was not set again for two of its reports, 20 s, so nothing goes on being
said of a process that is gone; a verb that ends takes its gauges back at once. Counters and
histograms stay, also those of processes that are gone.
"""

from dataclasses import dataclass
from typing import Literal

PREFIX = "ray_"  # what Ray puts before every name

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: As it is given to Ray, which puts `PREFIX` before it.
        unit: Of its values; a counter's is that of what is counted.
        tags: Keys; every series has a value for each.
        meaning: One sentence.
        together: PromQL over all series that are there.
        buckets: Upper bounds of a histogram, in its unit.
    """

    name: str
    kind: Kind
    unit: str
    tags: tuple[str, ...]
    meaning: str
    together: str
    buckets: tuple[float, ...] = ()

    @property
    def exported(self) -> str:
        """As Prometheus knows it; a histogram's series have ``_bucket`` and the like behind it."""
        return PREFIX + self.name


def _counter(name: str, unit: str, tags: str, meaning: str, *, rare: bool = False) -> Metric:
    """A rate misses what a series begins with, so that something ``rare`` is asked for as it is."""
    keys = tuple(tags.split())
    series = f"{PREFIX}{name}" if rare else f"rate({PREFIX}{name}[5m])"
    together = f"sum by ({', '.join(keys)}) ({series})"
    return Metric(name, "counter", unit, keys, meaning, together)


def _gauge(name: str, unit: str, tags: str, meaning: str, *, how: str = "max") -> Metric:
    keys = tuple(tags.split())
    return Metric(
        name, "gauge", unit, keys, meaning, f"{how} by ({', '.join(keys)}) ({PREFIX}{name})"
    )


def _histogram(
    name: str, unit: str, tags: str, meaning: str, *, buckets: tuple[float, ...]
) -> Metric:
    keys = tuple(tags.split())
    rates = f"sum by ({', '.join((*keys, 'le'))}) (rate({PREFIX}{name}_bucket[5m]))"
    together = f"histogram_quantile(0.95, {rates})"
    return Metric(name, "histogram", unit, keys, meaning, together, buckets)


LABEL = (
    _counter(
        "factory_labelled_images_total",
        "images",
        "label_set source",
        "Images with a label, of shards that this driver committed; a shard that is tried again "
        "for its quarantined images counts anew.",
    ),
    _counter(
        "factory_quarantined_images_total",
        "images",
        "label_set source reason",
        "Images without a label, of shards that this driver committed, and why.",
    ),
    _counter(
        "factory_actor_images_total",
        "images",
        "label_set actor",
        "Images of committed shards, labelled or not, by the actor that labelled them.",
    ),
    _counter(
        "factory_stage_seconds_total",
        "seconds",
        "label_set stage",
        "Time of committed shards per stage (read, decode, forward, encode, write), summed over "
        "threads; forward is the device's.",
    ),
    _counter(
        "factory_actor_seconds_total",
        "seconds",
        "label_set",
        "Time that actors were there, summed over them; the rate of stage forward over the rate of "
        "this is the busy share of the devices.",
    ),
    _counter(
        "factory_lost_leases_total",
        "shards",
        "label_set",
        "Shards that were labelled and not committed, as another driver had taken them over.",
        rare=True,
    ),
    _counter(
        "factory_failed_attempts_total",
        "attempts",
        "label_set source",
        "Attempts at a shard that were charged to it; after three it is given up.",
        rare=True,
    ),
    _gauge(
        "factory_images_left",
        "images",
        "label_set source",
        "Images of shards that are pending or under way, in the sources that a driver works on; "
        "from the catalog, so that all drivers of a set say the same.",
    ),
    _gauge(
        "factory_shards",
        "shards",
        "label_set source state",
        "Shards per state (pending, leased, done, failed), from the catalog likewise.",
    ),
    _gauge(
        "factory_lease_age_seconds",
        "seconds",
        "label_set",
        "How long the oldest shard that is under way at this driver has been so; 0 without any.",
    ),
    _histogram(
        "factory_commit_seconds",
        "seconds",
        "label_set",
        "How long the catalog took to commit a shard, waiting for a catalog that was away "
        "included; Ray only estimates the sum, so take quantiles and no mean.",
        buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0),
    ),
)

DRIVERS = (
    _gauge(
        "factory_actors",
        "actors",
        "verb target state",
        "Actors of a verb, ready or starting; of training its workers, once they are there.",
        how="sum",
    ),
    _counter(
        "factory_actors_lost_total",
        "actors",
        "verb target",
        "Actors that died, were killed for their deadline or replaced after failures in a row.",
        rare=True,
    ),
    _gauge(
        "factory_driver_beat_timestamp_seconds",
        "seconds since 1970",
        "verb target",
        "When the driver last turned its loop, by its own clock; that of training (verb train) is "
        "its first worker, which writes every five seconds and with each checkpoint.",
    ),
    _gauge(
        "factory_driver_end_timestamp_seconds",
        "seconds since 1970",
        "verb target",
        "When a driver ended in order or because it was asked to, told for half a minute; one that "
        "failed or was killed leaves none, and that tells them apart.",
    ),
)

INGEST = (
    _counter(
        "factory_ingested_images_total",
        "images",
        "source",
        "Images of shards that this driver committed; what was read without Ray is not in it.",
    ),
    _counter(
        "factory_dropped_images_total",
        "images",
        "source reason",
        "Samples that were refused, committed with their reasons.",
    ),
)

EVALUATE = (
    _counter(
        "factory_evaluated_images_total",
        "images",
        "model source",
        "Images that were scored, of parts that are done; what an earlier run scored is not in it.",
    ),
)

TRAINING = (
    _gauge(
        "factory_training_loss",
        "1",
        "run model term",
        "Mean loss of the steps of the last five seconds or more, over all workers: total is what "
        "is minimised, the others its parts.",
    ),
    _gauge(
        "factory_training_validation",
        "1",
        "run model metric",
        "Score at the newest checkpoint, over all images that are scored.",
    ),
    _gauge("factory_training_step", "steps", "run model", "Optimiser steps done."),
    _gauge("factory_training_steps", "steps", "run model", "Optimiser steps of the whole run."),
    _counter(
        "factory_training_images_total",
        "images",
        "run model kind",
        "Images trained on by all workers, labelled or pseudo; steps that are done again after a "
        "restart count again.",
    ),
    _gauge(
        "factory_training_data_wait_ratio",
        "share, 0 to 1",
        "run model",
        "Share of the time of the same steps that the first worker waited for its input.",
    ),
    _gauge(
        "factory_training_learning_rate",
        "1",
        "run model part",
        "Learning rate of the last step, by part of the network.",
    ),
    _counter(
        "factory_training_not_finite_total",
        "steps",
        "run model",
        "Steps that were refused because loss or gradient was not finite; each ends its run.",
        rare=True,
    ),
)

METRICS = (*LABEL, *DRIVERS, *INGEST, *EVALUATE, *TRAINING)
BY_NAME = {metric.name: metric for metric in METRICS}

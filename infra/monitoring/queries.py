"""PromQL for panels and alerts, over the names of `jobs.metrics`.

Two things recur. Shards are committed whole, so that a rate over a minute or two is nought and then
a peak: rates are taken over five minutes, shares of time over fifteen. And a counter begins with
what its process had counted when Prometheus first asked, which ``rate`` and ``increase`` never see:
`gained` counts it.
"""

from jobs.metrics import BY_NAME, PREFIX

RATE, SHARE, RECENT = "5m", "15m", "1h"
SET = '{label_set=~"$label_set"}'
RUN = '{run=~"$run"}'


def series(name: str, selector: str = "", *, suffix: str = "") -> str:
    """One of the factory's metrics as Prometheus knows it.

    Raises:
        KeyError: It is not in the table.
    """
    return f"{PREFIX}{BY_NAME[name].name}{suffix}{selector}"


def summed(expr: str, *tags: str) -> str:
    """The sum over all series that agree in these tags."""
    return f"sum by ({', '.join(tags)}) ({expr})"


def largest(expr: str, *tags: str) -> str:
    """The largest of the series that agree in these tags."""
    return f"max by ({', '.join(tags)}) ({expr})"


def gained(counter: str, *tags: str, over: str = RECENT) -> str:
    """What counters gained lately, also those that were not there before."""
    return summed(f"{counter} - {counter} offset {over} or {counter}", *tags)


def images_left(selector: str = SET, *, over: str = "") -> str:
    """Of a set, now or when it was last said; its drivers all say the same of a source."""
    left = series("factory_images_left", selector)
    left = f"last_over_time({left}[{over}])" if over else left
    return summed(largest(left, "label_set", "source"), "label_set")


def quarantined_share(selector: str = SET, *, over: str = RECENT) -> str:
    """Of the images that were committed lately, by set and source."""
    tags = ("label_set", "source")
    bad = gained(series("factory_quarantined_images_total", selector), *tags, over=over)
    good = gained(series("factory_labelled_images_total", selector), *tags, over=over)
    return f"{bad} / ({bad} + {good} or {bad})"


def rate(name: str, selector: str, *tags: str, over: str = RATE) -> str:
    """How fast a counter grows, per second."""
    return summed(f"rate({series(name, selector)}[{over}])", *tags)


def commit_seconds(quantile: float, selector: str = SET) -> str:
    """A quantile of how long commits took lately, by label set."""
    buckets = series("factory_commit_seconds", selector, suffix="_bucket")
    rates = summed(f"rate({buckets}[{SHARE}])", "label_set", "le")
    return f"histogram_quantile({quantile}, {rates})"

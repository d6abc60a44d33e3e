"""What a terminal shows of `factory plan`: what decides first, in 80 columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.readable import printable, readable_bytes, readable_duration, readable_number

Record = Mapping[str, Any]
Rows = Sequence[Record]
KEYS = {"basis", "on_devices", "stage_rates", "measurement"}
STAGES = {
    "read": "read",
    "decode": "decode, resize",
    "network": "network",
    "encode": "encode",
    "write": "write",
}
LIMITS = {
    "network": "the network",
    "threads": "the threads that decode and encode",
    "read": "reading from the store",
    "write": "writing labels",
}
NOTHING = "–"
WORDS = ("source", "alone", "with")  # columns that begin at the left


def is_plan(summary: Record) -> bool:
    """Whether a summary is one of `factory plan`."""
    return summary.keys() >= KEYS


def plan_block(summary: Record) -> RenderableType:
    """All of it but the measurement, which is for programs."""
    blocks: list[RenderableType] = [_head(summary)]
    if len(summary["per_source"]) > 1:
        blocks.append(_sources(summary["per_source"]))
    blocks += [_stages(summary["stage_rates"]), _devices(summary["on_devices"])]
    if runs := summary.get("simulated"):
        blocks.append(_simulated(runs))
    return Group(*blocks)


def _head(summary: Record) -> RenderableType:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="bold")
    lines.add_column(overflow="fold")
    for name, said in _facts(summary).items():
        lines.add_row(Text(name), Text(printable(said)))
    return lines


def _facts(summary: Record) -> dict[str, str]:
    refused, monthly = summary["refused_images"], summary.get("cost_per_month")
    rate, each = (
        readable_number(summary["images_per_s"]),
        readable_bytes(summary["bytes_per_label"]),
    )
    return {
        "label set": f"{summary['label_set']}, by {summary['teacher']} in {summary['precision']}",
        "forecast": summary["basis"],
        "from": _count(summary["measured_images"], "image")
        + f" of {_count(summary['measured_sizes'], 'size')}"
        + (f", {refused:,} of them unreadable" if refused else "")
        + f", in batches of {summary['batch_size']}",
        "to label": f"{_count(summary['images'], 'image')} in "
        f"{_count(summary['shards'], 'shard')}, {readable_bytes(summary['bytes_to_read'])} to read",
        "labels": f"{readable_bytes(summary['bytes'])}, {each} each"
        + (f"; {_money(monthly)} a month" if monthly is not None else ""),
        "a device": f"{rate} images/s"
        f" ({_range(summary['images_per_s_low'], summary['images_per_s_high'])}),"
        f" limited by {LIMITS[summary['limited_by']]}",
        "threads": f"{summary['threads']:,} beside a device; "
        f"{readable_number(summary['threads_needed'])} would keep its network busy",
    }


def _sources(parts: Rows) -> RenderableType:
    columns = ("source", "images", "shards", "to read", "labels", "device hours")
    rows = (
        (
            printable(part["source"]),
            f"{part['images']:,}",
            f"{part['shards']:,}",
            readable_bytes(part["bytes_to_read"]),
            readable_bytes(part["bytes"]),
            readable_number(part["device_hours"]),
        )
        for part in parts
    )
    return _table("sources", columns, rows)


def _stages(stages: Rows) -> RenderableType:
    """What each could do alone; ``wanted`` threads keep the network busy."""
    columns = ("alone", "images/s", "ms/image", "threads", "wanted", "MB/s")
    rows = (
        (
            STAGES[stage["stage"]],
            readable_number(stage["images_per_s"]),
            f"{stage['ms_per_image']:,.3g}",
            _or_nothing(stage["threads"]),
            _or_nothing(stage["threads_needed"]),
            _or_nothing(stage["mb_per_s"]),
        )
        for stage in stages
    )
    return _table("stages of one device", columns, rows)


def _devices(devices: Rows) -> RenderableType:
    has_costs = any("cost_low" in row for row in devices)
    columns = ("devices", "time", "from – to", "images/s", "MB/s", "paid, h", "cost")
    rows = (
        (
            f"{row['devices']:,}",
            row["time"],
            _durations(row["hours_low"], row["hours_high"]),
            readable_number(row["images_per_s"]),
            readable_number(row["read_mb_per_s"]),
            readable_number(row["gpu_hours"]),
            _costs(row) if has_costs else NOTHING,
        )
        for row in devices
    )
    kept = len(columns) if has_costs else len(columns) - 1
    return _table("wall time", columns[:kept], (row[:kept] for row in rows))


def _simulated(runs: Rows) -> RenderableType:
    columns = (
        "devices", "with", "time", "paid, h", "wasted", "idle", "failed", "catalog/s", "peak",
    )  # fmt: skip
    rows = (
        (
            f"{run['devices']:,}",
            run["scenario"],
            readable_duration(3600 * run["hours"]),
            readable_number(run["gpu_hours"]),
            f"{run['wasted']:.1%}",
            f"{run['idle']:.1%}",
            f"{run['shards_failed']:,}",
            f"{run['catalog_per_s']:.2g}",
            f"{run['catalog_peak_per_s']:.0f}",
        )
        for run in runs
    )
    return _table("simulated, with what goes wrong", columns, rows)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.title, table.title_justify, table.title_style = title, "left", "bold"
    for column in columns:
        justify: Literal["left", "right"] = "left" if column in WORDS else "right"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column != "source")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _or_nothing(value: float | None) -> str:
    return NOTHING if value is None else readable_number(value)


def _range(low: float, high: float) -> str:
    first, last = readable_number(low), readable_number(high)
    return first if first == last else f"{first} to {last}"


def _durations(low_h: float, high_h: float) -> str:
    """Of one unit, so that the two can be compared at a glance."""
    unit, scale = next(
        (unit, scale)
        for unit, scale in (("d", 1 / 24), ("h", 1.0), ("min", 60.0), ("s", 3600.0))
        if high_h * scale >= 1.5 or unit == "s"
    )
    return f"{_range(low_h * scale, high_h * scale).replace(' to ', ' – ')} {unit}"


def _costs(row: Record) -> str:
    return f"{_money(row['cost_low'])} – {_money(row['cost_high'])}"


def _money(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"

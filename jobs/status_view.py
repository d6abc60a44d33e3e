"""What a terminal shows of `factory status`: blocks that can be read at a glance in 80 columns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.label_view import REASONS_SHOWN
from jobs.readable import printable, readable_duration, readable_number

Record = Mapping[str, Any]
KEYS = {"label_sets", "ingests", "trainings", "evaluations", "drivers", "waiting", "errors"}
WIDTH_IN_FILES = 100
STYLES = {"running": "green", "silent": "yellow", "gone": "red", "failed": "red"}
WITH_SECTIONS = ("label", "ingest", "evaluate", "train-teacher", "train-student", "finetune-metric")
LIVES = ("running", "silent", "gone")
MOST_SOURCES = 12
MOST_ENDED = 5
MOST_CHARACTERS = 300


def is_status(summary: Record) -> bool:
    """Whether a summary is one of `factory status`."""
    return summary.keys() >= KEYS


def show_each(summaries: Iterable[Record], stream: TextIO) -> None:
    """Draw each over the one before on a terminal; elsewhere one below the other."""
    console = Console(file=stream, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        console = Console(file=stream, highlight=False, width=WIDTH_IN_FILES)
        for summary in summaries:
            console.print(status_block(summary))
            console.print()
            stream.flush()
        return
    with Live(console=console, auto_refresh=False) as live:
        for summary in summaries:
            live.update(status_block(summary), refresh=True)


def status_block(summary: Record) -> RenderableType:
    """All of it; sections without anything are left out."""
    parts = list(_sections(summary))
    head = Text(f"{printable(summary['catalog'])}  {summary['at']} UTC", style="dim")
    nothing = [Text("nothing runs, and nothing waits")]
    return Group(head, *(parts or nothing))


def _sections(summary: Record) -> Iterator[RenderableType]:
    for record in summary["label_sets"]:
        yield from _label_set(record)
    for record in summary["trainings"]:
        yield from _training(record)
    done = [record for record in summary["ingests"] if record["state"] == "done"]
    for record in summary["ingests"]:
        if record["state"] != "done":
            yield from _ingest(record)
    if done:
        yield from _titled("ingested", _ingested(done))
    for record in summary["evaluations"]:
        yield from _evaluation(record)
    if summary["waiting"]:
        yield from _titled("waits for somebody", _waiting(summary["waiting"]))
    if summary["drivers"]:
        yield from _titled("drivers", _drivers(summary["drivers"]))
    if summary["errors"]:
        yield from _titled("last errors", _errors(summary["errors"]))


def _titled(title: str, content: RenderableType) -> Iterator[RenderableType]:
    yield Text(f"\n{title}", style="bold")
    yield content


def _label_set(record: Record) -> Iterator[RenderableType]:
    name, teacher = printable(record["label_set"]), printable(record["teacher"])
    done, total = record["done_images"], record["images"]
    title = Text(f"\nlabel {name}", style="bold").append(f" by {teacher}", style="not bold")
    yield title.append(f"  {_percent(done, total)}{done:,} of {total:,} images", style="not bold")
    facts = {"pace": ", ".join(_pace(record))}
    if record["drivers"]:
        facts["actors"] = _actors(record)
    if bad := _bad(record):
        facts["bad"] = bad
    yield _facts(facts)
    if len(record["sources"]) > 1:
        yield _sources(record["sources"])


def _pace(record: Record) -> Iterator[str]:
    """Rate, time left and what it took."""
    if (rate := record["images_per_s"]) is not None:
        yield f"{readable_number(rate)} images/s"
    left, eta = record.get("left_images"), record["eta_s"]
    if left == 0:
        yield "all done"
    elif eta is not None:
        yield f"{readable_duration(eta)} left"
    elif left:
        yield f"{left:,} images left, no rate yet" if record["drivers"] else f"{left:,} images left"
    yield from _cost(record)


def _cost(record: Record) -> Iterator[str]:
    if record["gpu_hours"]:
        yield f"{readable_number(record['gpu_hours'])} GPU hours so far"
    elif record["actor_hours"]:
        yield f"{readable_number(record['actor_hours'])} actor hours on CPUs so far"
    if record["cost"]:
        yield f"cost {record['cost']:,.2f}"


def _actors(record: Record) -> str:
    actors = record["actors"]
    said = [f"{actors['ready']} ready"]
    said += [f"{actors[state]} {state}" for state in ("starting", "lost") if actors[state]]
    on = f" on {', '.join(record['devices'])}" if record.get("devices") else ""
    drivers = record.get("drivers", 1)
    of = f" of {drivers} drivers" if drivers > 1 else ""
    return f"{', '.join(said)}{on}{of}"


def _bad(record: Record) -> str:
    reasons = list(record["quarantined"].items())
    said = []
    if reasons:
        listed = [f"{reason} {count:,}" for reason, count in reasons[:REASONS_SHOWN]]
        listed += ["…"] if len(reasons) > REASONS_SHOWN else []
        said.append(f"{sum(record['quarantined'].values()):,} quarantined ({', '.join(listed)})")
    if failed := record["failed_shards"]:
        said.append(f"{failed:,} shard{'s' if failed > 1 else ''} failed")
    return ", ".join(said)


def _sources(sources: Sequence[Record]) -> RenderableType:
    """Those that move first, then those that wait, then those that are done."""
    ranked = sorted(sources, key=lambda row: (not row["images_per_s"], not row["left_images"]))
    table = _grid("source", "done", "of", "images/s", "left", "bad")
    for row in ranked[:MOST_SOURCES]:
        rate, eta = row["images_per_s"], row["eta_s"]
        bad = row["quarantined_images"] + row["failed_images"]
        table.add_row(
            Text(f"  {printable(row['source'])}"),
            f"{row['done_images']:,}",
            f"{row['images']:,}",
            "" if rate is None else readable_number(rate),
            "" if eta is None or not row["left_images"] else readable_duration(eta),
            f"{bad:,}" if bad else "",
        )
    others = len(ranked) - MOST_SOURCES
    return Group(table, *([Text(f"    and {others} more", style="dim")] if others > 0 else []))


def _training(record: Record) -> Iterator[RenderableType]:
    step, steps = record["step"], record["steps"]
    title = _run_title("train", record["name"], record["state"])
    if step is not None and steps:
        title.append(f"  {_percent(step, steps)}step {step:,} of {steps:,}", style="not bold")
    yield title
    pace = []
    if record["loss"] is not None:
        pace.append(f"loss {record['loss']:.4f}")
    if record["validation"] is not None:
        pace.append(f"validation {record['validation']:.4f}")
    if record["images_per_s"] is not None:
        pace.append(f"{readable_number(record['images_per_s'])} images/s")
    if record["eta_s"] is not None:
        pace.append(f"{readable_duration(record['eta_s'])} left")
    if (record["data_wait_share"] or 0.0) >= 0.01:
        pace.append(f"{record['data_wait_share']:.0%} waiting for data")
    facts = {"pace": ", ".join([*pace, *_cost(record)])}
    if record["workers"]:
        many = f"{record['workers']} worker{'s' if record['workers'] > 1 else ''}"
        facts["on"] = f"{many}, {', '.join(record['devices'])}".strip(", ")
    yield _facts(facts)


def _ingest(record: Record) -> Iterator[RenderableType]:
    yield _run_title("ingest", record["source"], record["state"])
    said = [f"{record['images']:,} images committed"]
    if record["dropped_images"]:
        said.append(f"{record['dropped_images']:,} refused")
    if record["images_per_s"] is not None:
        said.append(f"{readable_number(record['images_per_s'])} images/s")
    facts = {"pace": ", ".join(said)}
    if any(record["actors"].values()):
        facts["actors"] = _actors(record)
    yield _facts(facts)


def _ingested(records: Sequence[Record]) -> RenderableType:
    """What is over: a line each."""
    table = _grid("source", "images", "refused")
    for record in records:
        refused = f"{record['dropped_images']:,}" if record["dropped_images"] else ""
        table.add_row(Text(f"  {printable(record['source'])}"), f"{record['images']:,}", refused)
    return table


def _evaluation(record: Record) -> Iterator[RenderableType]:
    title = _run_title("evaluate", record["models"], record["state"])
    done, total = record["done_images"], record["images"]
    if done is not None and total:
        title.append(f"  {_percent(done, total)}{done:,} of {total:,} images", style="not bold")
    yield title


def _run_title(verb: str, name: str, state: str) -> Text:
    title = Text(f"\n{verb} {_line(name)}", style="bold")
    return title.append(f"  {state}", style=STYLES.get(state, "not bold"))


def _waiting(records: Sequence[Record]) -> RenderableType:
    lines: list[RenderableType] = []
    for record in records:
        left = record["left_images"]
        amount = f", {left:,} images left" if left else ""
        lines.append(_indented(Text(f"{_line(record['what'])}{amount}: {record['why']}")))
        if record["command"]:
            command = Text(f"→ {printable(record['command'])}", style="italic")
            lines.append(_indented(command, by=4))
    return Group(*lines)


def _drivers(records: Sequence[Record]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    living = [record for record in records if record["state"] in LIVES]
    over = [record for record in records if record["state"] not in LIVES]
    ended = sorted(over, key=lambda each: float(each["seen_s_ago"]))
    for record in [*living, *ended[:MOST_ENDED]]:
        state = record["state"]
        table.add_row(
            Text(f"  {state}", style=STYLES.get(state, "dim")),
            Text(_line(f"{record['verb']} {record['target']}")),
            Text(_life(record)),
        )
    others = len(ended) - MOST_ENDED
    more = Text(f"  and {others} more that ended within an hour", style="dim")
    return Group(table, *([more] if others > 0 else []))


def _life(record: Record) -> str:
    pid = "" if record["pid"] is None else f"process {record['pid']} on "
    where = f"{pid}{_line(record['host'])}"
    age, seen = readable_duration(record["age_s"]), readable_duration(record["seen_s_ago"])
    if record["state"] == "running":
        return f"{where}, for {age}{_doing(record)}"
    if record["state"] == "silent":
        return f"{where}, not heard of for {seen}: dead, or away from the catalog"
    if record["state"] == "gone":
        return f"{where} is no more; last heard of {seen} ago"
    return f"{where}, ended {seen} ago after {age}"


def _doing(record: Record) -> str:
    """Of verbs that have no section of their own."""
    if record["verb"] in WITH_SECTIONS or not record["of"]:
        return ""
    done, total, unit = record["done"], record["of"], record["unit"] or ""
    return f", {_percent(done, total)}{done:,} of {total:,} {unit}".rstrip()


def _errors(records: Sequence[Record]) -> RenderableType:
    lines: list[RenderableType] = []
    for record in records:
        ago = readable_duration(record["age_s"])
        lines.append(_indented(Text(f"{ago} ago, {_line(record['what'])}")))
        lines.append(_indented(Text(_line(record["error"])), by=4))
    return Group(*lines)


def _line(text: str) -> str:
    """What came from elsewhere, on one line and cut: paths may be long, and have line breaks."""
    line = " ".join(printable(text).split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 1]}…"


def _indented(text: Text, by: int = 2) -> RenderableType:
    """Folded lines too."""
    return Padding(text, (0, 0, 0, by))


def _facts(facts: Mapping[str, str]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts.items():
        if text:
            table.add_row(Text(f"  {name}"), Text(_line(text), "yellow" * (name == "bad")))
    return table


def _grid(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(f"  {names[0]}", max_width=28, overflow="ellipsis", no_wrap=True)
    for name in names[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _percent(done: int, total: int) -> str:
    """Rounded down, so that 100 % means all of it."""
    return f"{100 * done // total}%, " if total else ""

"""What somebody who watches `factory label` sees: one state of a run, as a block and as a line.

All of it is computed here from one frozen record, so that it can be looked at without a run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobs.label_tally import Stretch
from jobs.readable import printable, readable_duration, readable_number

SHARDS_IN_FLIGHT = 2  # per actor: one that is read and decoded while another is encoded and written
MOST_SOURCES = 6
OTHER_LINES = 7  # of the block, and the prompt below it
NARROW_LINES = 4  # more, where lines are folded
BAR_WIDTH, SOURCE_BAR_WIDTH, NAME_WIDTH = 40, 20, 24
NARROW = 60  # columns; below it bars are left out
STAGES = {
    "device": ("forward",),
    "decode and encode": ("decode", "encode"),
    "store": ("read", "write"),
}
REASONS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class SourceProgress:
    """Images of one source, labelled or quarantined, and in all."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelView:
    """A state of a labelling run.

    Attributes:
        done: Images of the label set that are labelled or quarantined, by whomever.
        total: Images of the label set in the sources that are worked on.
        left: Images that this run is still going to do.
        elapsed_s: Since the run began.
        recent: The last minutes.
        threads: Decoding and encoding threads per actor.
        quarantined: Images of the label set per reason.
        trouble: What keeps everything waiting; None where nothing does.
    """

    label_set: str
    done: int = 0
    total: int = 0
    left: int = 0
    failed_shards: int = 0
    elapsed_s: float = 0.0
    recent: Stretch = field(default_factory=Stretch)
    threads: int = 1
    sources: Sequence[SourceProgress] = ()
    quarantined: Mapping[str, int] = field(default_factory=dict)
    actors_ready: int = 0
    actors_starting: int = 0
    actors_lost: int = 0
    trouble: str | None = None

    def line(self) -> str:
        """All of it in one line of a log."""
        parts = [f"label {self.label_set}: {_amount(self)}{_percent(self)}", *_pace(self)]
        if len(self.sources) > 1:
            whole = sum(each.done == each.total for each in self.sources)
            parts.append(f"{whole} of {len(self.sources)} sources done")
        parts += [f"actors: {_actors(self)}", *_busy(self)]
        parts += [text for text in (_quarantined(self), _failed(self), self.trouble) if text]
        return "; ".join(parts)

    def block(self, *, height: int) -> RenderableType:
        """All of it on at most ``height`` lines of a terminal."""
        return _Block(self, height)


def images_per_s(view: LabelView) -> float | None:
    """Of the last minutes; None before the first commit."""
    recent = view.recent
    return recent.images / recent.seconds if recent.images and recent.seconds > 0 else None


def eta_s(view: LabelView) -> float | None:
    """How long what is left takes at the rate of the last minutes."""
    rate = images_per_s(view)
    return view.left / rate if rate else None


def utilisation(recent: Stretch, *, threads: int) -> dict[str, float]:
    """How busy device, threads and store are, each 0..1 of what the actors there were could do.

    An actor has one device, ``threads`` threads that decode and encode, and two shards under way,
    each of which can wait for the store. Empty before anything was committed.
    """
    room = {"device": 1, "decode and encode": threads, "store": SHARDS_IN_FLIGHT}
    if recent.actor_s <= 0:
        return {}
    shares = {}
    for name, stages in STAGES.items():
        seconds = [recent.stages[stage] for stage in stages if stage in recent.stages]
        if seconds:
            shares[name] = min(1.0, sum(seconds) / (room[name] * recent.actor_s))
    return shares


def waited_for(shares: Mapping[str, float]) -> str | None:
    """What the other stages wait for: the busiest; None where nobody knows of two of them."""
    return max(shares, key=lambda name: shares[name]) if len(shares) > 1 else None


def shown_sources(
    sources: Sequence[SourceProgress], most: int
) -> tuple[list[SourceProgress], list[SourceProgress]]:
    """At most ``most`` sources, those under way first, in their order; and all others."""
    if len(sources) <= most:
        return list(sources), []
    by_interest = sorted(sources, key=_stage_of)
    shown = by_interest[:most]
    return [each for each in sources if each in shown], by_interest[most:]


def _stage_of(source: SourceProgress) -> int:
    """0 under way, 1 not begun, 2 done."""
    if source.done == source.total:
        return 2
    return 0 if source.done else 1


@dataclass(frozen=True, slots=True)
class _Block:
    """The view as rich draws it: it learns only then how wide the terminal is."""

    view: LabelView
    height: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        view, narrow = self.view, options.max_width < NARROW
        other_lines = OTHER_LINES + (NARROW_LINES if narrow else 0)
        most = max(1, min(MOST_SOURCES, self.height - other_lines))
        yield _header(view, narrow=narrow)
        yield Text(", ".join([_amount(view), *_pace(view)]))
        if len(view.sources) > 1:
            yield _sources(view.sources, most, narrow=narrow)
        yield _facts(view)


def _header(view: LabelView, *, narrow: bool) -> RenderableType:
    title = Text(f"label {printable(view.label_set)}", style="bold")
    if narrow:
        return title.append(_percent(view), style="default")
    return _row(
        title,
        ProgressBar(total=max(view.total, 1), completed=view.done, width=BAR_WIDTH),
        Text(_percent(view).strip(" ()")),
    )


def _sources(sources: Sequence[SourceProgress], most: int, *, narrow: bool) -> RenderableType:
    shown, others = shown_sources(sources, most)
    rows = Table.grid(padding=(0, 1))
    rows.add_column(max_width=NAME_WIDTH, overflow="ellipsis", no_wrap=True)
    rows.add_column(no_wrap=True)
    rows.add_column(no_wrap=True, justify="right")
    for each in shown:
        bar = ProgressBar(
            total=max(each.total, 1), completed=each.done, width=0 if narrow else SOURCE_BAR_WIDTH
        )
        amount = Text(f"{each.done:,} of {each.total:,}")
        rows.add_row(Text(f"  {printable(each.name)}"), Text() if narrow else bar, amount)
    return Group(rows, *([Text(f"  {_others(others)}", style="dim")] if others else []))


def _others(others: Sequence[SourceProgress]) -> str:
    kinds = [_stage_of(each) for each in others]
    names = ((0, "under way"), (1, "not begun"), (2, "done"))
    counted = ", ".join(f"{kinds.count(kind)} {name}" for kind, name in names if kind in kinds)
    return f"and {len(others)} more sources: {counted}"


def _facts(view: LabelView) -> RenderableType:
    facts = {"actors": Text(_actors(view))}
    if busy := _busy(view):
        facts["busy"] = Text(", ".join(busy))
    bad = ", ".join(text for text in (_quarantined(view), _failed(view)) if text)
    if bad:
        facts["bad"] = Text(bad, style="yellow")
    if view.trouble:
        facts["waiting"] = Text(printable(view.trouble), style="yellow")
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, text in facts.items():
        table.add_row(Text(name), text)
    return table


def _row(*cells: RenderableType) -> Table:
    row = Table.grid(padding=(0, 2))
    row.add_row(*cells)
    return row


def _amount(view: LabelView) -> str:
    return f"{view.done:,} of {view.total:,} images"


def _percent(view: LabelView) -> str:
    """Rounded down, so that 100 % means all of it."""
    return f" ({100 * view.done // view.total}%)" if view.total else ""


def _pace(view: LabelView) -> list[str]:
    rate, left_s = images_per_s(view), eta_s(view)
    pace = [] if rate is None else [f"{readable_number(rate)} images/s"]
    if left_s is not None and view.left:
        pace.append(f"{readable_duration(left_s)} left")
    return [*pace, f"{readable_duration(view.elapsed_s)} so far"]


def _actors(view: LabelView) -> str:
    counted = [f"{view.actors_ready} ready"]
    counted += [f"{view.actors_starting} starting"] if view.actors_starting else []
    counted += [f"{view.actors_lost} lost"] if view.actors_lost else []
    return ", ".join(counted)


def _busy(view: LabelView) -> list[str]:
    shares = utilisation(view.recent, threads=view.threads)
    busiest = waited_for(shares)
    said = [f"{name} {share:.0%}" for name, share in shares.items()]
    return [*said, *([f"the rest waits for {busiest}"] if busiest else [])]


def _quarantined(view: LabelView) -> str:
    most = sorted(view.quarantined.items(), key=lambda item: (-item[1], item[0]))
    if not most:
        return ""
    reasons = [f"{reason} {count:,}" for reason, count in most[:REASONS_SHOWN]]
    reasons += [f"{len(most) - REASONS_SHOWN} more reasons"] if len(most) > REASONS_SHOWN else []
    return f"{sum(view.quarantined.values()):,} quarantined ({', '.join(reasons)})"


def _failed(view: LabelView) -> str:
    if not view.failed_shards:
        return ""
    return f"{view.failed_shards:,} shard{'s' if view.failed_shards > 1 else ''} failed"

import io
import re

import pytest
from rich.console import Console

from jobs.console import LineReporter, Reporter, SilentReporter, TerminalReporter, reporter_for


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(clock, stream):
    reporter = LineReporter(stream, clock=clock)
    with reporter.progress("label photos", 100) as bar:
        for _ in range(100):
            clock.now_s += 0.25
            bar.advance()
    assert stream.getvalue().splitlines() == [
        "label photos: 40 of 100 images (40%), 4.0 images/s, 15 s left",
        "label photos: 80 of 100 images (80%), 4.0 images/s, 5.0 s left",
        "label photos: 100 images in 25 s, 4.0 images/s",
    ]


def test_what_was_done_before_is_in_no_rate(clock, stream):
    with LineReporter(stream, clock=clock).progress("train", 1000, unit="steps") as bar:
        clock.now_s += 30
        bar.start_at(900)
        clock.now_s += 20
        bar.advance(40)
        clock.now_s += 5
        bar.advance(60)
    assert stream.getvalue().splitlines() == [
        "train: 940 of 1,000 steps (94%), 2.0 steps/s, 30 s left",
        "train: 1,000 steps in 25 s, 4.0 steps/s",
    ]


def test_a_terminal_starts_where_somebody_stopped(stream):
    console = Console(file=stream, force_terminal=True, width=120)
    with TerminalReporter(console).progress("train", 1000, unit="steps") as bar:
        bar.start_at(900)
        bar.advance(25)
    assert "925 / 1,000 steps" in stream.getvalue()


def test_without_a_total_there_is_no_share_and_no_time_left(clock, stream):
    with LineReporter(stream, clock=clock).progress("ingest", None, unit="files") as bar:
        clock.now_s += 20
        bar.describe("b.tar")
        bar.advance(5)
    assert stream.getvalue().splitlines() == [
        "ingest: 5 files, 0.2 files/s, b.tar",
        "ingest: 5 files in 20 s, 0.2 files/s",
    ]


def test_work_that_fails_says_how_far_it_came(clock, stream):
    with (
        pytest.raises(KeyboardInterrupt),
        LineReporter(stream, clock=clock).progress("label", 10) as bar,
    ):
        bar.advance(4)
        raise KeyboardInterrupt
    assert stream.getvalue() == "label: stopped after 4 of 10 images\n"


def test_nothing_to_do_takes_no_time(clock, stream):
    with LineReporter(stream, clock=clock).progress("label", 0):
        pass
    assert stream.getvalue() == "label: 0 images in 0.0 s, – images/s\n"


def test_notes_and_warnings_are_lines(stream):
    reporter = LineReporter(stream)
    reporter.note("read [bold]a.jpg[/bold]")
    reporter.warn("odd")
    assert stream.getvalue() == "read [bold]a.jpg[/bold]\nwarning: odd\n"


def test_names_cannot_steer_a_terminal(stream):
    LineReporter(stream).note("a\x1b[2Jb\rc")
    assert stream.getvalue() == "a\\x1b[2Jb\\rc\n"


def test_the_right_reporter_for_the_stream(stream):
    assert isinstance(reporter_for(stream), LineReporter)
    assert isinstance(Reporter.silent(), SilentReporter)


def test_a_silent_reporter_writes_nothing(capfd):
    reporter = Reporter.silent()
    reporter.note("a")
    reporter.warn("b")
    with reporter.progress("c", 1) as bar:
        bar.advance()
        bar.describe("d")
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_amount_rate_and_nested_bars(stream):
    console = Console(file=stream, force_terminal=True, width=120, color_system=None)
    reporter = TerminalReporter(console)
    with reporter.progress("label [x]", 2000) as outer:
        outer.advance(1500)
        with reporter.progress("shard", None, unit="rows") as inner:
            inner.advance(7)
            inner.describe("a.jpg")
        reporter.warn("b.jpg is [odd]\x1b[2J")
        outer.advance(500)
    shown = stream.getvalue()
    for expected in ("label [x]", "2,000 / 2,000 images", "7 rows", "a.jpg", "b.jpg is [odd]\\x1b"):
        assert expected in shown


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_terminal_cuts_what_is_being_done_and_no_number(stream, width):
    console = Console(file=stream, force_terminal=True, width=width, color_system=None)
    with TerminalReporter(console).progress("train student", 160_000, unit="steps") as bar:
        bar.advance(1500)
        bar.describe("loss 1.3265, validation 1.3802, lr 1.5e-06, 36.1 images/s, 12% waiting")
    last = re.split(r"\r|\x1b\[2K", stream.getvalue().rstrip("\x1b[?25h").rstrip())[-1]
    assert "\n" not in last
    assert "1,500 / 160,000 steps" in last
    assert "loss" in last
    assert "…" in last


def test_a_terminal_can_show_one_piece_of_work_after_another(stream):
    reporter = TerminalReporter(Console(file=stream, force_terminal=True, width=120))
    for title in ("first", "second"):
        with reporter.progress(title, 1) as bar:
            bar.advance()
    assert "second" in stream.getvalue()


class Counted:
    """A view that says how often one was made."""

    made = 0

    def __init__(self):
        Counted.made += 1

    def line(self) -> str:
        return f"view {self.made}"

    def block(self, *, height: int) -> str:
        return f"block {self.made} of {height}"


@pytest.fixture
def counted():
    Counted.made = 0
    return Counted


def test_a_log_gets_a_view_every_ten_seconds_and_one_at_the_end(clock, stream, counted):
    with LineReporter(stream, clock=clock).screen() as screen:
        for _ in range(100):
            clock.now_s += 0.25
            screen.show(counted)
    assert stream.getvalue().splitlines() == ["view 1", "view 2", "view 3"]


def test_a_stopped_run_shows_where_it_stopped(clock, stream, counted):
    with pytest.raises(KeyboardInterrupt), LineReporter(stream, clock=clock).screen() as screen:
        screen.show(counted)
        raise KeyboardInterrupt
    assert stream.getvalue() == "view 1\n"


def test_a_terminal_draws_some_views_and_the_last_one(stream, counted):
    console = Console(file=stream, force_terminal=True, width=80, height=24, color_system=None)
    reporter = TerminalReporter(console)
    with reporter.screen() as screen:
        for _ in range(1000):
            screen.show(counted)
        reporter.warn("odd")
    assert counted.made < 100
    shown = stream.getvalue()
    assert f"block {counted.made} of 24" in shown
    assert shown.index("odd") < shown.rindex("block")


def test_nobody_who_does_not_listen_pays_for_views(counted):
    with Reporter.silent().screen() as screen:
        screen.show(counted)
    assert counted.made == 0


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(reporter_for(Terminal()), LineReporter)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(reporter_for(Terminal()), TerminalReporter)

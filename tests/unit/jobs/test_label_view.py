"""What somebody sees who watches a run: arithmetic, one line, and the block at several sizes."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from jobs.label_tally import Stretch
from jobs.label_view import (
    LabelView,
    SourceProgress,
    eta_s,
    images_per_s,
    shown_sources,
    utilisation,
    waited_for,
)

STAGES = {"read": 10.0, "decode": 60.0, "forward": 180.0, "encode": 20.0, "write": 30.0}
VIEW = LabelView(
    label_set="photos-labels",
    done=12_400,
    total=20_000,
    left=7_500,
    failed_shards=1,
    elapsed_s=301.0,
    recent=Stretch(100.0, 5_000, 200.0, STAGES),
    threads=8,
    sources=(SourceProgress("holidays", 4_000, 4_000), SourceProgress("places", 8_400, 16_000)),
    quarantined={"decode_failed": 3, "truncated": 1},
    actors_ready=2,
    actors_starting=1,
    actors_lost=1,
)


def drawn(view: LabelView, *, width: int, height: int = 24, **console: object) -> list[str]:
    stream = io.StringIO()
    options = {"force_terminal": True, "color_system": None, **console}
    Console(file=stream, width=width, height=height, **options).print(view.block(height=height))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_rate_and_time_left_are_those_of_the_last_minutes() -> None:
    assert images_per_s(VIEW) == 50
    assert eta_s(VIEW) == 150
    nothing_yet = replace(VIEW, recent=Stretch())
    assert images_per_s(nothing_yet) is None
    assert eta_s(nothing_yet) is None


def test_how_busy_each_part_is() -> None:
    shares = utilisation(VIEW.recent, threads=8)
    assert shares == pytest.approx(
        {"device": 180 / 200, "decode and encode": 80 / (8 * 200), "store": 40 / (2 * 200)}
    )
    assert waited_for(shares) == "device"
    starved = utilisation(VIEW.recent, threads=1)
    assert waited_for({**starved, "device": 0.1}) == "decode and encode"
    assert utilisation(Stretch(), threads=8) == {}
    assert waited_for({"device": 0.5}) is None
    assert utilisation(Stretch(1, 1, 1.0, {"forward": 9.0}), threads=8) == {"device": 1.0}


def test_a_line_of_a_log_says_all_of_it() -> None:
    assert VIEW.line() == (
        "label photos-labels: 12,400 of 20,000 images (62%); 50 images/s; 2 min 30 s left; "
        "5 min 1 s so far; 1 of 2 sources done; actors: 2 ready, 1 starting, 1 lost; device 90%; "
        "decode and encode 5%; store 10%; the rest waits for device; "
        "4 quarantined (decode_failed 3, truncated 1); 1 shard failed"
    )


def test_before_anything_is_known_nothing_is_made_up() -> None:
    line = LabelView(label_set="set", total=10, left=10, actors_starting=1).line()
    assert line == "label set: 0 of 10 images (0%); 0.0 s so far; actors: 0 ready, 1 starting"


def test_all_but_one_is_not_all() -> None:
    assert "(99%)" in replace(VIEW, done=19_999).line()
    assert "(100%)" in replace(VIEW, done=20_000).line()


@pytest.mark.parametrize("width", [30, 40, 59, 60, 80, 200])
def test_a_terminal_of_any_width_shows_the_same_facts(width: int) -> None:
    lines = drawn(VIEW, width=width)
    assert all(len(line) <= width for line in lines)
    words = " ".join(" ".join(lines).split())
    for expected in ("12,400 of 20,000", "62%", "50 images/s", "2 ready", "device 90%"):
        assert expected in words
    assert ("━" in words) == (width >= 60)


def test_without_colour_the_bar_still_shows_how_far_it_is() -> None:
    header = drawn(VIEW, width=80, no_color=True)[0]
    assert header.count("━") + header.count("╸") == 40 * 62 // 100 + 1


def test_many_sources_do_not_flood_the_screen() -> None:
    states = [(10, 10)] * 5 + [(4, 10)] * 3 + [(0, 10)] * 4
    sources = [SourceProgress(f"source-{i:02}", done, 10) for i, (done, _) in enumerate(states)]
    shown, others = shown_sources(sources, 6)
    assert [each.name[-2:] for each in shown] == ["05", "06", "07", "08", "09", "10"]
    assert len(others) == 6
    for height, most in ((24, 6), (10, 3), (5, 1)):
        lines = drawn(replace(VIEW, sources=sources), width=80, height=height)
        assert sum("source-" in line for line in lines) == most
        assert any(f"and {12 - most} more sources: " in line for line in lines)
    assert "5 done" in " ".join(drawn(replace(VIEW, sources=sources), width=80))


def test_trouble_is_said_and_names_cannot_steer_the_terminal() -> None:
    view = replace(VIEW, trouble="the catalog does not answer", label_set="a\x1b[2J")
    text = "\n".join(drawn(view, width=80))
    assert "the catalog does not answer" in text
    assert "\x1b" not in text
    assert view.line().endswith("the catalog does not answer")


def test_many_reasons_are_counted_together() -> None:
    reasons = {f"reason_{number}": number + 1 for number in range(10)}
    assert (
        "55 quarantined (reason_9 10, reason_8 9, reason_7 8, 7 more reasons)"
        in replace(VIEW, quarantined=reasons).line()
    )

"""How a training run went: its pace, what happened to it, and how to go on where it ended early."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.readable import readable_time
from jobs.report_page import Fact, Section, Table
from jobs.report_training import Lines, course_charts, pace_charts
from jobs.resume_command import resume_command
from jobs.run_checkpoints import CheckpointEntry
from jobs.run_files import RunFiles
from pipeline.catalog import RunRow

ENDED_EARLY = ("failed", "stopped")
_WORDS = {"began": "workers began", "warned": "warning"}


def course_section(lines: Lines) -> Section | None:
    """Pace, learning rate and gradients over the steps; None where they were not measured."""
    charts = (*pace_charts(lines), *course_charts(lines))
    return Section("course", "Pace and course", charts=charts) if charts else None


def ending_section(
    run: RunRow, files: RunFiles, checkpoints: Sequence[CheckpointEntry], *, step: int
) -> Section | None:
    """Why a run ended early, where, and the command that goes on; None for any other run."""
    if run.state not in ENDED_EARLY:
        return None
    ended = [event for event in files.history() if event["what"] in ENDED_EARLY]
    facts = [Fact("Why", _why(run, ended[-1] if ended else {}))]
    facts.append(Fact("Where", f"after step {step:,}"))
    if checkpoints:
        newest = checkpoints[-1].step
        again = f"steps to be made again: {step - newest:,}" if step > newest else ""
        facts.append(Fact("Goes on from", f"the checkpoint of step {newest:,}", again))
    else:
        facts.append(Fact("Goes on from", "its beginning: it has no checkpoint"))
    command = resume_command(run)
    if command:
        note = "*** stands for a password" if "***" in command else ""
        facts.append(Fact("Command", command, note, code=True))
    return Section("ending", "How it ended", facts=tuple(facts))


def history_section(files: RunFiles) -> Section | None:
    """What happened, by time; None for a run of which nothing is remembered."""
    events = files.history()
    if not events:
        return None
    starts = sum(event["what"] == "began" for event in events)
    text = "Workers began once." if starts == 1 else f"Workers began {starts:,} times."
    rows = tuple(
        (
            readable_time(event["time"]) or "",
            _WORDS.get(event["what"], str(event["what"])),
            _said(event),
        )
        for event in events
    )
    table = Table(("When (UTC)", "What", "Details"), rows, (False,) * 3)
    return Section("history", "What happened", text=text, table=table)


def _why(run: RunRow, event: Mapping[str, Any]) -> str:
    if not event:
        return "Nobody has written it down: the log of the driver may know."
    if event["what"] == "stopped":
        return "Somebody stopped it."
    return _said(event)


def _said(event: Mapping[str, Any]) -> str:
    if event["what"] == "began":
        return f"at step {event.get('step', 0):,} on {event.get('host', '?')}"
    error, text = event.get("error"), str(event.get("text") or "")
    return f"{error}: {text}" if error and text else str(error or text)

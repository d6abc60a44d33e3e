"""A training run as a page: what it was told, how it went, what it read and what it made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.readable import (
    readable_bytes,
    readable_duration,
    readable_setting,
    readable_time,
)
from jobs.report_licences import licences_section
from jobs.report_lineage import lineage_sections, short
from jobs.report_page import Fact, Page, Section, Table
from jobs.report_run_course import course_section, ending_section, history_section
from jobs.report_run_input import input_section
from jobs.report_run_pictures import previews_section
from jobs.report_training import not_finite, settings_facts, training_charts
from jobs.run_checkpoints import CheckpointEntry
from jobs.run_files import RunFiles
from jobs.training_owner import owner_of, where
from jobs.workspace import Workspace
from pipeline.catalog import ModelRow, RunRow


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the store has of a run: of one that is still going on, so far.

    Attributes:
        lines: Of metrics, by step.
        written: What the run wrote down of itself when it began: options, recipe, steps.
        progress: Where it was when it last said so.
    """

    row: RunRow
    files: RunFiles
    lines: Sequence[Mapping[str, Any]]
    checkpoints: Sequence[CheckpointEntry]
    written: Mapping[str, Any]
    progress: Mapping[str, Any]
    model: ModelRow | None

    @property
    def step(self) -> int:
        """Steps done, as far as anything says."""
        last = self.lines[-1]["step"] if self.lines else 0
        return max(int(last), int(self.progress.get("step") or 0))

    @property
    def steps(self) -> int | None:
        """Steps planned."""
        planned = self.written.get("steps") or self.progress.get("steps")
        planned = planned or self.row.config.get("steps")
        return planned if isinstance(planned, int) else None


def run_page(workspace: Workspace, run_id: str, *, colophon: str) -> Page:
    """Build the page of a run, also of one that is going on."""
    facts = gather(workspace, run_id)
    catalog, ref = workspace.catalog, f"run:{run_id}"
    charts = training_charts(facts.lines)
    sections = (
        ending_section(facts.row, facts.files, facts.checkpoints, step=facts.step),
        Section("run", "Run", facts=_facts(facts)),
        Section("losses", "Losses", text=_lines_text(facts), charts=charts),
        course_section(facts.lines),
        previews_section(facts.files),
        input_section(catalog, facts.row, facts.files),
        _checkpoints(facts.checkpoints),
        history_section(facts.files),
        Section("settings", "Settings", facts=settings_facts(facts.row.config)),
        _recipe(facts.written),
        licences_section(catalog, ref, of=facts.model.name if facts.model else ""),
        *lineage_sections(catalog, ref),
    )
    return Page(
        kind=f"{facts.row.kind} training run",
        name=facts.row.name,
        summary=_summary(facts),
        tiles=_tiles(facts),
        sections=tuple(section for section in sections if section is not None),
        colophon=colophon,
    )


def gather(workspace: Workspace, run_id: str) -> RunFacts:
    """All there is of a run.

    Raises:
        CatalogMissingError: No run has that id.
    """
    row = workspace.catalog.run(run_id)
    files = RunFiles(workspace.store, run_id)
    made = (model for model in workspace.catalog.models() if model.run_id == run_id)
    return RunFacts(
        row=row,
        files=files,
        lines=files.metrics(),
        checkpoints=files.checkpoints.entries(),
        written=files.read_json("config.json") or {},
        progress=files.read_json("progress.json") or {},
        model=next(made, None),
    )


def _summary(facts: RunFacts) -> str:
    row = facts.row
    planned = f" of {facts.steps:,}" if facts.steps else ""
    what = {
        "done": f"Done: it made model {facts.model.name}." if facts.model else "Done.",
        "running": f"Going on: {facts.step:,}{planned} steps so far.",
        "failed": f"Failed after {facts.step:,}{planned} steps.",
        "stopped": f"Stopped after {facts.step:,}{planned} steps.",
    }
    return f"Trains {row.kind} {row.name}. {what.get(row.state, row.state)}"


def _tiles(facts: RunFacts) -> tuple[Fact, ...]:
    row = facts.row
    planned = f"of {facts.steps:,}" if facts.steps else ""
    tiles = [Fact("State", row.state), Fact("Steps", f"{facts.step:,}", planned)]
    losses = [line["loss"] for line in facts.lines if isinstance(line.get("loss"), int | float)]
    if losses:
        tiles.append(Fact("Last loss", f"{losses[-1]:.4g}", f"began at {losses[0]:.4g}"))
    busy_s = _measured_s(facts)
    if busy_s:
        images = sum(line["images_per_s"] * line["step_s"] for line in _timed(facts))
        tiles.append(Fact("Pace", f"{images / busy_s:,.1f} images/s", f"{images:,.0f} images"))
    took_s = None if row.finished_at is None else row.finished_at - row.started_at
    took = readable_duration(took_s) if took_s is not None else "not ended"
    tiles.append(Fact("From begin to end", took, f"{readable_duration(busy_s)} in steps"))
    return tuple(tiles)


def _timed(facts: RunFacts) -> list[Mapping[str, Any]]:
    return [line for line in facts.lines if line.get("step_s") and line.get("images_per_s")]


def _measured_s(facts: RunFacts) -> float:
    return float(sum(line["step_s"] for line in _timed(facts)))


def _facts(facts: RunFacts) -> tuple[Fact, ...]:
    row = facts.row
    writer = facts.files.read_json("writer.json") or {}
    beat = facts.files.read_json("heartbeat.json") or {}
    ended = readable_time(row.finished_at)
    left_s = facts.progress.get("seconds_left") if row.state == "running" else None
    found = [
        Fact("Id", row.run_id, code=True),
        Fact("Trains", f"{row.kind} {row.name}"),
        Fact("Began", f"{readable_time(row.started_at)} UTC"),
        Fact("Ended", f"{ended} UTC" if ended else "not yet"),
        Fact("Left", readable_duration(left_s), "at the last pace") if left_s else None,
        Fact("Last sign of life", f"{readable_time(beat['time'])} UTC") if beat else None,
        Fact("Driver", where(owner)) if (owner := owner_of(facts.files)) else None,
        Fact("First worker", f"process {writer['pid']} on {writer['host']}") if writer else None,
        Fact("Made", f"model {facts.model.name}") if facts.model else None,
        Fact("Snapshot", row.snapshot_id or "none", "the exact shards it reads", code=True),
        Fact("Code", row.code_version, code=True),
    ]
    return tuple(fact for fact in found if fact is not None)


def _lines_text(facts: RunFacts) -> str:
    if not facts.lines:
        return "Nothing was measured yet: numbers are put into the store with each checkpoint."
    text = f"Of {len(facts.lines):,} steps."
    found = not_finite(facts.lines)
    if found:
        named = ", ".join(f"{name} {count:,} times" for name, count in found.items())
        text += f" Not finite: {named}."
    if facts.row.state == "running":
        text += " So far; numbers are put into the store with each checkpoint."
    return text


def _checkpoints(entries: Sequence[CheckpointEntry]) -> Section | None:
    if not entries:
        return None
    scored = [entry for entry in entries if entry.score is not None]
    best = min(scored, key=lambda entry: entry.score or 0.0, default=None)
    rows = tuple(
        (
            f"{entry.step:,}",
            "–" if entry.score is None else f"{entry.score:.4g}",
            readable_bytes(entry.bytes),
            short(entry.sha256),
            ", ".join(
                word
                for word, applies in (("newest", entry is entries[-1]), ("best", entry is best))
                if applies
            ),
        )
        for entry in entries
    )
    columns = ("Step", "Score", "Size", "sha256", "")
    return Section(
        "checkpoints",
        "Checkpoints",
        text="Those that are kept; the score is that of the validation, or else the mean loss.",
        table=Table(columns, rows, (True, True, True, False, False)),
    )


def _recipe(written: Mapping[str, Any]) -> Section | None:
    recipe = written.get("recipe") or {}
    facts = tuple(
        Fact(key.replace("_", " "), readable_setting(value)) for key, value in recipe.items()
    )
    if not facts:
        return None
    return Section("recipe", "Every value of the recipe", facts=facts, below=True, folded=True)

"""What the driver asks of label sets before a student learns from some of their labels.

A filter that the labels cannot answer, or that none of them passes, is refused before a run begins:
in a worker it would be found only after reading everything.
"""

from collections import Counter
from collections.abc import Sequence

from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.report_samples import label_facts
from jobs.training_config import TrainStudentConfig
from jobs.workspace import Workspace
from pipeline.label_filter import LabelFilter
from pipeline.records import LabelRecord

ADVICE = {
    "min_flip_correlation": "was made without --consistency: its labels do not say how well they "
    "agree with the mirrored image",
    "max_saturated": "is older than this signal",
    "max_flat": "is older than this signal",
}


def label_filter(config: TrainStudentConfig) -> LabelFilter:
    """The limits that somebody asked for."""
    return LabelFilter(
        max_saturated=config.max_saturated,
        max_flat=config.max_flat,
        min_flip_correlation=config.min_flip_correlation,
    )


def check_filter(
    wanted: LabelFilter, label_sets: Sequence[str], workspace: Workspace, reporter: Reporter
) -> None:
    """Say how much of each label set passes, by a sample of its shards (of all, up to 32).

    Raises:
        ConfigError: A set was made without a signal that is asked for, or nothing passes.
        CatalogMissingError: No label set has that name.
    """
    if not wanted.asked:
        return
    problems = [
        f"--{limit.replace('_', '-')}: label set {name!r} {ADVICE[limit]}; label it anew, "
        "under another name"
        for name in label_sets
        for limit in wanted.unanswered(workspace.catalog.label_set(name).recipe)
    ]
    if problems:
        raise ConfigError(problems)
    for name in label_sets:
        found = _judge(wanted, name, workspace)
        seen, kept = found.total(), found.pop("kept", 0)
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(found.items()))
        if seen and not kept:
            raise ConfigError([f"label set {name!r}: none of {seen:,} labels passes: {reasons}"])
        reporter.note(
            f"label set {name}: {kept:,} of {seen:,} labels looked at pass"
            + (f" ({reasons})" if reasons else "")
        )


def _judge(wanted: LabelFilter, name: str, workspace: Workspace) -> Counter[str]:
    """Count of labels by the reason against them, and of those ``kept``."""
    shards = workspace.catalog.label_shards(name)
    return Counter(
        _verdict(wanted, row)
        for row in label_facts(workspace.store, shards)
        if row.status == "labelled"
    )


def _verdict(wanted: LabelFilter, row: LabelRecord) -> str:
    return wanted.reason_against(row) or "kept"

"""The command that goes on with a training run that has ended early."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from jobs.config import Common
from jobs.settings import flag_name
from jobs.training_config import FinetuneMetricConfig, TrainStudentConfig, TrainTeacherConfig
from pipeline.catalog import RunRow

_VERBS: Mapping[str, tuple[str, type[Common]]] = {
    "teacher": ("train-teacher", TrainTeacherConfig),
    "student": ("train-student", TrainStudentConfig),
    "metric": ("finetune-metric", FinetuneMetricConfig),
}
_RESUMING = ("resume", "resume_if_any")


def resume_command(run: RunRow) -> str:
    """As it is typed into a shell: options as the run was begun, those at their default left out.

    Passwords are not on record and stand there as ``***``. Empty for a kind that nobody trains.
    """
    if run.kind not in _VERBS:
        return ""
    verb, config_class = _VERBS[run.kind]
    words = ["factory", verb]
    for each in fields(config_class):
        if each.name not in _RESUMING and each.name in run.config:
            words += _words(each, run.config[each.name])
    return shlex.join([*words, "--resume"])


def _words(of: Field[Any], value: Any) -> Iterator[str]:
    """A flag with its value, or nothing where that is the default."""
    default = of.default_factory() if of.default_factory is not MISSING else of.default
    if value is None or value == default or (not value and not default):
        return
    flag = flag_name(of)
    if isinstance(value, bool):
        yield flag if value else flag.replace("--", "--no-", 1)
        return
    if not isinstance(value, list | tuple):
        yield from (flag, str(value))
    elif list(value) != list(default if isinstance(default, list | tuple) else ()):
        yield flag
        yield from map(str, value)

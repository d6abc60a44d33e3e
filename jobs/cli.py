"""The console script ``factory``: parse, load settings, run the verb, say how it went.

Exit status: 0 done; 1 something that should have been done was not; 2 wrong usage or configuration;
130 interrupted. A verb's module is imported only when it runs, so that help answers at once.
"""

import contextlib
import json
import logging
import math
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import typer

from jobs import catalog_config, training_config
from jobs import config as configs
from jobs.command_line import CommandGroup, make_command
from jobs.doctor_config import DoctorConfig
from jobs.duplicates_config import CatalogDuplicatesConfig
from jobs.errors import ConfigError, Interrupted, JobError
from jobs.evaluate_config import EvaluateConfig, ExportConfig
from jobs.plan_config import PlanConfig
from jobs.readable import printable
from jobs.sample_config import CatalogTraceConfig, CatalogWithdrawConfig
from jobs.settings import load_settings
from jobs.status_config import StatusConfig
from model.errors import CheckpointError, ModelError
from pipeline.catalog_values import without_credentials
from pipeline.errors import (
    CatalogConflictError,
    CatalogMissingError,
    PipelineError,
    SourceError,
)

DONE, NOT_DONE, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
EXPLAINED_ERRORS = (JobError, ConfigError, PipelineError, ModelError, PermissionError)
USAGE_ERRORS = (
    ConfigError,
    SourceError,
    CatalogConflictError,
    CatalogMissingError,
    CheckpointError,
)


@dataclass(frozen=True, slots=True)
class Verb:
    """A command: the class of its configuration and, as ``module:function``, what runs it.

    Attributes:
        also: A class whose settings may stand in its ``--config`` file too, unused.
        watch: What yields a summary again and again, where the configuration's ``watch`` is set.
    """

    config_class: type
    function: str
    also: type | None = None
    watch: str = ""


VERBS = {
    "ingest": Verb(configs.IngestConfig, "jobs.ingest:ingest"),
    "train-teacher": Verb(training_config.TrainTeacherConfig, "jobs.train_teacher:train_teacher"),
    "plan": Verb(PlanConfig, "jobs.plan:plan", also=configs.LabelConfig),
    "label": Verb(configs.LabelConfig, "jobs.label:label"),
    "train-student": Verb(training_config.TrainStudentConfig, "jobs.train_student:train_student"),
    "finetune-metric": Verb(
        training_config.FinetuneMetricConfig, "jobs.finetune_metric:finetune_metric"
    ),
    "evaluate": Verb(EvaluateConfig, "jobs.evaluate:evaluate"),
    "status": Verb(StatusConfig, "jobs.status:status", watch="jobs.status:watch"),
    "predict": Verb(configs.PredictConfig, "jobs.predict:predict"),
    "export": Verb(ExportConfig, "jobs.export:export"),
    "report": Verb(configs.ReportConfig, "jobs.report:report"),
    "demo": Verb(configs.DemoConfig, "jobs.demo:demo"),
    "doctor": Verb(DoctorConfig, "jobs.doctor:doctor"),
}
CATALOG = Verb(configs.CatalogConfig, "jobs.catalog_queries:query_catalog")
REPAIRS = {
    "trace": Verb(CatalogTraceConfig, "jobs.catalog_trace:trace"),
    "withdraw": Verb(CatalogWithdrawConfig, "jobs.catalog_withdraw:withdraw"),
    "duplicates": Verb(CatalogDuplicatesConfig, "jobs.duplicates:find_duplicates"),
    "terms": Verb(catalog_config.CatalogTermsConfig, "jobs.catalog_terms:source_terms"),
    "attribution": Verb(
        catalog_config.CatalogAttributionConfig, "jobs.catalog_attribution:export_attribution"
    ),
    "card": Verb(catalog_config.CatalogCardConfig, "jobs.catalog_card:write_card"),
    "croissant": Verb(
        catalog_config.CatalogCroissantConfig, "jobs.catalog_croissant:export_croissant"
    ),
    "verify": Verb(configs.CatalogVerifyConfig, "jobs.catalog_verify:verify_catalog"),
    "gc": Verb(configs.CatalogGcConfig, "jobs.catalog_gc:collect_garbage"),
    "rebuild": Verb(configs.CatalogRebuildConfig, "jobs.catalog_rebuild:rebuild_catalog"),
}
# Of a summary: there is something to repair.
NOT_DONE_KEYS = ("shards_failed", "pieces_failed", "problems")


@dataclass(frozen=True, slots=True)
class Call:
    """What the command line asked for; nothing of it has been checked yet."""

    verb: Verb
    flags: Mapping[str, Any]
    file: Path | None
    json: bool


def main() -> None:
    """Entry point of the console script."""
    # Pillow has doubts about broken files; what is wrong with them is counted and said elsewhere.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # Ctrl-C in the middle of a question to the catalog is told by the command; no other error that
    # the pool of connections logs is kept from whoever asked.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    # A batch system that takes its machine back is like somebody who presses Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)  # the terminal was closed
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # `factory catalog shards photos | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = NOT_DONE
    sys.exit(status)


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    calls: list[Call] = []
    words = [*argv, "--help"] if list(argv) in ([], ["catalog"]) else list(argv)
    try:
        status = build_app(calls.append)(words, prog_name="factory", standalone_mode=False)
    except typer.TyperException as error:
        return _fail_usage(error, wants_json="--json" in argv)
    return execute(calls[0]) if calls else int(status or DONE)


def build_app(choose: Callable[[Call], None]) -> typer.Typer:
    """All commands; running one of them only hands its `Call` to ``choose``."""
    app = typer.Typer(
        cls=CommandGroup,
        help="The open pseudo-label factory for monocular depth.",
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=app.info.help)(_global_flags)
    for name, verb in VERBS.items():
        _add(app, name, verb, choose)
    catalog = typer.Typer(cls=CommandGroup, help=CATALOG.config_class.__doc__)
    for question, help in configs.CATALOG_QUESTIONS.items():
        _add_question(catalog, question, help, choose)
    for name, verb in REPAIRS.items():
        _add(catalog, name, verb, choose)
    app.add_typer(catalog, name="catalog")
    return app


def execute(call: Call) -> int:
    """Load the settings, run the verb, print its summary."""
    with _stdout_for_result(call.json) as write_json:
        config: object = None
        try:
            config = load_settings(
                call.verb.config_class,
                flags=call.flags,
                file=call.file,
                environ=os.environ,
                also=call.verb.also,
                note=lambda text: print(text, file=sys.stderr),
            )
            if call.verb.watch and getattr(config, "watch", False):
                return _follow(call, config, write_json)
            summary = _run_verb(call.verb.function, config)
        except KeyboardInterrupt as stop:
            again = f"Interrupted: run the same command again{_resume(config)}."
            said, facts = (str(stop), stop.facts) if isinstance(stop, Interrupted) else (again, {})
            print(said, file=sys.stderr)
            write_json({"error": "interrupted", "kind": "KeyboardInterrupt", **facts})
            return INTERRUPTED
        except BrokenPipeError:  # whoever reads has seen enough; `main` knows
            raise
        except Exception as error:
            _explain(error)
            write_json({"error": without_credentials(str(error)), "kind": type(error).__name__})
            return WRONG_USAGE if isinstance(error, USAGE_ERRORS) else NOT_DONE
        write_json(summary)
    if not call.json:
        _print_summary(summary)
    return NOT_DONE if any(summary.get(key) for key in NOT_DONE_KEYS) else DONE


def _resume(config: object) -> str:
    """Training begins anew unless told otherwise; everything else goes on by itself."""
    begins_anew = hasattr(config, "resume") and not getattr(config, "resume_if_any", False)
    return " with --resume to go on" if begins_anew else " to go on"


def as_json(value: object) -> str:
    """One line of strict JSON: what it has no number for is null, half surrogates are spelt."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _add(app: typer.Typer, name: str, verb: Verb, choose: Callable[[Call], None]) -> None:
    command, command_class = make_command(
        verb.config_class, lambda given: choose(_call(verb, given))
    )
    app.command(name, cls=command_class)(command)


def _add_question(
    app: typer.Typer, question: str, help: str, choose: Callable[[Call], None]
) -> None:
    has_ref = question in configs.QUESTIONS_WITH_REF
    command, command_class = make_command(
        CATALOG.config_class,
        lambda given: choose(_call(CATALOG, {"question": question, **given})),
        leave_out=[
            "question",
            *([] if has_ref else ["ref"]),
            *([] if question == "shards" else ["limit"]),
        ],
        arguments=["ref"] if has_ref else [],
    )
    app.command(question, cls=command_class, help=help)(command)


def _call(verb: Verb, given: Mapping[str, Any]) -> Call:
    flags = {name: value for name, value in given.items() if name not in ("config", "json")}
    return Call(verb, flags, given["config"], bool(given["json"]))


def _run_verb(named: str, config: object) -> Any:
    from jobs.console import reporter_for

    module, _, function = named.partition(":")
    return getattr(import_module(module), function)(config, reporter=reporter_for(sys.stderr))


def _follow(call: Call, config: object, write_json: Callable[[object], None]) -> int:
    """Show summaries until somebody has seen enough, which is no failure."""
    from jobs.status_view import show_each

    summaries = _run_verb(call.verb.watch, config)
    with contextlib.closing(summaries), contextlib.suppress(KeyboardInterrupt):
        if call.json:
            for summary in summaries:
                write_json(summary)
        else:
            show_each(summaries, sys.stdout)
    return DONE


def _print_summary(summary: Mapping[str, Any]) -> None:
    from jobs.summary import print_summary

    print_summary(summary)


@contextlib.contextmanager
def _stdout_for_result(as_one_object: bool) -> Iterator[Callable[[object], None]]:
    """With ``--json``, what any library (in C too) writes to stdout meanwhile goes to stderr.

    What is handed over is a line at once.
    """
    if not as_one_object:
        yield lambda _: None
        return
    sys.stdout.flush()
    stdout = os.dup(1)
    lines = sys.stdout

    def write(result: object) -> None:
        os.dup2(stdout, 1)
        try:
            print(as_json(result), file=lines, flush=True)
        finally:
            os.dup2(2, 1)

    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield write
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def _explain(error: Exception) -> None:
    """Tell a person what went wrong; a traceback only where the error is not one of ours."""
    if not isinstance(error, EXPLAINED_ERRORS) or os.environ.get("FACTORY_TRACEBACK") == "1":
        said = "".join(traceback.format_exception(error))
        print(printable(without_credentials(said)), end="", file=sys.stderr)
        return
    lines = [str(error)]
    if isinstance(error, ConfigError):
        if len(error.problems) > 1:
            count = f"{len(error.problems)} problems:"
            lines = [count, *(f"  - {each}" for each in error.problems)]
    elif advice := (type(error).__doc__ or "").partition(": ")[2]:
        lines.append(f"What to do: {advice}")
    print(printable(without_credentials("Error: " + "\n".join(lines))), file=sys.stderr)


def _fail_usage(error: typer.TyperException, *, wants_json: bool) -> int:
    context = getattr(error, "ctx", None)
    usage = f"{context.get_usage()}\n" if context else ""
    print(f"{usage}Error: {printable(error.format_message())}", file=sys.stderr)
    if wants_json:
        print(as_json({"error": error.format_message(), "kind": "usage"}))
    return WRONG_USAGE


def _print_version(wanted: bool) -> None:
    if wanted:
        print(version("pseudo-label-factory"))
        raise typer.Exit


def _global_flags(
    _: bool = typer.Option(
        False,
        "--version",
        help="Print the version and leave.",
        is_eager=True,
        callback=_print_version,
    ),
) -> None:
    """Nothing happens before the command."""


def _plain(value: object) -> object:
    """Only what JSON has: mappings, lists, text, numbers, true, false and null."""
    if isinstance(value, Mapping):
        return {_text(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, bool | None):
        return value
    if isinstance(value, Integral):  # numpy's too
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return _text(value)


def _text(value: object) -> str:
    """As text that is valid in any encoding of Unicode; names of files need not be."""
    return str(value).encode("utf-8", "backslashreplace").decode()


if __name__ == "__main__":
    main()

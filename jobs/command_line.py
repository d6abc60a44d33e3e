"""Commands made from configuration dataclasses: a flag per field, its help from the field.

Values stay as people wrote them; `jobs.settings` converts and checks them together with those from
the file and the environment, so that every problem is reported at once.
"""

import inspect
import itertools
import typing
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from jobs.completion import completion_of
from jobs.config import Common
from jobs.settings import flag_name, is_list, is_required, plain_type

PLACE_PANEL = "Store, catalog and cluster"
OUTPUT_PANEL = "This command"
Completion = Callable[..., list[str]]
METAVARS = {str: "TEXT", int: "N", float: "X"}


def make_command(
    config_class: type,
    run: Callable[[dict[str, Any]], None],
    *,
    leave_out: Sequence[str] = (),
    arguments: Sequence[str] = (),
) -> tuple[Callable[..., None], type[TyperCommand]]:
    """A function and a class for ``app.command(cls=…)(function)``.

    Args:
        config_class: Its fields become arguments and flags.
        run: Called with what was given, by field name, and ``config`` and ``json``.
        leave_out: Fields that the command does not ask for.
        arguments: Fields that are positional here, beside those whose metadata says so.
    """
    asked = [each for each in fields(config_class) if each.name not in leave_out]
    positional = [e for e in asked if e.metadata.get("argument") or e.name in arguments]
    flags = [each for each in asked if each not in positional]
    kinds = typing.get_type_hints(config_class)

    def command(**given: Any) -> None:
        run(given)

    completions = {each.name: completion_of(config_class, each) for each in asked}
    parameters = [_argument(e, kinds[e.name], completions[e.name]) for e in positional]
    parameters += [_flag(each, kinds[each.name], completions[each.name]) for each in flags]
    command.__signature__ = inspect.Signature([*parameters, *_own_flags()])  # type: ignore[attr-defined]
    command.__doc__ = _paragraphs(config_class.__doc__ or "")

    class VerbCommand(_ListCommand):
        must = tuple(_usage(each, kinds[each.name]) for each in flags if is_required(each))
        arguments = sum(is_required(each) for each in positional)

    return command, VerbCommand


def _paragraphs(text: str) -> str:
    """Without the line breaks of the source: the terminal is as wide as it is."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def repeat_list_flags(
    args: Sequence[str], *, lists: set[str], valued: set[str], arguments: int
) -> list[str]:
    """Write ``--labelled A B`` as ``--labelled A --labelled B``.

    A word after the first value of a list flag belongs to the flag only once all positional
    arguments have been given: before that, nobody could tell, and it stays positional.

    Args:
        args: The words after the command's name.
        lists: Flags that may be repeated.
        valued: Other flags that take a value.
        arguments: How many positional arguments must be given.
    """
    written: list[str] = []
    open_flag, positional = "", 0
    words = iter(args)
    for word in words:
        if word == "--":
            return [*written, word, *words]
        if word.startswith("-") and len(word) > 1:
            flag = word.partition("=")[0]
            open_flag = flag if flag in lists else ""
            written.append(word)
            if flag == word and flag in lists | valued:
                written += itertools.islice(words, 1)
        elif open_flag and positional >= arguments:
            written += [open_flag, word]
        else:
            positional += 1
            written.append(word)
    return written


class _PlainSwitches:
    """Help of a switch, ``--help`` too, does not say ``<bool>``: nothing comes after it."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for each in params:
            if isinstance(each, TyperOption) and each.is_flag:
                each.metavar = ""
        return params


class CommandGroup(_PlainSwitches, TyperGroup):
    """Commands under one name."""


class _ListCommand(_PlainSwitches, TyperCommand):
    """List flags take several words; the usage line says what must be given."""

    must: tuple[str, ...] = ()
    arguments: int = 0  # positional ones that must be given

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for each in self.params:
            if isinstance(each, TyperArgument):  # else help says `SOURCES… <list[str]>`
                each.display_type_rich = lambda ctx: ""  # type: ignore[method-assign]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = [each for each in self.params if isinstance(each, TyperOption)]
        lists = {name for each in options if each.multiple for name in each.opts}
        valued = {name for each in options if not each.is_flag for name in each.opts} - lists
        return super().parse_args(
            ctx, repeat_list_flags(args, lists=lists, valued=valued, arguments=self.arguments)
        )

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [each.metavar for each in self.params if each.param_type_name == "argument"]
        return [*map(str, arguments), *self.must, "[OPTIONS]"]


def _argument(of: Field[Any], kind: Any, completion: Completion | None) -> inspect.Parameter:
    metavar = f"{of.name.upper()}…" if is_list(kind) else of.name.upper()
    may_be_left_out = of.metadata.get("argument") and not is_required(of)
    argument = typer.Argument(
        None,
        help=_help(of),
        metavar=f"[{metavar}]" if may_be_left_out else metavar,
        show_default=False,
        autocompletion=completion,
    )
    return _parameter(of.name, list[str] if is_list(kind) else str, argument)


def _flag(of: Field[Any], kind: Any, completion: Completion | None) -> inspect.Parameter:
    name = flag_name(of)
    is_switch = plain_type(kind) is bool
    names = f"{name}/{name.replace('--', '--no-', 1)}" if is_switch else name
    shared = of.name in {each.name for each in fields(Common)}
    option = typer.Option(
        None,
        *filter(None, (names, of.metadata.get("alias"))),
        help=_help(of),
        metavar=None if is_switch else _metavar(of, kind),
        show_default=False,
        rich_help_panel=PLACE_PANEL if shared else None,
        autocompletion=completion,
    )
    return _parameter(of.name, bool if is_switch else list[str] if is_list(kind) else str, option)


def _own_flags() -> list[inspect.Parameter]:
    config = typer.Option(
        None,
        "--config",
        help="YAML file of settings, keys as the flags; flags win over it.",
        metavar="FILE",
        rich_help_panel=OUTPUT_PANEL,
    )
    json = typer.Option(
        False,
        "--json",
        help="Write exactly one JSON object to stdout; all else goes to stderr.",
        rich_help_panel=OUTPUT_PANEL,
    )
    return [
        _parameter("config", Path, config),
        inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=json, annotation=bool),
    ]


def _parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind | None
    )


def _help(of: Field[Any]) -> str:
    """The field's help, what may be given, and what holds where nothing is."""
    facts = [", ".join(of.metadata["choices"])] if of.metadata.get("choices") else []
    if is_required(of):
        facts.append("required")
    elif of.default is not MISSING and of.default not in (None, False, (), ""):
        facts.append(f"default: {_plain_number(of.default)}")
    if of.metadata.get("env"):
        facts.append(f"environment: {of.metadata['env']}")
    text = str(of.metadata["help"])
    text = f"{text} ({'; '.join(facts)})" if facts else text
    return text.replace("[", "\\[")  # else it would be read as markup


def _plain_number(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)


def _metavar(of: Field[Any], kind: Any) -> str:
    metavar = "CHOICE" if of.metadata.get("choices") else METAVARS[plain_type(kind)]
    return f"{metavar}…" if is_list(kind) else metavar


def _usage(of: Field[Any], kind: Any) -> str:
    return f"{flag_name(of)} {_metavar(of, kind)}"

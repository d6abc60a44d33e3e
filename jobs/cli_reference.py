"""The page of the documentation that lists every command and flag: `make docs` writes docs/cli.md.

It reads the commands as `--help` shows them, which are made from the configuration classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from typer.main import get_command

from jobs.cli import build_app
from jobs.config import Common

_HEAD = """\
# Command line

`factory VERB`; the same text as `factory VERB --help`. Made by `make docs` from the classes in
`jobs/*config.py`, which Python takes too: `label(LabelConfig(sources=("holidays",), …))`.

- A flag is also a key of the YAML file that `--config` names: `--label-set` is `label-set:` or
  `label_set:`. Flags win over the file, the file over the environment.
- A flag with `…` takes several values, one after the other: `--gpus 1 8 64`.
- Exit status: 0 done, bad samples counted; 1 something that should have been done was not; 2 wrong
  usage, found before anything started; 130 interrupted.
"""


def markdown_page() -> str:
    """A table of what all commands take, then a section for each."""
    verbs = dict(get_command(build_app(lambda call: None)).commands)  # type: ignore[attr-defined]
    catalog = verbs.pop("catalog")
    commands = {**verbs, **{f"catalog {name}": each for name, each in catalog.commands.items()}}
    shared = _shared(commands["ingest"])
    lines = [_HEAD, "## All commands", "", *_table(shared)]
    for name, command in commands.items():
        lines += ["", *_section(name, command, {_row(each) for each in shared})]
    return "\n".join(lines) + "\n"


def _shared(command: Any) -> list[Any]:
    """Where things lie, and what every command has besides its own."""
    names = {*(each.name for each in fields(Common)), "config", "json"}
    return [each for each in command.params if each.name in names]


def _section(name: str, command: Any, shared: set[str]) -> Iterator[str]:
    """Usage, what it does, and its own arguments and flags."""
    usage = " ".join(["factory", name, *command.collect_usage_pieces(None)])
    yield from (f"## {name}", "", "```text", usage, "```", "", command.help)
    own = [each for each in command.params if _row(each) not in shared and each.name != "help"]
    if own:
        yield from ("", *_table(own))


def _table(parameters: Sequence[Any]) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    yield from map(_row, parameters)


def _row(parameter: Any) -> str:
    """How it is written, and its help."""
    value = f" {parameter.metavar}" if parameter.metavar else ""
    if parameter.param_type_name == "argument":
        written = f"`{parameter.metavar}`"
    else:
        spellings = [*parameter.opts, *parameter.secondary_opts]
        written = ", ".join(f"`{each}{value}`" for each in spellings)
    help = parameter.help.replace("\\[", "[").replace("|", "\\|")
    return f"| {written} | {help} |"


if __name__ == "__main__":
    print(markdown_page(), end="")

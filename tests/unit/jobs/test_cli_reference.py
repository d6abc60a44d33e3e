import re
from pathlib import Path

import pytest
from typer.main import get_command

from jobs.cli import build_app
from jobs.cli_reference import markdown_page

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def sections(page):
    return dict(part.split("\n", 1) for part in page.split("\n## ")[1:])


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == markdown_page(), "make docs"


def test_every_command_has_a_section_with_each_of_its_flags():
    verbs = get_command(build_app(lambda call: None)).commands
    asked = {name: each for name, each in verbs.items() if name != "catalog"}
    asked |= {f"catalog {name}": each for name, each in verbs["catalog"].commands.items()}
    found = sections(markdown_page())
    shared = set(re.findall(r"`(--[\w-]+)", found.pop("All commands")))
    assert found.keys() == asked.keys()
    for name, command in asked.items():
        flags = {flag for each in command.params for flag in each.opts if flag.startswith("--")}
        written = set(re.findall(r"^\| .*", found[name], re.MULTILINE))
        for flag in flags - shared - {"--help"}:
            assert any(f"`{flag}" in row.split(" | ")[0] for row in written), (name, flag)


@pytest.mark.parametrize("name", ["demo"])
def test_what_a_command_has_otherwise_than_all_others_is_said_again(name):
    assert "`--store TEXT`" in sections(markdown_page())[name]
    assert "`--ray TEXT`" not in sections(markdown_page())[name]


def test_nothing_on_the_page_is_markup_for_terminals():
    assert "\\[" not in markdown_page()

"""Libraries of the extra are imported when needed, and their absence says what to do."""

import json
import tomllib
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.optional import INSTALL, needs

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_a_library_that_is_there_is_handed_out():
    assert needs("json", "JSON files") is json


def test_a_missing_one_names_what_needs_it_and_the_command():
    with pytest.raises(SourceError, match=r"videos need the library no_such_library") as caught:
        needs("no_such_library", "videos")
    assert INSTALL in str(caught.value)


def test_the_command_names_an_extra_that_exists():
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    name, _, extra = INSTALL.split("'")[1].rstrip("]").partition("[")
    assert name == project["name"]
    assert extra in project["optional-dependencies"]

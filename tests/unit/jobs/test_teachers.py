"""Teachers as the catalog gets to know them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs.config import Common
from jobs.models import locate_model
from jobs.teachers import TeacherFacts, enter_teacher, inspect_teacher
from jobs.workspace import Workspace, open_workspace
from model.errors import CheckpointError
from tests.factories import tiny_teacher
from tests.tiny_families import save_family


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with open_workspace(Common(store=str(tmp_path / "store"))) as workspace:
        yield workspace


def inspect(reference: str, workspace: Workspace) -> TeacherFacts:
    """Look at a teacher and enter it into the catalog, as `label` does."""
    location = locate_model(reference, workspace.catalog)
    teacher = inspect_teacher(location, workspace, precision="fp32", side=None)
    enter_teacher(teacher, location, workspace)
    return teacher


def test_a_teacher_has_one_name_however_it_is_written(tmp_path: Path, workspace: Workspace) -> None:
    folder = tiny_teacher(tmp_path / "my teacher (1)")
    by_path = inspect(str(folder), workspace)
    assert by_path.name == f"my-teacher-1-{by_path.sha256[:8]}"
    assert not by_path.is_known
    for reference in (f"file://{folder}", by_path.name):
        assert inspect(reference, workspace) == replace(by_path, is_known=True)
    assert [model.name for model in workspace.catalog.models()] == [by_path.name]


def test_a_registered_teacher_whose_files_changed_is_refused(
    tmp_path: Path, workspace: Workspace
) -> None:
    folder = tiny_teacher(tmp_path / "teacher")
    name = inspect(str(folder), workspace).name
    tiny_teacher(folder, seed=1)
    with pytest.raises(CheckpointError, match=name):
        inspect(name, workspace)
    assert inspect(str(folder), workspace).name != name


def test_looking_at_a_teacher_writes_nothing(tmp_path: Path, workspace: Workspace) -> None:
    location = locate_model(str(tiny_teacher(tmp_path / "teacher")), workspace.catalog)
    inspect_teacher(location, workspace, precision="fp32", side=None)
    assert workspace.catalog.models() == []


def test_a_teacher_that_sees_margins_says_so_to_the_recipe(
    tmp_path: Path, workspace: Workspace
) -> None:
    for name in ("zoedepth", "zoedepth without margins"):
        folder = save_family(name, tmp_path / name)
        assert inspect(str(folder), workspace).padded == (name == "zoedepth")

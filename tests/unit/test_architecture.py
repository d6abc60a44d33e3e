"""What may import what, frozen: jobs → pipeline, model; numpy is the border between the rooms."""

import ast
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

import jobs
import jobs.config
import model
import pipeline

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("pipeline", "model", "jobs")
FORBIDDEN_ROOMS = {"pipeline": {"jobs", "model"}, "model": {"jobs", "pipeline"}, "jobs": set()}
ONLY_IN = {
    "ray": {"jobs"},
    "typer": {"jobs"},
    "rich": {"jobs"},
    "jinja2": {"jobs"},
    "yaml": {"jobs"},
    "torch": {"model", "jobs"},
    "transformers": {"model", "jobs"},
    "kornia": {"model", "jobs"},
    "cv2": {"model", "jobs"},
    "safetensors": {"model", "jobs"},
    "pyarrow": {"pipeline"},
    "fsspec": {"pipeline"},
    "s3fs": {"pipeline"},
    "sqlalchemy": {"pipeline"},
    "alembic": {"pipeline"},
    "pyiceberg": {"pipeline"},
    "imagecodecs": {"pipeline"},
    "PIL": {"pipeline", "jobs"},
}
NEVER = {"torchvision", "timm", "pandas", "cloudpickle", "dill"}
MAX_LINES = 400
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a module imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield node.lineno, node.module or ""


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def all_imports() -> Iterator[tuple[str, str, str]]:
    for path in MODULES:
        for line, name in imports(path):
            yield room_of(path), name.partition(".")[0], f"{path.relative_to(ROOT)}:{line}"


def test_there_is_something_to_check():
    assert {room_of(path) for path in MODULES} == set(ROOMS)
    assert len(MODULES) > 10


def test_rooms_import_only_the_rooms_they_may():
    wrong = [
        f"{where} imports {name}"
        for room, name, where in all_imports()
        if name in FORBIDDEN_ROOMS[room]
    ]
    assert wrong == []


def test_libraries_stay_in_their_rooms():
    wrong = [
        f"{where} imports {name}"
        for room, name, where in all_imports()
        if room not in ONLY_IN.get(name, {room})
    ]
    assert wrong == []


def test_some_libraries_are_never_imported():
    assert [f"{where} imports {name}" for _, name, where in all_imports() if name in NEVER] == []


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call of the form ``module.function(…)`` as text."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func), node


def test_nothing_is_unpickled_as_code():
    """A weight file from the internet must not be able to run anything."""
    wrong = []
    for path in MODULES:
        for name, call in calls(path):
            keywords = {each.arg: ast.unparse(each.value) for each in call.keywords}
            unsafe = name == "torch.load" and keywords.get("weights_only") != "True"
            if unsafe or name in {"pickle.load", "pickle.loads", "pickle.Unpickler"}:
                wrong.append(f"{path.relative_to(ROOT)}:{call.lineno} {name}")
    assert wrong == []


@pytest.mark.parametrize("package", [pipeline, model, jobs], ids=ROOMS)
def test_the_packages_are_ours(package):
    """Others on PyPI install top-level packages of these names; theirs must not come first."""
    assert Path(package.__file__).resolve() == ROOT / package.__name__ / "__init__.py"


def test_no_file_is_too_long_to_read():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in MODULES
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_file_is_named_after_nothing():
    names = {path.stem for path in [*MODULES, *(ROOT / "tests").rglob("*.py")]}
    assert not names & {"utils", "util", "helpers", "misc", "common"}


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if path.read_text(encoding="utf-8").strip()
        and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_every_setting_has_help():
    for config_class in vars(jobs.config).values():
        if isinstance(config_class, type) and is_dataclass(config_class):
            assert config_class.__doc__, config_class
            for each in fields(config_class):
                help = each.metadata.get("help", "")
                assert help.endswith((".", "…")), f"{config_class.__name__}.{each.name}: {help!r}"

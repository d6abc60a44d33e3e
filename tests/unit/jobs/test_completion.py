"""Completion in a shell, driven as shells drive it: words in the environment, answers on stdout."""

import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from jobs import cli, completion, config, workspace
from pipeline import catalog_tables
from pipeline.catalog import Catalog
from tests.catalog_factories import fill_source, open_label_set

ROOT = Path(__file__).resolve().parents[3]
FACTORY = [sys.executable, "-m", "jobs.cli"]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder to be in, whose default store knows some names."""
    (tmp_path / "factory-store").mkdir()
    with Catalog.open(f"sqlite:///{tmp_path}/factory-store/catalog.sqlite") as catalog:
        fill_source(catalog, "photos", 1)
        fill_source(catalog, "places", 1)
        open_label_set(catalog, "photos-v1")
        catalog.register_model(
            "prior", sha256="0" * 64, family="v2", geometry="metric_depth", kind="external", key="m"
        )
        for _ in range(2):
            catalog.begin_run("student", name="pupil", config={}, code_version="1")
    return tmp_path


def answer(monkeypatch, capfd, *words: str) -> list[str]:
    """What is offered for the last of these words; the command line never runs anything."""
    line = ["factory", *words]
    monkeypatch.setenv("_FACTORY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(line))
    monkeypatch.setenv("COMP_CWORD", str(len(line) - 1))
    with pytest.raises(SystemExit) as end:
        cli.run([])
    written = capfd.readouterr()
    assert (end.value.code, written.err) == (0, "")
    return written.out.split()


@pytest.fixture
def offered(monkeypatch, capfd, folder):
    for name in ("FACTORY_STORE", "FACTORY_CATALOG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return lambda *words: answer(monkeypatch, capfd, *words)


def test_verbs_flags_and_choices(offered):
    assert offered("pl") == ["plan"]
    assert {"doctor", "label", "catalog"} <= set(offered(""))
    assert offered("catalog", "ver") == ["verify"]
    assert offered("label", "--prec") == ["--precision"]
    assert offered("label", "x", "--precision", "") == ["auto", "fp32", "bf16"]
    assert offered("label", "x", "--retry", "q") == ["quarantined"]


def test_names_of_the_catalog(offered):
    assert offered("label", "") == ["photos", "places"]
    assert offered("label", "photos", "pl") == ["places"]
    assert offered("label", "photos", "--teacher", "") == ["prior"]
    assert offered("train-student", "--labelled", "places", "--pseudo", "") == ["photos-v1"]
    assert offered("report", "p") == ["photos", "photos-v1", "places", "prior", "pupil"]
    assert offered("catalog", "lineage", "pr") == ["prior"]
    assert offered("catalog", "card", "") == ["prior"]
    assert offered("catalog", "verify", "") == ["photos", "photos-v1", "places"]


def test_the_catalog_is_where_the_line_so_far_says(offered, folder, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    store = folder / "factory-store"
    assert offered("label", "") == []
    assert offered("label", "--store", str(store), "ph") == ["photos"]
    assert offered("label", "--catalog", f"sqlite:///{store}/catalog.sqlite", "ph") == ["photos"]
    monkeypatch.setenv("FACTORY_STORE", f"file://{store}")
    assert offered("label", "ph") == ["photos"]
    monkeypatch.setenv("FACTORY_CATALOG", "postgresql://u:secret@127.0.0.1:1/x")
    assert offered("label", "ph") == []


@pytest.mark.parametrize(
    "words",
    [
        ["label", "--store", "/dev/null", "x"],
        ["label", "--store", "s3://bucket", "x"],
        ["label", "'unclosed"],
        ["no-such-verb", ""],
        ["label", "--no-such-flag", ""],
        ["catalog", "nothing", ""],
        ["label", "--config", ""],
    ],
)
def test_nothing_that_is_wrong_is_written_into_the_line(offered, words):
    offered(*words)


def test_a_damaged_catalog_offers_nothing(offered, folder):
    (folder / "factory-store/catalog.sqlite").write_bytes(b"no database at all" * 100)
    assert offered("label", "") == []


def test_looking_for_names_leaves_nothing_behind(offered, folder):
    before = sorted(folder.rglob("*"))
    assert offered("label", "") == ["photos", "places"]
    assert sorted(folder.rglob("*")) == before


def test_a_prefix_is_no_pattern(folder):
    file = folder / "factory-store/catalog.sqlite"
    assert completion.names_in(file, ["sources"], prefix="ph%") == []
    assert completion.names_in(file, ["sources"], prefix="_") == []


def test_tables_and_files_are_those_of_the_catalog():
    known = [catalog_tables.sources, catalog_tables.label_sets, catalog_tables.models]
    assert [table.name for table in known] == list(completion.EVERYTHING)
    assert catalog_tables.runs.name == completion.RUNS
    assert workspace.CATALOG_FILE == completion.CATALOG_FILE


def test_every_field_that_completes_exists():
    verbs = [*cli.VERBS.values(), *cli.REPAIRS.values(), cli.CATALOG]
    classes = {each.config_class for each in verbs} | {config.LabelConfig}
    there = {f"{c.__name__}.{each.name}" for c in classes for each in fields(c)}
    there |= {name.partition(".")[2] for name in there}
    assert set(completion.NAMES) <= there


def test_a_completion_imports_nothing_heavy(folder):
    code = (
        "import sys; from jobs import cli\n"
        "try: cli.run([])\n"
        "except SystemExit: pass\n"
        "heavy = {'fsspec', 'sqlalchemy', 'torch', 'ray', 'pyarrow'}\n"
        "print(sorted(heavy & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ
        | {
            "_FACTORY_COMPLETE": "complete_bash",
            "COMP_WORDS": "factory label ph",
            "COMP_CWORD": "2",
        }
        | {"PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    words, heavy = done.stdout.splitlines()
    assert words == "photos"
    assert heavy == "[]"


def script(home: Path) -> Path:
    """A ``factory`` that runs this code, on a PATH of its own."""
    command = home / "bin" / "factory"
    command.parent.mkdir(parents=True)
    runs = f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m jobs.cli "$@"'
    command.write_text(f"#!/bin/sh\n{runs}\n")
    command.chmod(0o755)
    return command


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_after_install_completion(folder, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    command = script(home)
    environment = {"HOME": str(home), "PATH": f"{command.parent}:/usr/bin:/bin", "TERM": "dumb"}
    session = (
        "factory --install-completion >/dev/null && . ~/.bash_completions/factory.sh\n"
        "COMP_WORDS=(factory label --teacher p); COMP_CWORD=3; _factory_completion factory\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", session],
        env=environment, cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "prior\n", "")

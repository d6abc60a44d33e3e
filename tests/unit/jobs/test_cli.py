"""The command line, with real configuration classes and small real functions as verbs."""

import json
import os
import subprocess
import sys
from dataclasses import MISSING, fields, replace

import numpy as np
import pytest

from jobs import cli
from jobs.config import CATALOG_QUESTIONS
from jobs.errors import ConfigError, Interrupted, JobError
from jobs.settings import flag_name
from model.errors import CheckpointError, NonFiniteLossError
from pipeline.errors import (
    CatalogConflictError,
    CatalogMissingError,
    LeaseLostError,
    ShardCorruptError,
    SourceError,
    StorageError,
)

SEEN: list[object] = []
TO_RAISE: list[BaseException] = []
SUMMARY: dict[str, object] = {}


def verb(config, *, reporter=None):
    """Stands in for every verb: remembers its configuration, fails when asked to."""
    SEEN.append(config)
    reporter.note("a note for people")
    print("printed by a library")
    os.write(1, b"written by a library in C\n")
    if TO_RAISE:
        raise TO_RAISE[0]
    return dict(SUMMARY)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """Every verb runs the function above, found by import like a real one."""
    module = type(sys)("stand_in")
    module.verb = verb
    monkeypatch.setitem(sys.modules, "stand_in", module)
    for name, each in cli.VERBS.items():
        monkeypatch.setitem(cli.VERBS, name, replace(each, function="stand_in:verb"))
    monkeypatch.setattr(cli, "CATALOG", cli.Verb(cli.CATALOG.config_class, "stand_in:verb"))
    monkeypatch.delenv("FACTORY_TRACEBACK", raising=False)
    SEEN.clear(), TO_RAISE.clear(), SUMMARY.clear()
    SUMMARY.update(done=3)


def run(line: str, *more: str) -> int:
    return cli.run([*line.split(), *more])


def configured(line: str, *more: str):
    assert run(line, *more) == 0
    return SEEN[-1]


def test_flags_arguments_switches_and_lists_reach_the_configuration():
    config = configured(
        "label photos streets --teacher t --gpus-per-actor 0.5 --label-set s --store x"
    )
    assert config.sources == ("photos", "streets")
    assert (config.gpus_per_actor, config.label_set, config.store) == (0.5, "s", "x")
    assert configured("ingest a --source b --by-reference").by_reference is True
    assert configured("ingest a --source b --no-by-reference").by_reference is False
    config = configured("train-student --labelled a b --pseudo c --labelled d --encoder e --name n")
    assert (config.labelled, config.pseudo) == (("a", "b", "d"), ("c",))


def test_a_flag_may_have_another_spelling():
    assert configured("ingest a --source b --license MIT").licence == "MIT"
    assert configured("ingest a --source b --licence MIT").licence == "MIT"


@pytest.mark.parametrize(
    "line", ["evaluate m --benchmark p=a p=b", "evaluate --benchmark p=a m --benchmark p=b"]
)
def test_list_flags_and_a_positional_argument(line):
    config = configured(line)
    assert (config.models, config.benchmark) == (("m",), ("p=a", "p=b"))


def test_negative_numbers_and_values_that_look_like_paths():
    assert configured("predict m /a/b.jpg c.png --out ./x").images == ("/a/b.jpg", "c.png")
    student = "train-student --pseudo p --encoder e --name n"
    assert configured(f"{student} --min-flip-correlation -0.5").min_flip_correlation == -0.5


def test_settings_come_from_file_and_environment_too(tmp_path, monkeypatch):
    file = tmp_path / "run.yaml"
    file.write_text("teacher: from-file\nlabel-set: from-file\nby: 1\n")
    assert run("label photos --config", str(file)) == 2
    file.write_text("sources: [photos]\nteacher: from-file\nlabel-set: from-file\n")
    monkeypatch.setenv("FACTORY_STORE", "from-env")
    config = configured("label --teacher from-flag --config", str(file))
    assert (config.teacher, config.label_set, config.store) == (
        "from-flag",
        "from-file",
        "from-env",
    )
    assert config.sources == ("photos",)


def test_a_plan_takes_the_file_of_the_run_and_says_what_it_does_not_use(tmp_path, capfd):
    file = tmp_path / "label.yaml"
    file.write_text("sources: [photos]\nteacher: t\nbits: 12\nlimit: 9\nretry: failed\n")
    config = configured("plan --config", str(file))
    assert (config.sources, config.bits) == (("photos",), 12)
    assert f"{file}: not used here: limit, retry\n" in capfd.readouterr().err
    assert configured("label --config", str(file)).limit == 9
    assert "not used" not in capfd.readouterr().err
    file.write_text("sources: [photos]\nteacher: t\nbatches: 3\n")
    assert run("label --config", str(file)) == 2


@pytest.mark.parametrize("question", CATALOG_QUESTIONS)
def test_every_question_to_the_catalog_is_a_command(question):
    has_ref = question in ("shards", "lineage")
    config = configured(f"catalog {question}{' photos' if has_ref else ''}")
    assert (config.question, config.ref) == (question, "photos" if has_ref else None)


def test_every_verb_of_the_table_has_a_module_of_its_name():
    for name, each in cli.VERBS.items():
        assert each.config_class.__doc__, name
    assert set(cli.VERBS) == {
        "ingest", "plan", "label", "train-teacher", "train-student", "finetune-metric", "evaluate",
        "status", "predict", "export", "report", "demo", "doctor",
    }  # fmt: skip


@pytest.mark.parametrize("name", cli.VERBS)
def test_help_says_everything_the_fields_say(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    assert run(f"{name} --help") == 0
    shown = capsys.readouterr().out
    for each in fields(cli.VERBS[name].config_class):
        assert each.metadata["help"] in shown
        assert flag_name(each) in shown
        for choice in each.metadata.get("choices") or ():
            assert choice in shown
        if each.metadata.get("env"):
            assert f"environment: {each.metadata['env']}" in shown
        if each.default is MISSING and each.default_factory is MISSING:
            assert "required" in shown


@pytest.mark.parametrize("line", ["--help", "label -h", "catalog --help", "catalog shards -h"])
def test_help_names_the_type_of_no_switch(line, capsys):
    assert run(line) == 0
    shown = capsys.readouterr().out
    assert "--help" in shown and "bool" not in shown.lower()


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.count(".") >= 1


@pytest.mark.parametrize("line", ["", "catalog"])
def test_without_a_command_there_is_help(line, capsys):
    assert run(line) == 0
    assert "Usage: factory" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("labell photos --json", "No such command 'labell'"),
        ("label photos --json --techer t", "No such option: --techer"),
        ("label photos --json --teacher", "'--teacher' requires an argument"),
        ("report a b --out c --json", "unexpected extra argument"),
        ("catalog shard --json", "No such command 'shard'"),
    ],
)
def test_what_the_shell_gets_wrong_is_status_2(line, said, capsys):
    assert run(line) == 2
    out, err = capsys.readouterr()
    assert said in err
    answer = json.loads(out)
    assert answer["kind"] == "usage" and said in answer["error"]
    assert not SEEN


def test_every_wrong_setting_is_listed(capsys):
    assert run("ingest --role lablled --shard-images many --json") == 2
    out, err = capsys.readouterr()
    for said in (
        "4 problems",
        "URI is missing",
        "--source is missing",
        "--shard-images: expected a whole number, got 'many'",
        "did you mean 'labelled'?",
    ):
        assert said in err
    assert json.loads(out)["kind"] == "ConfigError"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (JobError("shard 7 failed"), 1),
        (ShardCorruptError("shard 7 is short"), 1),
        (StorageError("disk full"), 1),
        (LeaseLostError("shard 7"), 1),
        (NonFiniteLossError("step 3"), 1),
        (ConfigError(["no such thing"]), 2),
        (SourceError("nothing at photos/"), 2),
        (CatalogConflictError("photos is another source"), 2),
        (CatalogMissingError("photoz"), 2),
        (CheckpointError("no config.json"), 2),
    ],
)
def test_our_errors_are_a_sentence_and_a_status(error, status, capfd):
    TO_RAISE.append(error)
    assert run("label photos --teacher t") == status
    err = capfd.readouterr().err
    assert f"Error: {error}" in err
    assert "Traceback" not in err


def test_our_errors_say_what_to_do(capfd):
    TO_RAISE.append(ShardCorruptError("shard 7 is short"))
    run("label photos --teacher t")
    assert "What to do: restore or remake that shard" in capfd.readouterr().err


def test_a_traceback_on_demand(capfd, monkeypatch):
    monkeypatch.setenv("FACTORY_TRACEBACK", "1")
    TO_RAISE.append(StorageError("disk full"))
    assert run("label photos --teacher t") == 1
    assert "Traceback" in capfd.readouterr().err


def test_an_error_that_is_not_ours_keeps_its_traceback(capfd):
    TO_RAISE.append(ZeroDivisionError("oops"))
    assert run("label photos --teacher t --json") == 1
    out, err = capfd.readouterr()
    assert "Traceback" in err and "ZeroDivisionError: oops" in err
    assert json.loads(out) == {"error": "oops", "kind": "ZeroDivisionError"}


@pytest.mark.parametrize("kind", [StorageError, ZeroDivisionError])
def test_credentials_do_not_reach_the_terminal(kind, capfd):
    TO_RAISE.append(kind("cannot reach postgresql://me:secret@host/db"))
    run("label photos --teacher t --json")
    assert "secret" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "error", [ConfigError(["no \x1b[31m\udcff"]), JobError("no \x1b[31m\udcff")]
)
def test_what_a_name_holds_steers_no_terminal_and_breaks_no_json(error, capfd):
    TO_RAISE.append(error)
    assert run("label photos --teacher t --json") != 0
    said = capfd.readouterr()
    assert "no \\x1b[31m\\udcff" in said.err and "\x1b" not in said.err
    assert json.loads(said.out)["error"] == "no \x1b[31m\\udcff"
    TO_RAISE.clear()
    SUMMARY.update({"\udcff": ["\udcff"]})
    assert run("label photos --teacher t --json") == 0
    assert json.loads(capfd.readouterr().out)["\\udcff"] == ["\\udcff"]


def test_wrong_usage_steers_no_terminal(capfd):
    assert run("--json", "\x1b[31m\udcff") == 2
    assert "\x1b" not in capfd.readouterr().err


def test_interrupted(capfd):
    TO_RAISE.append(KeyboardInterrupt())
    assert run("label photos --teacher t --json") == 130
    out, err = capfd.readouterr()
    assert err.splitlines()[-1] == "Interrupted: run the same command again to go on."
    assert "Traceback" not in err
    assert json.loads(out)["error"] == "interrupted"


def test_interrupted_work_says_what_is_done(capfd):
    TO_RAISE.append(Interrupted("Interrupted. 3 of 9 shards done.", {"shards_done": 3}))
    assert run("label photos --teacher t --json") == 130
    out, err = capfd.readouterr()
    assert err.splitlines()[-1] == "Interrupted. 3 of 9 shards done."
    assert json.loads(out) == {
        "error": "interrupted", "kind": "KeyboardInterrupt", "shards_done": 3
    }  # fmt: skip


def test_interrupted_training_is_gone_on_with_by_a_flag(capfd):
    TO_RAISE.append(KeyboardInterrupt())
    assert run("train-teacher --labelled photos --encoder scratch:tiny --name t") == 130
    assert "again with --resume to go on" in capfd.readouterr().err
    TO_RAISE.append(KeyboardInterrupt())
    words = "train-teacher --labelled photos --encoder scratch:tiny --name t --resume-if-any"
    assert run(words) == 130
    assert "run the same command again to go on" in capfd.readouterr().err


def test_a_failed_shard_is_status_1():
    SUMMARY.update(shards_failed=1)
    assert run("label photos --teacher t") == 1
    SUMMARY.update(shards_failed=0)
    assert run("label photos --teacher t") == 0


def test_json_is_the_only_thing_on_stdout(capfd):
    SUMMARY.update(
        nothing=np.float32("nan"), count=np.int64(7), share=np.float64(0.5), reasons={"è": 1}
    )
    assert run("label photos --teacher t --json") == 0
    out, err = capfd.readouterr()
    assert out.count("\n") == 1
    assert json.loads(out) == {
        "done": 3, "nothing": None, "count": 7, "share": 0.5, "reasons": {"è": 1}
    }  # fmt: skip
    for said in ("a note for people", "printed by a library", "written by a library in C"):
        assert said in err


def test_people_get_the_summary_on_stdout_and_notes_on_stderr(capfd):
    assert run("label photos --teacher t") == 0
    out, err = capfd.readouterr()
    assert "done  3" in out
    assert "a note for people" in err


@pytest.mark.parametrize("line", ["--help", "label --help", "catalog --help", "label --teacher t"])
def test_help_and_wrong_usage_import_nothing_heavy(line):
    """What makes `factory --help` answer at once; a stopwatch would say less and fail by chance."""
    code = (
        "import sys; from jobs.cli import run; run(sys.argv[1:]);"
        "heavy = {'torch', 'ray', 'pyarrow', 'transformers', 'numpy', 'sqlalchemy', 'fsspec'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *line.split()], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_reader_that_stops_reading_is_no_crash():
    done = subprocess.run(
        f"{sys.executable} -m jobs.cli --help | true",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr

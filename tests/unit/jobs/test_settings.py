import typing
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import pytest

from jobs import config as configs
from jobs.config import Common, IngestConfig, LabelConfig, ReportConfig, option, required
from jobs.errors import ConfigError
from jobs.settings import load_settings, resolved
from jobs.training_config import TrainingOptions, TrainStudentConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyConfig(Common):
    """A verb with a field of every kind."""

    name: str = required("Its name.")
    count: int = option("How many.", 3, minimum=1)
    share: float | None = option("Which part.", maximum=40)
    eager: bool = option("Whether at once.", False)
    mode: str = option("How.", "slow", choices=("slow", "fast"))
    parts: tuple[str, ...] = option("Of what.", ())


def load(config_class=ToyConfig, *, file=None, environ=None, **flags):
    return load_settings(config_class, flags=flags, file=file, environ=environ or {})


def problems_of(**arguments) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(**arguments)
    return caught.value.problems


@pytest.fixture
def yaml(tmp_path: Path):
    def write(text: str) -> Path:
        file = tmp_path / "toy.yaml"
        file.write_text(text)
        return file

    return write


def test_defaults_hold_where_nothing_is_given():
    assert load(name="a") == ToyConfig(name="a")


def test_flags_win_over_file_over_environment_over_default(yaml):
    environ = {
        "FACTORY_STORE": "from-env",
        "FACTORY_CATALOG": "from-env",
        "RAY_ADDRESS": "from-env",
    }
    file = yaml("store: from-file\ncatalog: from-file\nname: from-file\n")
    config = load(file=file, environ=environ, store="from-flag")
    assert (config.store, config.catalog, config.ray) == ("from-flag", "from-file", "from-env")
    assert config.name == "from-file"
    assert load(name="a").store == "./factory-store"


def test_an_empty_environment_variable_is_not_set():
    assert load(name="a", environ={"FACTORY_STORE": ""}).store == "./factory-store"


def test_every_kind_of_value_is_read_from_yaml(yaml):
    file = yaml(
        "name: a\ncount: 7\nshare: 5e-6\neager: true\nmode: fast\nparts: [x, y]\nray: null\n"
    )
    config = load(file=file, environ={"RAY_ADDRESS": "auto"})
    assert config == ToyConfig(
        name="a", count=7, share=5e-6, eager=True, mode="fast", parts=("x", "y"), ray=None
    )


def test_text_of_flags_becomes_the_declared_type():
    config = load(name="a", count="7", share="0.5", parts=["x"], eager=False)
    assert (config.count, config.share, config.parts, config.eager) == (7, 0.5, ("x",), False)


def test_keys_may_have_hyphens_and_one_value_makes_a_list(yaml):
    file = yaml("sources: photos\nteacher: t\ngpus-per-actor: 0.5\n")
    config = load(LabelConfig, file=file)
    assert (config.sources, config.gpus_per_actor) == (("photos",), 0.5)


def test_all_problems_are_reported_at_once_each_with_its_place(yaml):
    file = yaml("cuont: 3\nshare: wide\nmode: fsat\nparts: [1]\neager: 2\n")
    problems = problems_of(file=file, count="many", store=None)
    assert problems == [
        f"{file}: unknown key 'cuont' (did you mean 'count'?)",
        "--name is missing: Its name.",
        "--count: expected a whole number, got 'many'",
        f"{file}: share: expected a number, got 'wide'",
        f"{file}: eager: expected true or false, got 2",
        f"{file}: mode: 'fsat' is not one of slow, fast (did you mean 'fast'?)",
        f"{file}: parts: expected text, got 1 (in YAML, put it in quotes)",
    ]


def test_a_wrong_environment_variable_is_named():
    @dataclass(frozen=True, kw_only=True, slots=True)
    class FromEnvironment(Common):
        count: int = option("How many.", 1, env="TOY_COUNT")

    with pytest.raises(ConfigError, match="environment variable TOY_COUNT: expected a whole"):
        load(FromEnvironment, environ={"TOY_COUNT": "x"})


@pytest.mark.parametrize("value", ["0", "-1"])
def test_values_below_the_minimum_are_refused(value):
    assert problems_of(name="a", count=value) == [f"--count: must be at least 1, got {value}"]


def test_a_value_above_the_maximum_is_refused_and_the_maximum_is_not():
    assert problems_of(name="a", share="40.5") == ["--share: must be at most 40, got 40.5"]
    assert load(name="a", share="40").share == 40


@pytest.mark.parametrize("text", ["name: yes", "name: 12", "name: 2024-01-01"])
def test_text_that_yaml_takes_for_something_else_is_refused_not_converted(yaml, text):
    [problem] = problems_of(file=yaml(text))
    assert "expected text" in problem and "quotes" in problem


@pytest.mark.parametrize(
    "text", ["count: 1.5", "count: true", "share: .nan", "share: nan", "share: -inf", "share: [1]"]
)
def test_near_numbers_are_refused(yaml, text):
    [problem] = problems_of(file=yaml(f"name: a\n{text}"))
    assert "expected a" in problem


def test_no_value_for_a_setting_that_needs_one(yaml):
    [problem] = problems_of(file=yaml("name: a\nmode:\n"))
    assert problem.endswith("mode: needs a value, got nothing")


@pytest.mark.parametrize("text", ["name: a\nname: b\n", "name: a\ncount: 1\ncount: 2\n"])
def test_a_key_that_stands_there_twice_is_a_problem(yaml, text):
    [problem] = problems_of(file=yaml(text))
    assert problem.endswith("stands there twice")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "expected one mapping"),
        ("name: [a\n", "is not YAML"),
        ("name: !!python/object:os.system x", "is not YAML"),
    ],
)
def test_a_file_that_is_not_a_mapping_of_settings(yaml, text, said):
    assert any(said in problem for problem in problems_of(file=yaml(text), name="a"))


def test_a_file_that_is_not_there(tmp_path):
    [problem] = problems_of(file=tmp_path / "none.yaml", name="a")
    assert "none.yaml: cannot be read: No such file" in problem


def test_a_file_may_have_what_another_verb_needs_and_that_is_said(yaml):
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Other(Common):
        limit: int | None = option("How many.", minimum=1)
        final: str = option("Last.", "a")

    def load_both(file, said, **flags):
        return load_settings(
            ToyConfig, flags=flags, file=file, environ={}, also=Other, note=said.append
        )

    said: list[str] = []
    file = yaml("name: a\nfinal: b\ncount: 7\nlimit: 3\n")
    config = load_both(file, said, count="8")
    assert config == ToyConfig(name="a", count=8)
    assert said == [f"{file}: not used here: final, limit"]
    with pytest.raises(ConfigError) as refused:
        load_both(yaml("name: a\nlimit: 0\nfinale: b\n"), said)
    unknown, value = refused.value.problems
    assert "unknown key 'finale' (did you mean 'final'?)" in unknown
    assert value.endswith("limit: must be at least 1, got 0")
    assert len(said) == 1, "nothing is said of a file that is refused"
    assert load_both(yaml("name: a\n"), said).name == "a" and len(said) == 1
    [problem] = problems_of(file=yaml("name: a\nlimit: 3\n"))
    assert "unknown key 'limit'" in problem


def test_an_empty_file_sets_nothing(yaml):
    assert load(file=yaml(""), name="a") == ToyConfig(name="a")


CONFIG_CLASSES = [
    each
    for each in vars(configs).values()
    if isinstance(each, type) and issubclass(each, Common) and each not in (Common, TrainingOptions)
]


@pytest.mark.parametrize("config_class", CONFIG_CLASSES)
def test_every_field_of_every_verb_can_be_given_as_text(config_class):
    kinds = typing.get_type_hints(config_class)
    texts = {each.name: _some_text(each, kinds[each.name]) for each in fields(config_class)}
    config = load(config_class, **texts)
    for each in fields(config_class):
        assert (
            str(getattr(config, each.name)).strip("(',)").removesuffix(".0").lower()
            == texts[each.name]
        ), each.name


def _some_text(of, kind) -> str:
    """Something that may be given for a field."""
    if of.metadata.get("choices"):
        return of.metadata["choices"][0]
    number = "50" if of.metadata.get("maximum") is None else str(of.metadata["maximum"])
    return "true" if kind is bool else number


@pytest.mark.parametrize("config_class", CONFIG_CLASSES)
def test_defaults_are_allowed_values(config_class):
    for each in fields(config_class):
        default, allowed = each.default, each.metadata.get("choices")
        if allowed and default not in (None, MISSING):
            assert str(default) in allowed, each.name
        if each.metadata.get("minimum") is not None and default is not None:
            assert default >= each.metadata["minimum"], each.name


@pytest.mark.parametrize("name", ["a/b", "..", "", "-x", "a b", "n" * 129])
def test_names_that_cannot_be_folders_are_refused(name):
    problems = problems_of(config_class=IngestConfig, uri="photos", source=name)
    assert len(problems) == 1 and problems[0].startswith("--source: ")
    assert repr(name) in problems[0]


def test_resolved_holds_every_setting_and_no_credentials():
    config = TrainStudentConfig(
        pseudo=("a", "https://t:k@h/x"),
        encoder="scratch:tiny",
        name="s",
        catalog="postgresql://me:secret@host/db",
    )
    written = resolved(config)
    assert list(written) == [each.name for each in fields(config)]
    assert written["catalog"] == "postgresql://me:***@host/db"
    assert written["pseudo"] == ["a", "https://t:***@h/x"]
    assert (written["steps"], written["workers"]) == (None, 1)


def test_resolved_can_be_loaded_again(yaml):
    import yaml as library

    config = IngestConfig(uri="photos", source="p", min_side=8, by_reference=True)
    assert load(IngestConfig, file=yaml(library.safe_dump(resolved(config)))) == config


def test_results_for_people_are_not_written_to_a_folder_named_like_a_url():
    flags = {"target": "photos", "out": "s3://bucket/report.html"}
    [problem] = problems_of(config_class=ReportConfig, **flags)
    assert problem.startswith("--out: 's3://bucket/report.html' is no path of this machine")


def test_a_long_list_of_choices_is_not_recited_for_one_wrong_letter():
    with pytest.raises(ConfigError) as error:
        load_settings(
            IngestConfig, flags={"uri": "x", "source": "y", "layout": "sa1b"}, file=None, environ={}
        )
    assert str(error.value) == "--layout: 'sa1b' is not one of the choices (did you mean 'sa-1b'?)"
    with pytest.raises(ConfigError, match="google-landmarks-v2"):
        load_settings(
            IngestConfig, flags={"uri": "x", "source": "y", "layout": "?"}, file=None, environ={}
        )

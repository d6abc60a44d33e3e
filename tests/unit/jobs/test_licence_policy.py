"""What a policy refuses, what it warns of, and that training asks it before anything starts."""

import pytest

from jobs.errors import ConfigError
from jobs.licence_policy import check_licences, check_rehost, check_training
from jobs.settings import resolved
from jobs.train_student import train_student
from jobs.training_config import TrainStudentConfig
from jobs.workspace import open_workspace
from pipeline.licences import terms_from
from tests.catalog_factories import fill_source, label_all, open_label_set

LICENCES = {"free": "CC0-1.0", "named": "CC-BY-4.0", "bound": "CC-BY-NC-SA-4.0", "mute": None}


@pytest.fixture
def config(tmp_path):
    return TrainStudentConfig(
        store=str(tmp_path), name="s", encoder="scratch:tiny", labelled=("bound", "free"),
        pseudo=("labels",),
    )  # fmt: skip


@pytest.fixture
def catalog(config):
    with open_workspace(config) as workspace:
        for name, licence in LICENCES.items():
            role = "unlabelled" if name == "mute" else "labelled"
            fill_source(workspace.catalog, name, 1, role=role)
            if licence:
                workspace.catalog.set_terms(name, terms_from({"licence": licence}, title=name))
        open_label_set(workspace.catalog, "labels", teacher="depth-anything/x")
        label_all(workspace.catalog, "labels", ["mute"])
        yield workspace.catalog


def said(catalog, *names, allowed=()):
    warnings = []
    things = [("source", name) for name in names]
    check_licences(catalog, things, allowed=allowed, warn=warnings.append)
    return "\n".join(warnings)


def test_without_a_policy_whatever_is_in_doubt_is_named(catalog):
    text = said(catalog, *LICENCES)
    assert "source bound (CC-BY-NC-SA-4.0): no" in text
    assert "source mute (licence unknown): unknown" in text
    assert "free" not in text and "named" not in text
    assert said(catalog, "free", "named") == ""


def test_a_policy_refuses_every_other_licence_at_once(catalog):
    with pytest.raises(ConfigError) as error:
        said(catalog, *LICENCES, allowed=["cc0-1.0", "CC-BY-[0-9]*"])
    assert len(error.value.problems) == 2
    assert "source bound (CC-BY-NC-SA-4.0): not allowed by cc0-1.0" in str(error.value)
    assert "source mute (licence unknown)" in str(error.value)
    assert said(catalog, "free", "named", allowed=["CC0-1.0", "CC-BY-4.0"]) == ""


def test_what_a_wildcard_let_through_is_still_spoken_of(catalog):
    assert "source bound" in said(catalog, "bound", allowed=["CC-BY-*"])
    assert said(catalog, "bound", allowed=["CC-BY-NC-SA-4.0"]) == ""
    assert said(catalog, *LICENCES, allowed=["any"]) == ""


def test_publishing_again(catalog):
    check_rehost(catalog, ["free", "named", "bound"])
    with pytest.raises(ConfigError, match=r"source mute.*\(unknown\)"):
        check_rehost(catalog, ["free", "mute"])


def test_training_answers_for_labels_and_teachers(config, catalog):
    warnings = []
    check_training(config, config.pseudo, catalog, warn=warnings.append)
    assert "source mute (licence unknown; behind label-set labels)" in warnings[0]
    assert "model depth-anything/x (licence unknown; behind label-set labels)" in warnings[0]
    assert "scratch" not in warnings[0]


def test_a_refused_run_leaves_nothing_behind(tmp_path, config, catalog):
    refused = TrainStudentConfig(**{**resolved(config), "allow_licence": ("CC0-1.0",)})
    with pytest.raises(ConfigError) as error:
        train_student(refused)
    assert {"source bound", "source mute", "model depth-anything/x"} <= {
        " ".join(problem.split()[:2]) for problem in error.value.problems
    }
    assert catalog.runs() == []


def test_what_was_allowed_is_recorded_with_the_run(config):
    allowed = TrainStudentConfig(**{**resolved(config), "allow_licence": ("MIT", "CC*")})
    assert resolved(allowed)["allow_licence"] == ["MIT", "CC*"]

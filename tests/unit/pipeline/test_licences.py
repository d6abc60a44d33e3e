"""Licences by name."""

import pytest

from pipeline.licences import (
    Permits,
    allows,
    names,
    permissions,
    permits,
    terms_from,
    terms_problems,
)


@pytest.mark.parametrize(
    ("patterns", "licence", "allowed"),
    [
        (["CC-BY-4.0"], "CC-BY-4.0", True),
        (["cc by 4.0"], "CC-BY-4.0", True),
        (["CC-BY-4.0"], "CC BY 4.0", True),
        (["CC-BY-4.0"], "CC-BY-SA-4.0", False),
        (["CC-BY-*"], "CC-BY-NC-4.0", True),
        (["CC-BY-[0-9]*"], "CC-BY-NC-4.0", False),
        (["CC-BY-[0-9]*"], "CC-BY-4.0", True),
        (["MIT", "CC0*"], "CC0-1.0", True),
        (["MIT"], None, False),
        (["unknown"], None, True),
        (["any"], None, True),
        (["ANY"], "my own", True),
        ([], "CC0-1.0", False),
    ],
)
def test_patterns(patterns, licence, allowed):
    assert allows(patterns, licence) is allowed


def test_a_wildcard_names_no_licence():
    assert allows(["CC-BY-*"], "CC-BY-NC-4.0") and not names(["CC-BY-*"], "CC-BY-NC-4.0")
    assert names(["CC-BY-*", "cc-by-nc-4.0"], "CC-BY-NC-4.0")
    assert names(["any"], None)


@pytest.mark.parametrize(
    ("licence", "commercial", "rehost"),
    [
        ("CC0-1.0", "yes", "yes"),
        ("Apache-2.0", "yes", "yes"),
        ("CC BY 4.0", "yes", "yes"),
        ("CC-BY-SA-3.0", "conditions", "yes"),
        ("CC-BY-ND-4.0", "conditions", "yes"),
        ("CC-BY-NC-SA-4.0", "no", "conditions"),
        ("cc-by-nc-sa-3.0-igo", "no", "conditions"),
        ("CC BY", "yes", "yes"),
        ("BSD 3-Clause", "yes", "yes"),
        ("Apache License 2.0", "yes", "yes"),
        ("Apache-2.0, CC-BY-NC-4.0", "unknown", "unknown"),
        ("CC-BY-4.0, CC-BY-NC-4.0", "unknown", "unknown"),
        ("CC-BYNC-4.0", "unknown", "unknown"),
        ("Apache-2.0 text in its repository", "unknown", "unknown"),
        ("MITRE terms", "unknown", "unknown"),
        ("SA-1B Dataset Research License", "unknown", "unknown"),
        (None, "unknown", "unknown"),
    ],
)
def test_what_a_licence_permits(licence, commercial, rehost):
    assert permits(licence) == Permits(commercial, rehost)


def test_recorded_terms_win_over_what_the_licence_says():
    terms = {"commercial": "no", "rehost": "unknown"}
    assert permissions(terms, "MIT") == Permits("no", "unknown")
    assert permissions(None, "MIT") == Permits("yes", "yes")


def test_every_problem_of_terms_is_said():
    given = {"licence": 4.0, "rehost": "perhaps", "attribution": "yes", "owner": "me"}
    problems = "\n".join(terms_problems(given))
    assert "unknown key 'owner'" in problems and "'perhaps' is not one of yes, " in problems
    assert "licence: expected text, got 4.0" in problems
    assert "attribution: expected true or false, got 'yes'" in problems
    assert terms_problems({"title": "t", "licence": "MIT", "commercial": "no"}) == []


def test_terms_from_a_licence_alone():
    terms = terms_from({"licence": "CC-BY-NC-4.0", "homepage": "https://x"}, title="mine")
    assert (terms["title"], terms["homepage"]) == ("mine", "https://x")
    assert (terms["commercial"], terms["rehost"]) == ("no", "conditions")
    assert terms_from({}, title="t")["licence"] == "unknown"
    assert terms_from({"licence": "MIT", "rehost": "no"}, title="t")["rehost"] == "no"

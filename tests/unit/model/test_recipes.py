import dataclasses
import re

import pytest

from model.recipes import (
    PRESETS,
    UNUSED,
    V1,
    V1_TEACHER,
    V2,
    V2_TEACHER,
    Recipe,
    override,
    parse_overrides,
    preset,
    rows,
)


def origin(recipe, name):
    (found,) = (row.origin for row in rows(recipe) if row.field == name)
    return found


FIELDS = [field.name for field in dataclasses.fields(Recipe)]

PRINTED = {  # arXiv:2401.10891, section in the recipe's origin
    "size": 518,
    "pseudo_only": False,
    "pseudo_per_labelled": 2.0,
    "passes": 1.0,
    "steps": 0,
    "learning_rate": 5e-6,
    "head_learning_rate_ratio": 10.0,
    "decay_power": 1.0,
    "gradient_matching_weight": 0.0,
    "feature_weight": 1.0,
    "feature_margin": 0.85,
    "cutmix_probability": 0.5,
}
PRINTED_IN_V2 = {  # arXiv:2406.09414
    "size": 518,
    "pseudo_only": True,
    "batch_size": 192,
    "steps": 480_000,
    "learning_rate": 5e-6,
    "head_learning_rate_ratio": 10.0,
    "weight_decay": 0.0,
    "gradient_matching_weight": 2.0,
    "trimmed_share": 0.1,
    "feature_margin": 0.85,
}


@pytest.mark.parametrize(
    ("recipe", "printed", "mark"), [(V1, PRINTED, "paper (§"), (V2, PRINTED_IN_V2, "paper (V2 §")]
)
def test_presets_have_the_values_of_the_papers_and_say_so(recipe, printed, mark):
    for name, value in printed.items():
        assert getattr(recipe, name) == value
        assert origin(recipe, name).startswith(mark)
    assert {row.field for row in rows(recipe) if row.origin.startswith(mark)} == set(printed)


def test_teachers_differ_from_students_as_the_papers_have_it():
    def differences(one, other):
        return {
            name: (getattr(one, name), getattr(other, name))
            for name in FIELDS
            if name != "name" and getattr(one, name) != getattr(other, name)
        }

    assert differences(V1_TEACHER, V1) == {"passes": (20.0, 1.0)}
    assert differences(V2_TEACHER, V2) == {
        "pseudo_only": (False, True),
        "batch_size": (64, 192),
        "steps": (160_000, 480_000),
        "trimmed_share": (0.0, 0.1),
    }
    assert (V1.head_blocks, V2.head_blocks) == ("v1", "v2")


@pytest.mark.parametrize("recipe", PRESETS.values(), ids=lambda recipe: recipe.name)
def test_every_value_says_what_it_is_and_where_it_comes_from(recipe):
    known = re.compile(r"paper \((V2 )?§|author \(V[12]#\d+\)|code \(V[12] |choice: ")
    for field in dataclasses.fields(recipe):
        assert field.metadata["help"].endswith((".", "…"))
        found = origin(recipe, field.name)
        assert known.match(found) or found == UNUSED, (field.name, found)


@pytest.mark.parametrize(("name", "kind"), PRESETS)
def test_presets_are_found_by_name_and_kind(name, kind):
    assert preset(name, kind) is PRESETS[name, kind]


def test_an_unknown_preset_lists_those_there_are():
    with pytest.raises(ValueError, match=r"'v9'.*v1, v2"):
        preset("v9", "student")


class TestOverride:
    def test_changes_what_is_given_and_leaves_the_original(self):
        changed = override(V1, size=28, learning_rate=1e-3, batch_size=None)
        assert (changed.size, changed.learning_rate) == (28, 1e-3)
        assert changed.batch_size == V1.batch_size
        assert V1.size == 518
        assert dataclasses.replace(changed, size=518, learning_rate=5e-6) == V1

    def test_passes_beside_steps_are_refused_where_they_would_do_nothing(self):
        with pytest.raises(ValueError, match=r"passes are not counted .* 480000, not 0"):
            override(V2, passes=2.0)
        assert override(V2, passes=2.0, steps=0).passes == 2
        assert override(V1, passes=2.0).passes == 2

    def test_shows_as_the_origin_of_the_value(self):
        changed = override(V2, size=28)
        assert origin(changed, "size") == "override of 518"
        assert origin(changed, "steps") == origin(V2, "steps")

    def test_refuses_unknown_fields_by_name(self):
        with pytest.raises(ValueError, match=r"no lr, momentum; it has: .*learning_rate"):
            override(V1, momentum=0.9, lr=1)
        with pytest.raises(ValueError, match="no name"):
            override(V1, name="mine")

    def test_every_wrong_value_is_reported_at_once(self):
        wrong = {
            "flip_probability": 1.5,
            "size": 0,
            "blur_sigma_minimum": 3.0,
            "warmup_steps": -1,
            "jitter_hue": 0.6,
            "beta1": 1.0,
            "trimmed_share": 1.0,
            "head_blocks": "v3",
            "pseudo_only": 1,
            "learning_rate": float("inf"),
            "clip_norm": float("nan"),
            "cutmix_area_maximum": 1.0,
            "batch_size": 2.5,
            "feature_margin": "high",
        }
        with pytest.raises(ValueError) as caught:
            Recipe(**wrong)
        found = re.findall(r"(\w+) must ", str(caught.value))
        assert sorted(found) == sorted(wrong)

    @pytest.mark.parametrize(
        "changes",
        [
            {"cutmix_area_maximum": 0.95},
            {"cutmix_aspect_minimum": 2.5},
            {"cutmix_aspect_minimum": 0.2, "cutmix_aspect_maximum": 0.3},
        ],
    )
    def test_boxes_that_hardly_ever_fit_are_refused(self, changes):
        with pytest.raises(ValueError, match="cutmix_area_maximum must fit"):
            override(V1, **changes)


class TestParseOverrides:
    def test_reads_each_value_as_its_field_has_it(self):
        changed = parse_overrides(
            V2,
            ["batch-size = 8", "learning_rate=1e-4", "pseudo_only=False", "head_blocks=v1"],
            size=28,
            steps=None,
        )
        expected = override(
            V2, batch_size=8, learning_rate=1e-4, pseudo_only=False, head_blocks="v1", size=28
        )
        assert changed == expected
        assert type(changed.batch_size) is int

    def test_nothing_changes_nothing(self):
        assert parse_overrides(V1, [], size=None) == V1

    def test_everything_wrong_is_reported_at_once(self):
        texts = [
            "jiter_hue=0.1", "zzz=1", "size", "steps=many", "beta1=x", "pseudo_only=maybe",
            "trimmed_share=2", "name=mine", "steps=3",
        ]  # fmt: skip
        with pytest.raises(ValueError) as caught:
            parse_overrides(V1, texts)
        for part in (
            "no 'jiter_hue' (did you mean 'jitter_hue'?)",
            "no 'zzz'; docs/recipe.md",
            "'size' is not NAME=VALUE",
            "steps must be a whole number, not 'many'",
            "beta1 must be a number, not 'x'",
            "pseudo_only must be true or false, not 'maybe'",
            "trimmed_share must be below 1, not 2.0",
            "no 'name'",
            "steps is given twice",
        ):
            assert part in str(caught.value)

    def test_a_value_that_has_a_flag_as_well_is_refused(self):
        with pytest.raises(ValueError, match="size is given twice"):
            parse_overrides(V1, ["size=28"], size=56)
        assert parse_overrides(V1, ["size=28"], size=None).size == 28


@pytest.mark.parametrize(
    ("batch_size", "ratio", "labelled", "pseudo"),
    [(24, 2, 8, 16), (3, 2, 1, 2), (4, 2, 1, 3), (2, 2, 1, 1), (9, 0.5, 6, 3), (4, 100, 1, 3)],
)
def test_a_batch_is_split_as_the_ratio_says_and_has_both(batch_size, ratio, labelled, pseudo):
    recipe = override(V1, pseudo_per_labelled=ratio)
    assert recipe.split(batch_size) == (labelled, pseudo)

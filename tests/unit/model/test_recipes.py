import dataclasses
from pathlib import Path

import pytest

from model.recipes import PRESETS, V1, Recipe, markdown_table, override, preset, rows

PRINTED = {  # arXiv:2401.10891, section in the recipe's origin
    "size": 518,
    "pseudo_per_labelled": 2.0,
    "learning_rate": 5e-6,
    "head_learning_rate_ratio": 10.0,
    "feature_margin": 0.85,
    "cutmix_probability": 0.5,
}


def test_v1_has_the_values_of_the_paper_and_says_so():
    origins = {row.field: row.origin for row in rows(V1)}
    for name, value in PRINTED.items():
        assert getattr(V1, name) == value
        assert origins[name].startswith("paper")
    assert not {name for name, origin in origins.items() if origin.startswith("paper")} - set(
        PRINTED
    )


def test_every_field_says_what_it_is_and_where_it_comes_from():
    for row in rows(V1):
        assert row.help.endswith(".")
        assert row.origin.startswith(("paper (§", "author (V1#", "choice: ")), row


@pytest.mark.parametrize(("name", "kind"), PRESETS)
def test_presets_are_found_by_name_and_kind(name, kind):
    assert preset(name, kind) is PRESETS[name, kind]


def test_an_unknown_preset_lists_those_there_are():
    with pytest.raises(ValueError, match=r"'v9'.*v1"):
        preset("v9", "student")


def test_override_changes_what_is_given_and_leaves_the_original():
    changed = override(V1, size=28, learning_rate=1e-3, batch_size=None)
    assert (changed.size, changed.learning_rate) == (28, 1e-3)
    assert changed.batch_size == V1.batch_size
    assert V1.size == 518
    assert dataclasses.replace(changed, size=518, learning_rate=5e-6) == V1


def test_an_override_shows_in_the_table():
    table = {row.field: row for row in rows(override(V1, size=28))}
    assert table["size"].value == 28
    assert table["size"].origin == "override of 518"
    assert table["feature_margin"].origin.startswith("paper")


def test_override_refuses_unknown_fields_by_name():
    with pytest.raises(ValueError, match=r"no lr, momentum; it has: .*learning_rate"):
        override(V1, momentum=0.9, lr=1)
    with pytest.raises(ValueError, match="no name"):
        override(V1, name="mine")


def test_every_wrong_value_is_reported_at_once():
    with pytest.raises(ValueError) as caught:
        Recipe(
            flip_probability=1.5, size=0, blur_sigma_minimum=3.0, warmup_steps=-1, jitter_hue=0.6
        )
    for name in ("flip_probability", "size", "blur_sigma_minimum", "warmup_steps", "jitter_hue"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("batch_size", "ratio", "labelled", "pseudo"),
    [(24, 2, 8, 16), (3, 2, 1, 2), (4, 2, 1, 3), (2, 2, 1, 1), (9, 0.5, 6, 3), (4, 100, 1, 3)],
)
def test_a_batch_is_split_as_the_ratio_says_and_has_both(batch_size, ratio, labelled, pseudo):
    recipe = override(V1, pseudo_per_labelled=ratio)
    assert recipe.split(batch_size) == (labelled, pseudo)


def test_the_page_of_the_recipe_is_made_from_it():
    page = Path(__file__).parents[3] / "docs" / "recipe.md"
    assert page.read_text() == markdown_table(V1), "make docs"

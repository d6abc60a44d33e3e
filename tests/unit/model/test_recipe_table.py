import dataclasses
from pathlib import Path

from model.recipe_table import markdown_page
from model.recipes import PRESETS, Recipe


def cells():
    """The cells of each value's row, by name; metric fine-tuning has a table of its own."""
    page, _, _ = markdown_page().partition("## Metric fine-tuning")
    for line in page.splitlines():
        if line.startswith("| `"):
            name, *rest = (cell.strip() for cell in line.strip("|").split(" | "))
            yield name.strip("` "), rest


def test_the_page_is_made_from_the_presets():
    page = Path(__file__).parents[3] / "docs" / "recipe.md"
    assert page.read_text(encoding="utf-8") == markdown_page(), "make docs"


def test_every_value_has_one_row_with_a_column_per_preset():
    rows = list(cells())
    assert [name for name, _ in rows] == [field.name for field in dataclasses.fields(Recipe)][1:]
    assert {len(row) for _, row in rows} == {len(PRESETS) + 2}


def test_rows_show_the_values_of_each_preset_and_their_origins():
    rows = dict(cells())
    assert rows["batch_size"][:4] == ["192", "192", "64", "192"]
    assert rows["steps"][:4] == ["0", "0", "160000", "480000"]
    assert rows["passes"][:4] == ["20", "1", "–", "–"]
    assert rows["pseudo_only"][:4] == ["–", "no", "–", "yes"]
    assert rows["learning_rate"][:2] == ["5e-06", "5e-06"]
    assert rows["batch_size"][-1].startswith(
        "**v1** choice: unstated; that of the v2 student; **v2"
    )
    assert rows["beta1"][-1] == "choice: unstated; AdamW's own default"

import dataclasses

import pytest

from model.metric_recipe import ORIGINS, V2_METRIC, MetricRecipe, metric_section
from model.recipes import parse_overrides

# In metric_depth/{train.py,dist_train.sh,util/loss.py} of DepthAnything/Depth-Anything-V2 @2cbc36a.
READ = {
    "size": 518,
    "flip_probability": 0.5,
    "batch_size": 4 * 8,
    "passes": 120,
    "steps": 0,
    "learning_rate": 5e-6,
    "head_learning_rate_ratio": 10.0,
    "warmup_steps": 0,
    "final_learning_rate_ratio": 0.0,
    "decay_power": 0.9,
    "weight_decay": 0.01,
    "beta1": 0.9,
    "beta2": 0.999,
    "max_depth": 20,
    "minimum_depth": 0.001,
    "silog_mean_weight": 0.5,
}


def test_values_are_those_of_the_original_and_say_so():
    assert {name: getattr(V2_METRIC, name) for name in READ} == READ
    theirs = {name for name, origin in ORIGINS.items() if origin.startswith("author (V2 metric_")}
    assert theirs == set(READ)
    assert all(
        origin.startswith("choice: ") for name, origin in ORIGINS.items() if name not in READ
    )


def test_the_table_has_a_row_for_each_value_that_plays_a_part():
    rows = [line for line in metric_section().splitlines() if line.startswith("| `")]
    assert len(rows) == len(ORIGINS)
    assert "| `decay_power` | 0.9 |" in metric_section()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("taken_over", "head"),
        ("minimum_depth", 0.0),
        ("max_depth", 0),
        ("silog_mean_weight", 1.5),
        ("learning_rate", -1.0),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(V2_METRIC, **{name: value})


def test_values_are_overridden_like_those_of_other_recipes():
    changed = parse_overrides(V2_METRIC, ["taken_over=encoder", "minimum_depth=0.1"], size=28)
    assert isinstance(changed, MetricRecipe)
    assert (changed.taken_over, changed.minimum_depth, changed.size) == ("encoder", 0.1, 28)
    with pytest.raises(ValueError, match="taken_over"):
        parse_overrides(V2_METRIC, ["taken_over=head"])


def test_values_that_play_no_part_cannot_be_changed():
    with pytest.raises(ValueError, match="plays no part in metric fine-tuning: cutmix_probability"):
        parse_overrides(V2_METRIC, ["cutmix_probability=0"])

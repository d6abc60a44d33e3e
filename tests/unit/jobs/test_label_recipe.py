"""The recipe: everything that changes a pixel changes its hash."""

import dataclasses

from jobs.label_recipe import recipe_of
from jobs.teachers import TeacherFacts

TEACHER = TeacherFacts(
    name="teacher",
    is_known=True,
    sha256="a" * 64,
    family="depth_anything",
    geometry="depth_metric",
    label_geometry="disparity_metric",
    side=518,
    multiple=14,
    precision="bf16",
    resize="buckets",
    max_distortion=0.0375,
)


def test_a_recipe_says_what_the_teacher_does_to_pixels() -> None:
    recipe = recipe_of(TEACHER, codec="jxl-u12", consistency=True)
    assert recipe.as_dict() == {
        "teacher_sha256": "a" * 64,
        "family": "depth_anything",
        "geometry": "disparity_metric",
        "side": 518,
        "multiple": 14,
        "resize": "buckets",
        "max_distortion": 0.0375,
        "precision": "bf16",
        "codec": "jxl-u12",
        "consistency": True,
    }


def test_margins_are_in_a_recipe_where_there_are_any_and_change_no_other() -> None:
    """The digest is that of recipes from before teachers with margins were taken."""
    bare = recipe_of(TEACHER, codec="jxl-u16", consistency=False)
    padded = recipe_of(
        dataclasses.replace(TEACHER, padded=True), codec="jxl-u16", consistency=False
    )
    assert "padded" not in bare.as_dict()
    assert padded.as_dict() == {**bare.as_dict(), "padded": True}
    assert bare.digest() == "9caff1eb05ad1b36dee3c0fda0e109625ff4249db4e58cbfae2dee777ba04a9e"
    assert padded.digest() != bare.digest()


def test_all_of_it_is_in_the_hash_and_names_are_not() -> None:
    recipe = recipe_of(TEACHER, codec="jxl-u16", consistency=False)
    changes = {
        "teacher_sha256": "b" * 64,
        "family": "dpt",
        "geometry": "disparity_affine_invariant",
        "side": 392,
        "multiple": 16,
        "resize": "exact",
        "max_distortion": None,
        "precision": "fp32",
        "codec": "jxl-u12",
        "consistency": True,
        "padded": True,
    }
    assert changes.keys() == {field.name for field in dataclasses.fields(recipe)}
    digests = {
        dataclasses.replace(recipe, **{name: value}).digest()  # type: ignore[arg-type]
        for name, value in changes.items()
    }
    assert len(digests | {recipe.digest()}) == 1 + len(changes)
    other_name = dataclasses.replace(TEACHER, name="another", is_known=False)
    assert recipe_of(other_name, codec="jxl-u16", consistency=False) == recipe

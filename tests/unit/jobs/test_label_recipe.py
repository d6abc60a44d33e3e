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
    }
    assert changes.keys() == {field.name for field in dataclasses.fields(recipe)}
    digests = {
        dataclasses.replace(recipe, **{name: value}).digest()  # type: ignore[arg-type]
        for name, value in changes.items()
    }
    assert len(digests | {recipe.digest()}) == 1 + len(changes)
    other_name = dataclasses.replace(TEACHER, name="another", is_known=False)
    assert recipe_of(other_name, codec="jxl-u16", consistency=False) == recipe

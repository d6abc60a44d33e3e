"""What docs/models.md says of families, licences and options is what the code does."""

import re
from pathlib import Path

import pytest

from jobs.model_licences import licence_of_model
from model.architectures import ENCODER_SIZES
from model.original_weights import depth_variant, encoder_variant
from model.upsampling import UPSAMPLINGS
from tests.tiny_families import FAMILIES

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.split("## Families")[1].splitlines()
    if line.startswith("| ") and "`" in line.split("|")[2] and "/" in line.split("|")[2]
][:11]
GEOMETRIES = {
    "disparity, affine": "disparity_affine_invariant",
    "metres": "depth_metric",
    "disparity in 1 / metres": "disparity_metric",
}


def spelt_out(name: str) -> list[str]:
    """``a-{b,c}`` as ``a-b`` and ``a-c``."""
    match = re.search(r"\{([^}]*)\}", name)
    if match is None:
        return [name]
    return [
        whole
        for choice in match[1].split(",")
        for whole in spelt_out(name[: match.start()] + choice + name[match.end() :])
    ]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_licences_are_those_that_the_catalog_notes(row: list[str]) -> None:
    ids = [each for name in re.findall(r"`([^`]*/[^`]*)`", row[1]) for each in spelt_out(name)]
    assert ids
    for each in ids:
        known = licence_of_model(each)
        assert (known or "see the card") in row[2], each
    assert row[3] in GEOMETRIES


def test_every_family_and_geometry_has_its_row() -> None:
    assert len(ROWS) == 11
    said = {GEOMETRIES[row[3]] for row in ROWS}
    assert said == {tiny.geometry for tiny in FAMILIES.values()}


def test_references_are_taken_as_they_are_written() -> None:
    for variant in ("v1-s", "v1-b", "v1-l", "v2-s", "v2-b", "v2-l", "v2-metric-l@20"):
        assert f"`{variant}`" in PAGE or f"#{variant}`" in PAGE
        depth_variant(variant)
    assert "dinov2-{s,b,l,g}" in PAGE
    for size in "sblg":
        encoder_variant(f"dinov2-{size}")
    assert set(ENCODER_SIZES) == {"tiny", "s", "b", "l"}  # scratch encoders: no giant


def test_the_three_ways_to_upsample_are_named() -> None:
    table = PAGE.split("## Three ways to upsample")[1]
    assert tuple(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == UPSAMPLINGS

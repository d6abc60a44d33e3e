"""Presets are data: what all of them must hold, and how paths are matched."""

import re
from dataclasses import fields

import pytest

from jobs.config import LAYOUTS, PRESETS
from pipeline.presets import Preset, Terms, ignored_as, in_words, match_end, presets
from pipeline.records import Role
from pipeline.truth_encodings import TRUTH_ENCODINGS

ALL = list(presets().values())


def patterns(preset: Preset) -> list[str]:
    """Every regular expression of a preset."""
    table = preset.attribution
    some = (preset.image, preset.truth, preset.video, table.files if table else None)
    return [*filter(None, some), *preset.masks, *preset.ignored]


@pytest.fixture(params=ALL, ids=lambda preset: preset.name)
def preset(request: pytest.FixtureRequest) -> Preset:
    return request.param


def test_the_command_line_knows_all_of_them():
    assert sorted(PRESETS) == sorted(presets())
    assert len(set(PRESETS)) == len(PRESETS) == len(ALL)
    assert not set(PRESETS) & set(LAYOUTS)


def test_names_can_be_typed_and_made_folders(preset):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", preset.name)


def test_the_expressions_compile_and_take_whole_names(preset):
    for pattern in patterns(preset):
        compiled = re.compile(pattern)
        assert not compiled.search(""), "it would match anything"
        assert not pattern.startswith("^") and not pattern.endswith("$"), pattern


def test_image_truth_and_masks_are_told_together_by_the_same_groups(preset):
    if preset.truth is None:
        assert not preset.masks
        read = TRUTH_ENCODINGS[preset.encoding] if preset.encoding else None
        assert bool(preset.index) == bool(read and read.index)
        assert not read or read.index or read.members, "nothing would be read"
        return
    groups = set(re.compile(preset.image).groupindex)
    assert groups, "nothing would say which truth belongs to which image"
    for pattern in (preset.truth, *preset.masks):
        assert set(re.compile(pattern).groupindex) == groups, pattern
    assert preset.encoding in TRUTH_ENCODINGS


def test_an_attribution_table_is_asked_by_a_group_of_the_image(preset):
    table = preset.attribution
    if table is not None:
        assert table.image_key in re.compile(preset.image).groupindex
        assert preset.terms.attribution and (table.author or table.licence)
        assert match_end(table.files, table.example.split()[0])


def test_terms_are_filled(preset):
    for field in fields(Terms):
        value = getattr(preset.terms, field.name)
        assert value != "" or field.name == "note", field.name
    assert preset.terms.homepage.startswith(("https://", "http://"))
    assert re.search(r"\b(19|20)\d\d\b", preset.terms.citation), "the year"
    for permission in (preset.terms.rehost, preset.terms.commercial):
        assert permission in ("yes", "conditions", "no", "unknown")


def test_an_owner_who_forbids_or_says_nothing_is_explained(preset):
    if {preset.terms.rehost, preset.terms.commercial} & {"no", "unknown", "conditions"}:
        assert preset.terms.note or preset.terms.attribution


def test_help_says_in_one_line_what_is_expected(preset):
    assert preset.help and "\n" not in preset.help and not preset.help.endswith(".")
    assert preset.images is None or preset.images > 0
    assert preset.every >= 1 and (preset.every == 1 or preset.video)


def test_a_role_without_truth_is_unlabelled(preset):
    if preset.role == Role.UNLABELLED:
        assert preset.truth is None


def test_ignored_is_a_stable_word(preset):
    for what in preset.ignored.values():
        assert re.fullmatch(r"[a-z][a-z _]*", what), what


def test_a_pattern_matches_whole_names_at_the_end_only():
    assert match_end(r"sa_\d+\.jpg", "sa_1.jpg")
    assert match_end(r"sa_\d+\.jpg", "deep/in.tar/sa_1.jpg")
    assert not match_end(r"sa_\d+\.jpg", "deep/visa_1.jpg")
    assert not match_end(r"sa_\d+\.jpg", "sa_1.jpg.txt")
    assert not match_end(r"sa_\d+\.jpg", "sa_1.jpg/notes")


def test_either_side_of_a_bar_is_matched_whole():
    assert not match_end(r"a\.jpg|b\.jpg", "a.jpg/c.png")
    assert match_end(r"a\.jpg|b\.jpg", "x/b.jpg")


def test_expressions_can_be_shown_to_people(preset):
    for pattern in filter(None, (preset.truth, *preset.masks)):
        assert re.fullmatch(r"[\w<>/.*{},-]+", in_words(pattern)), in_words(pattern)


def test_an_expression_in_words():
    assert in_words(r"(?:(?P<where>.+)/)?(?P<n>\d+_(?:a|b)_\d{3})_c\.png") == "<where>/<n>_c.png"
    assert in_words(r"(?:a|b)/(?P<n>\d+)_[^/_]+\.png") == "{a,b}/<n>_*.png"


def test_what_is_ignored_has_a_name():
    sa = presets()["sa-1b"]
    assert ignored_as(sa, "sa_000000.tar/sa_1.json") == "annotations"
    assert ignored_as(sa, "sa_000000.tar/sa_1.jpg") is None

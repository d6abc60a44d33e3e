"""What a model's page says of its results."""

from typing import Any

import pytest

from jobs.report_evaluations import evaluations_section, newest
from pipeline.catalog import EvaluationRow, ModelRow

MODEL = ModelRow(
    name="m", sha256="a" * 64, family="f", geometry="disparity_affine_invariant", kind="student",
    key=None, uri="x", run_id=None, licence=None, created_at=0.0,
)  # fmt: skip
CONFIG = {
    "protocol": {"description": "Garg's crop."},
    "size": 518,
    "precision": "fp32",
    "upsampling": "bilinear",
    "device": "cpu",
    "intervals": {"depth": {"abs_rel": [0.08, 0.12]}},
}


def row(at: float = 0.0, **changes: Any) -> EvaluationRow:
    values = {
        "model": "m", "model_sha256": "a" * 64, "protocol": "kitti", "version": "1", "source": "k",
        "source_digest": "d", "images": 652, "valid_pixels": 9, "code_version": "1",
        "metrics": {"depth/abs_rel": 0.1, "depth/rmse": None}, "config": CONFIG, "created_at": at,
    }  # fmt: skip
    return EvaluationRow(**(values | changes))


def section(*rows, trained_on=()):
    return evaluations_section(rows, MODEL, trained_on=set(trained_on))


def cells(of):
    return [dict(zip(of.table.columns, line, strict=True)) for line in of.table.rows]


def test_a_result_stands_with_its_interval_its_settings_and_its_protocol():
    found = section(row())
    [line] = cells(found)
    assert line["abs_rel"] == "0.1000\n(0.0800 to 0.1200)" and line["rmse"] == "–"
    assert (line["Protocol"], line["Space"], line["Images"]) == ("kitti@1", "depth", "652")
    assert line["Input"].replace("\u00a0", " ") == "518 px, fp32, bilinear"
    assert line["Device"] == "cpu"
    assert found.notes == ("kitti@1: Garg's crop.",)
    numeric = dict(zip(found.table.columns, found.table.numeric, strict=True))
    assert [name for name, is_number in numeric.items() if is_number] == [
        "abs_rel", "rmse", "Images", "Valid pixels",
    ]  # fmt: skip


def test_results_of_earlier_versions_have_neither():
    [line] = cells(section(row(config={"size": None, "precision": "fp32"})))
    assert (line["abs_rel"], line["Input"], line["Device"]) == ("0.1000", "fp32", "–")
    [line] = cells(section(row(config={}, metrics={"abs_rel": 0.5})))
    assert (line["Space"], line["abs_rel"], line["Input"]) == ("", "0.5000", "–")


@pytest.mark.parametrize(
    "change",
    [{"source": "other"}, {"version": "2"}, {"protocol": "p"}, {"config": CONFIG | {"size": 756}}],
)
def test_the_newest_of_the_same_settings_is_shown(change):
    rows = [row(1.0), row(2.0, **change), row(3.0, images=7)]
    assert newest(rows) == rows[1:]
    found = section(*rows)
    assert [line["Images"] for line in cells(found)] == ["652", "7"]
    assert found.notes[-1].startswith("Older results") and found.notes[-1].endswith(": 1.")


def test_results_of_other_weights_are_not_this_models():
    assert section(row(model_sha256="b" * 64)).text == "It has not been evaluated yet."
    assert section().table is None


def test_what_was_trained_on_is_said():
    assert section(row()).text.startswith("Zero-shot:")
    assert section(row(), trained_on=("k",)).text.startswith("Not zero-shot: k is among")
    leaks = {"checked": "exact", "why": "", "trained_on": 50, "exact": 3, "near": 0}
    notes = section(row(config=CONFIG | {"leaks": leaks})).notes
    assert any("kitti@1 on k: not zero-shot" in note and "3 of this" in note for note in notes)

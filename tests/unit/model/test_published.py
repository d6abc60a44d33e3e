import dataclasses

import pytest

from model.metrics import METRICS
from model.protocols import PROTOCOLS, protocol
from model.published import PUBLISHED, published_for


def value(ref, model, metric):
    [row] = [
        row for row in published_for(protocol(ref)) if (row.model, row.metric) == (model, metric)
    ]
    return row


@pytest.mark.parametrize(
    ("ref", "model", "metric", "printed"),
    [
        ("kitti-eigen-garg@1", "Depth Anything V1 L", "abs_rel", 0.076),
        ("kitti-eigen-garg@1", "Depth Anything V1 B", "delta1", 0.939),
        ("nyu-eigen@1", "Depth Anything V1 S", "abs_rel", 0.053),
        ("sintel@1", "MiDaS v3.1 BEiT-L-512", "abs_rel", 0.587),
        ("ddad@1", "Depth Anything V1 L", "delta1", 0.789),
        ("eth3d@1", "Depth Anything V2 S", "abs_rel", 0.142),
        ("diode@1", "Depth Anything V1 L", "abs_rel", 0.066),
        ("da-2k@1", "Depth Anything V2 L", "pair_accuracy", 0.971),
        ("midas-sintel@1", "MiDaS v3.1 BEiT-L-512 at 512", "abs_rel", 0.2366),
    ],
)
def test_cells_of_the_printed_tables(ref, model, metric, printed):
    assert value(ref, model, metric).value == printed


def test_percent_of_wrong_pixels_became_a_share_of_right_ones():
    row = value("midas@1", "MiDaS v3.0 DPT-L-384", "delta1")
    assert row.value == pytest.approx(1 - 0.0832)
    assert not row.trained_on_it
    assert value("midas@1", "MiDaS v3.1 BEiT-L-384", "delta1").trained_on_it


@pytest.mark.parametrize("model", ["S", "B", "L"])
def test_what_is_known_to_reproduce(model):
    """KITTI and NYU do, ETH3D and DIODE do not, each with the released weights of V2."""
    name = f"Depth Anything V2 {model}"
    assert value("kitti-eigen-garg@1", name, "abs_rel").reproduces == "yes"
    assert value("nyu-eigen@1", name, "abs_rel").reproduces in ("yes", "about")
    for ref in ("eth3d@1", "diode@1"):
        assert value(ref, name, "abs_rel").reproduces == "no"


def test_a_verdict_comes_with_what_was_found_and_an_untried_number_without():
    for row in PUBLISHED:
        assert bool(row.found) == (row.reproduces != "untried")


def test_rows_stand_beside_protocols_that_measure_the_same():
    seen = set()
    for known in PROTOCOLS:
        for row in published_for(known):
            assert row.metric in known.metrics
            seen.add(row)
    assert seen == set(PUBLISHED), "every row has its protocol"
    assert published_for(protocol("relative@1")) == ()


def test_no_cell_stands_twice_and_shares_are_shares():
    cells = [(row.source, row.data_set, row.model, row.metric) for row in PUBLISHED]
    assert len(set(cells)) == len(cells)
    for row in PUBLISHED:
        if row.metric not in METRICS or row.metric.startswith("delta"):
            assert 0 < row.value < 1
        assert all(getattr(row, field.name) is not None for field in dataclasses.fields(row))

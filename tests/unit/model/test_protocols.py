import dataclasses
import json

import pytest

from model import protocols
from model.metrics import METRICS
from model.pairs import PAIR_METRICS
from model.protocols import PROTOCOLS, SPACES, protocol


def test_refs_are_unique_and_find_their_protocol():
    assert len({known.ref for known in PROTOCOLS}) == len(PROTOCOLS)
    for known in PROTOCOLS:
        assert protocol(known.ref) is known


def test_relative_has_no_crop_and_no_cap_and_both_spaces():
    relative = protocol("relative@1")
    assert relative.alignment == "affine_disparity"
    assert (relative.crop, relative.minimum_depth, relative.maximum_depth) == (None, None, None)
    assert relative.spaces == ("disparity", "depth")
    assert {"abs_rel", "delta1", "delta2", "delta3", "rmse", "log10", "silog"} == set(
        relative.metrics
    )


def test_metric_aligns_nothing_and_scores_depth_within_the_limits_of_v2():
    metric = protocol("metric@1")
    assert metric.alignment == "none"
    assert (metric.crop, metric.minimum_depth, metric.maximum_depth) == (None, 0.001, 80)
    assert metric.spaces == ("depth",)


def test_a_bare_name_is_its_newest_version(monkeypatch):
    newer = dataclasses.replace(protocol("relative@1"), version=2)
    monkeypatch.setattr(protocols, "PROTOCOLS", (newer, *PROTOCOLS))
    assert protocol("relative").version == 2
    assert protocol("relative@1").version == 1


@pytest.mark.parametrize("ref", ["kitty", "relative@9", "relative@", "", "@1"])
def test_an_unknown_protocol_lists_those_there_are(ref):
    with pytest.raises(ValueError, match="relative@1"):
        protocol(ref)


def test_a_protocol_is_data_that_can_stand_beside_a_result():
    for known in PROTOCOLS:
        assert json.loads(json.dumps(dataclasses.asdict(known)))["name"] == known.name
        known_metrics = PAIR_METRICS if known.truth == "pairs" else {*METRICS, "boundary_f1"}
        assert set(known.metrics) <= set(known_metrics)
        assert set(known.spaces) <= set(SPACES)

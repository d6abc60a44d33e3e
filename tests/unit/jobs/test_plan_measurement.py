"""A measurement as a file: there and back, and what is refused."""

import json
from dataclasses import asdict, replace

import pytest

from jobs.errors import ConfigError
from jobs.gpu_kinds import Span
from jobs.plan_measurement import read_measurement
from tests.plan_factories import MEASURED, PROBE


@pytest.fixture
def file(tmp_path):
    return tmp_path / "l4.json"


@pytest.mark.parametrize("among_others", [True, False])
def test_what_is_written_is_read(file, among_others):
    written = MEASURED.as_dict()
    file.write_text(json.dumps({"measurement": written} if among_others else written))
    assert read_measurement(str(file)) == MEASURED


def test_only_a_gpu_has_a_kind():
    assert MEASURED.kind == "l4"
    assert replace(MEASURED, on_gpu=False).kind is None
    assert replace(MEASURED, device_name="NVIDIA GB10").kind is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "expected format 1, got 2"),
        ({"threads": "7"}, "measurement.threads is '7', expected int"),
        ({"threads": True}, "measurement.threads is True"),
        ({"start_s": float("nan")}, "measurement.start_s is nan"),
        ({"start_s": 1e300}, "measurement.start_s is 1e+300"),
        ({"start_s": 10**400}, "int too large"),
        ({"threads": 0}, "threads 0, "),
        ({"probe": asdict(replace(PROBE, flops=0.0))}, "flops 0: less than 1"),
        ({"probe": 1}, "measurement.probe is no mapping"),
        ({"probe": {"images": 1}}, "measurement.probe has no refused, sizes"),
    ],
)
def test_what_is_wrong_is_named(file, change, said):
    file.write_text(json.dumps(MEASURED.as_dict() | change))
    with pytest.raises(ConfigError) as refused:
        read_measurement(str(file))
    assert said in str(refused.value)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(
    "span", [Span(0.0, 1.0, 2.0), Span(1e-300, 1.0, 2.0), Span(2.0, 1.0, 3.0), Span(1.0, 3.0, 2.0)]
)
def test_a_network_takes_time(file, span):
    wrong = replace(MEASURED, probe=replace(PROBE, network_s=span))
    file.write_text(json.dumps(wrong.as_dict()))
    with pytest.raises(ConfigError, match="not above 0 and in order"):
        read_measurement(str(file))


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{}", "\xff", "[" * 100_000])
def test_other_files_are_refused(file, text):
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="factory plan --json"):
        read_measurement(str(file))
    with pytest.raises(ConfigError, match="No such file"):
        read_measurement(str(file.with_name("none")))

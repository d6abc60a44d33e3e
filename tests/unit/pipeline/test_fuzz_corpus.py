"""A short, seeded run of `tests.fuzz`, in processes with limited memory; and what was designed."""

from collections import Counter

import pytest

from pipeline.data_sets import DataSet, read_data_set
from pipeline.records import Drop, Member
from tests import fuzz
from tests.fuzz_corpus import NAMES, designed_archives

DESIGNED = dict(designed_archives())
# How many files of a kind, and what must be among the verdicts for the run to have meant anything.
RUNS = {
    "images, header": (700, {"kept", "truncated", "corrupt_header", "too_many_pixels"}),
    "images, decoded": (250, {"kept", "truncated", "corrupt_header", "decode_failed"}),
    "archives": (len(DESIGNED) + 150, {"kept", "corrupt_archive", "corrupt_member", "encrypted"}),
    "tables": (150, {"kept", "corrupt_archive"}),
    "ground truth": (400, {"map", "corrupt_truth", "not_a_depth_map"}),
}


@pytest.mark.parametrize("kind", RUNS)
def test_nothing_but_verdicts(kind):
    count, expected = RUNS[kind]
    facts = fuzz.run(kind, seed=7, seconds=120, count=count, samples=None)
    assert facts["files"] == count
    assert facts["deaths"] == 0
    assert facts["peak_mb"] < 700
    assert expected <= set(facts["verdicts"])


def found_in(tmp_path, name: str) -> list[Member | Drop]:
    (tmp_path / name).write_bytes(DESIGNED[name])
    data_set = DataSet(uri=str(tmp_path), max_bytes=fuzz.MAX_MEMBER_BYTES)
    return list(read_data_set(data_set))


def reasons(found: list[Member | Drop]) -> Counter[str]:
    return Counter(each.reason if isinstance(each, Drop) else "kept" for each in found)


@pytest.mark.parametrize("name", ["names.tar", "names.zip"])
def test_names_lead_nowhere_and_every_entry_counts(tmp_path, name):
    found = found_in(tmp_path, name)
    links = 1 if name.endswith("zip") else 7  # links, devices, a pipe, a sparse file, nonsense
    folders = sum(each.endswith("/") for each in NAMES)
    assert len(found) >= len(NAMES) - folders
    paths = [each.path for each in found]
    assert len(set(paths)) == len(paths)
    assert all(path.startswith(f"{name}/") for path in paths)
    assert not any({"", ".", ".."} & set(path.split("/")) for path in paths)
    assert 1 <= reasons(found)["not_a_file"] <= links


@pytest.mark.parametrize("size", [1 << 30, (1 << 33) - 1, 1 << 62, -1, -512])
@pytest.mark.parametrize("what", ["size", "name", "pax"])
def test_sizes_that_lie_in_tars(tmp_path, what, size):
    counts = reasons(found_in(tmp_path, f"{what}{size}.tar"))
    assert set(counts) <= {"corrupt_archive", "too_many_bytes"}
    assert counts["corrupt_archive"] == 1


def test_bombs_are_measured_before_they_go_off(tmp_path):
    assert reasons(found_in(tmp_path, "bomb.tar.gz")) == {"too_many_bytes": 1}


def test_archives_in_archives_end_somewhere(tmp_path):
    assert reasons(found_in(tmp_path, "deep.tar")) == {"nested_too_deep": 1}

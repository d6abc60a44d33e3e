import re
from pathlib import Path

import pytest

from model.boundaries import boundary_f1
from model.metrics import METRICS
from model.pairs import PAIR_METRICS
from model.protocol_table import markdown_page
from model.protocols import PROTOCOLS

PAGE = markdown_page()


def section(title):
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_page_is_made_from_the_code():
    page = Path(__file__).parents[3] / "docs" / "protocols.md"
    assert page.read_text(encoding="utf-8") == PAGE, "make docs"


def test_every_metric_is_explained_with_its_direction():
    explained = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", section("Metrics"), re.MULTILINE))
    assert set(explained) == {*METRICS, *PAIR_METRICS, boundary_f1.__name__}
    higher = {name for name, better in explained.items() if better == "higher"}
    assert higher == {"delta1", "delta2", "delta3", "boundary_f1", "pair_accuracy"}


@pytest.mark.parametrize("known", PROTOCOLS, ids=lambda known: known.ref)
def test_every_protocol_is_spelled_out(known):
    text = section(known.ref)
    assert known.description in text
    assert known.split is None or known.split in text
    assert known.only is None or known.only in text
    if known.crop is not None:
        assert all(str(edge) in text for edge in known.crop[:4])
    for limit in (known.minimum_depth, known.maximum_depth):
        assert limit is None or f"{limit:g} m" in text
    assert f"[`{known.ref}`](#{known.ref.replace('@', '')})" in PAGE


def test_limits_of_what_is_aligned_are_said_as_they_are_applied():
    assert "clipped: at the farthest valid truth" in section("relative@1")
    assert "from the nearest valid truth to the farthest" in section("affine-depth@1")
    assert "clipped: from 0.001 m to 10 m" in section("nyu-metric@1")
    assert "clipped: at 10 m" in section("midas@1")


def test_printed_numbers_carry_what_others_found():
    printed = section("Printed numbers")
    assert re.search(r"V2 L \| 0\.074 \*\*yes\*\* 0\.071 \(plumbline\)", printed)
    assert re.search(r"V2 L \| 0\.131 \*\*no\*\* 0\.0888", printed)
    assert re.search(r"BEiT-L-512 at 512 † \| 0\.9814 \|", printed)

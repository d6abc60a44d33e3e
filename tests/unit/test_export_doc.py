"""What docs/export.md says of formats, limits and families is what the code does."""

from pathlib import Path

from jobs.evaluate_config import DATA_FORMATS
from model.export import FORMATS
from model.export_parity import MAX_DIFFERENCE, MIN_CORRELATION
from model.families import _FAMILIES
from pipeline.export_samples import UNREADABLE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text(encoding="utf-8")


def test_the_page_says_what_the_code_does():
    models, _, label_sets = PAGE.partition("## Label sets")
    assert all(f"| `{name}` |" in models for name in FORMATS)
    assert all(f"| `{name}` |" in label_sets for name in DATA_FORMATS)
    assert all(f"`{reason}`" in label_sets for reason in UNREADABLE)
    assert f"{MAX_DIFFERENCE:g} of the range" in PAGE
    assert f"| {MIN_CORRELATION:g} |" in PAGE
    words = {
        "depth_anything": "Depth Anything V1",
        "dpt": "| DPT (MiDaS 3)",
        "zoedepth": "| ZoeDepth |",
        "depth_pro": "| Depth Pro |",
        "glpn": "| GLPN |",
        "tipsv2_dpt": "| TIPSv2",
    }
    assert set(words) == set(_FAMILIES)  # a new family needs a line
    assert all(line in PAGE for line in words.values())

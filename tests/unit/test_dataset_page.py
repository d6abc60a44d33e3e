"""docs/datasets.md says what the presets say, and its example works as it is written there."""

import gzip
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import presets_labelled
from pipeline.data_sets import DataSet, find_items, read_item
from pipeline.presets import Preset, presets
from pipeline.records import Drop, Geometry, Ignored
from pipeline.sources import load
from pipeline.truth_encodings import TRUTH_ENCODINGS

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")


def cells(preset: Preset) -> tuple[str, ...]:
    """The row of a preset, without what it was tried on."""
    terms = preset.terms
    encoding = TRUTH_ENCODINGS[preset.encoding] if preset.encoding else None
    truth = "–"
    if encoding is not None:
        truth = "pairs of points" if encoding.points else encoding.geometry.value
    return (
        f"`{preset.name}`",
        f"[{terms.title}]({terms.homepage})",
        preset.role.value,
        truth,
        f"{preset.images:,}" if preset.images else "–",
        terms.licence.replace("|", "/"),
        terms.rehost,
        terms.commercial,
    )


def rows() -> dict[str, list[str]]:
    found = (line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| `"))
    return {row[0]: row for row in found}


@pytest.mark.parametrize("preset", presets().values(), ids=lambda preset: preset.name)
def test_the_table_says_what_the_preset_says(preset):
    wanted = cells(preset)
    row = rows().get(wanted[0])
    assert row is not None, "| " + " | ".join(wanted) + " | … |"
    assert tuple(row[:-1]) == wanted
    assert row[-1] in ("original files", "original depth", "sample made from real frames",
                       "files made by the test")  # fmt: skip


def test_the_table_has_nothing_else():
    assert list(rows()) == [f"`{name}`" for name in presets()]


def example() -> str:
    """The code of the recipe."""
    (code,) = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
    return code


@pytest.fixture
def added(monkeypatch) -> Iterator[Preset]:
    """The preset of the recipe, among the others."""
    names: dict[str, Preset] = {}
    exec(example(), names)
    preset = names["ICL_NUIM"]
    monkeypatch.setattr(presets_labelled, "LABELLED", (*presets_labelled.LABELLED, preset))
    presets.cache_clear()
    yield preset
    presets.cache_clear()


def png(values) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def trajectory(path: Path, frames: dict[str, tuple[bytes, bytes]]) -> None:
    """As it is distributed: a compressed tar with ``rgb/0.png``, ``depth/0.png`` and texts."""
    files = {"associations.txt": b"0 depth/0.png 0 rgb/0.png\n", "traj0.gt.freiburg": b"1 0 0\n"}
    for name, (image, depth) in frames.items():
        files |= {f"rgb/{name}.png": image, f"depth/{name}.png": depth}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(packed.getvalue()))


def read(uri: Path, layout: str):
    data_set = DataSet(uri=str(uri), layout=layout)
    for item in find_items(data_set):
        if isinstance(item, Drop | Ignored):
            yield item
        else:
            yield from (
                found if isinstance(found, Ignored) else load(found)
                for found in read_item(item, data_set)
            )


def test_the_recipe_is_short(added):
    assert len(example().splitlines()) <= 30
    assert added.name not in PAGE.partition("## Adding")[0], "it is a set that is not in the list"


def test_the_set_of_the_recipe_is_read(added, tmp_path):
    stored = np.array([[5000, 0, 7500], [65535, 1, 10000]], np.uint16)
    image = png(np.zeros((2, 3, 3), np.uint8))
    trajectory(tmp_path / "living_room_traj0_frei_png.tar.gz", {"0": (image, png(stored))})
    trajectory(tmp_path / "office_room_traj0_frei_png.tar.gz", {"0": (image, png(stored * 0 + 1))})
    found = list(read(tmp_path, added.name))
    assert sorted(item.what for item in found if isinstance(item, Ignored)) == [
        "pose", "pose", "text", "text",
    ]  # fmt: skip
    living, office = (item for item in found if not isinstance(item, Ignored))
    assert living.path == "living_room_traj0_frei_png.tar.gz/rgb/0.png"
    assert living.truth.geometry is Geometry.DEPTH_METRIC
    wanted = [[1.0, np.nan, 1.5], [13.107, 0.0002, 2.0]]
    np.testing.assert_allclose(living.truth.values_HW, wanted, rtol=1e-6)
    assert np.nanmax(office.truth.values_HW) == np.float32(0.0002)


def test_a_real_frame_of_it_has_its_figures(added, shared_data, tmp_path):
    frame = shared_data / "depth/icl_nuim"
    files = ((frame / "1_rgb.png").read_bytes(), (frame / "1_depth.png").read_bytes())
    trajectory(tmp_path / "living_room_traj0_frei_png.tar.gz", {"1": files})
    (member,) = (item for item in read(tmp_path, added.name) if not isinstance(item, Ignored))
    values = member.truth.values_HW
    assert values.shape == (480, 640) and np.isfinite(values).all()
    figures = [values.min(), np.median(values), values.max()]
    np.testing.assert_allclose(figures, [1.64, 3.03, 3.43], rtol=3e-3)

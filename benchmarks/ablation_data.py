"""What the ablation looks at: rendered worlds of a narrow and a wide domain, and real pairs.

Rendered once at 4:3, kept as one file per set. Of the wide training set nobody is shown the depth:
its pictures are what the teacher labels, and what each pixel belongs to (a pattern and a shape) is
what the stand-in of a pretrained encoder learns from.
"""

import dataclasses
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.images import decode_rgb
from pipeline.records import Drop
from pipeline.truth import read_pairs
from pipeline.worlds import raycast
from pipeline.worlds.raycast import NOTHING, Shape
from pipeline.worlds.rendering import Scene, render
from pipeline.worlds.scenes import MIXTURES, SCENES
from pipeline.worlds.textures import PATTERNS
from pipeline.worlds.themes import one_of

NARROW, WIDE = "rooms", "mixed"
_PATTERNS, _SHAPES = list(PATTERNS), list(Shape)
CLASSES = (len(_PATTERNS) + 1, len(_SHAPES) + 1)  # the last of each is sky
CHUNK = 25  # scenes per task of the renderer

# Folders of real pairs under the one that is named, and the encoding of their depth. Pairs that
# lie elsewhere, or need a reader of their own (raw Kinect, LiDAR), are left out.
REAL = {
    "esanet_kinect2": "png-10000",
    "fastdepth_nyu": "npy-m",
    "icl_nuim": "png-5000",
    "kitti": "png-256",
    "kitti_road_u16": "png-mm",
    "middlebury14_npz": "npz-disparity",
    "middlebury_png8": "png8-disparity",
    "nyu_rel_u16": "png-relative",
    "nyu_sync": "png-mm",
    "pgm16_rgbd": "pgm-mm",
    "phoxi_npy": "npy-m",
    "redwood": "png-mm",
    "sceneflow_pfm": "pfm-disparity",
    "seven_scenes": "png-mm",
    "sunrgbd": "png-sunrgbd",
    "tartanair": "npy-m",
    "tum_rgbd": "png-5000",
}


@dataclass(frozen=True, slots=True)
class Scenes:
    """Rendered pictures.

    Attributes:
        images_NHW3: uint8 RGB.
        depth_NHW: float32 metres, NaN where there is sky.
        classes_NHW2: uint8, pattern and shape each pixel belongs to.
        kinds_N: Names of the kinds of scenes.
    """

    images_NHW3: NDArray[np.uint8]
    depth_NHW: NDArray[np.float32]
    classes_NHW2: NDArray[np.uint8]
    kinds_N: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.images_NHW3)


@dataclass(frozen=True, slots=True)
class Pair:
    """A real image with its depth or disparity."""

    name: str
    image_HW3: NDArray[np.uint8]
    truth_HW: NDArray[np.float32]
    geometry: str


def scenes(
    cache: Path, kind: str, *, count: int, seed: int, size: int, processes: int = 1
) -> Scenes:
    """Scenes of a kind or mixture, shorter side ``size``; rendered where the cache has none."""
    file = cache / f"{kind}-{size}px-seed{seed}-{count}.npz"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        rendered = _render_all(kind, count=count, seed=seed, size=size, processes=processes)
        scratch = file.with_suffix(".tmp.npz")
        np.savez(scratch, **{f.name: getattr(rendered, f.name) for f in dataclasses.fields(Scenes)})
        scratch.replace(file)
    with np.load(file) as arrays:
        return Scenes(**arrays)


def real_pairs(folder: Path) -> Iterator[Pair]:
    """The real pairs found in a folder of data sets, named in `REAL`; none without the folder."""
    for name, encoding in REAL.items():
        if not (folder / name).is_dir():
            continue
        for item in read_pairs(str(folder / name), encoding):
            if not isinstance(item, Drop) and item.truth is not None:
                truth = item.truth
                image = decode_rgb(item.data)
                yield Pair(f"{name}/{item.path}", image, truth.values_HW, str(truth.geometry))


def _render_all(kind: str, *, count: int, seed: int, size: int, processes: int) -> Scenes:
    render_chunk = partial(_render_chunk, kind, seed=seed, size=size)
    chunks = [range(i, min(i + CHUNK, count)) for i in range(0, count, CHUNK)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(render_chunk, chunks))
    return Scenes(
        **{
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in dataclasses.fields(Scenes)
        }
    )


def _render_chunk(kind: str, indices: range, *, seed: int, size: int) -> Scenes:
    images, depths, classes, kinds = [], [], [], []
    for index in indices:
        rng = np.random.default_rng([seed, index, zlib.crc32(kind.encode())])
        name = one_of(rng, MIXTURES.get(kind, (kind,)))
        scene = SCENES[name](rng)
        picture = render(scene, width=size * 4 // 3, height=size, rng=rng)
        images.append(picture.rgb_HW3)
        depths.append(picture.depth_HW)
        classes.append(_classes(scene, width=size * 4 // 3, height=size))
        kinds.append(name)
    return Scenes(np.stack(images), np.stack(depths), np.stack(classes), np.array(kinds))


def _classes(scene: Scene, *, width: int, height: int) -> NDArray[np.uint8]:
    """Pattern and shape at every pixel, uint8 H x W x 2."""
    solids = scene.solids
    index_HW = raycast.cast(scene.view.camera(width=width, height=height), solids).solid_HW
    table = [(_PATTERNS.index(s.material.pattern), _SHAPES.index(s.shape)) for s in solids]
    table.append((len(_PATTERNS), len(_SHAPES)))
    return np.array(table, np.uint8)[np.where(index_HW == NOTHING, len(solids), index_HW)]

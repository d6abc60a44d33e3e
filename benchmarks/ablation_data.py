"""What the ablation looks at: rendered worlds of a narrow and a wide domain, and real pairs.

Rendered once at 4:3, kept as one file per set. Of the wide training set nobody is shown the depth:
its pictures are what the teacher labels, and what each pixel belongs to (a pattern and a shape) is
what the stand-in of a pretrained encoder learns from.
"""

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.data_sets import DataSet, read_data_set
from pipeline.images import decode_rgb
from pipeline.records import Member
from pipeline.worlds import raycast
from pipeline.worlds.film import Film
from pipeline.worlds.raycast import NOTHING, Shape
from pipeline.worlds.rendering import Scene, render
from pipeline.worlds.scenes import MIXTURES, SCENES
from pipeline.worlds.textures import PATTERNS
from pipeline.worlds.themes import one_of

NARROW, WIDE = "rooms", "mixed"
_PATTERNS, _SHAPES = list(PATTERNS), list(Shape)
CLASSES = (len(_PATTERNS) + 1, len(_SHAPES) + 1)  # the last of each is sky
CHUNK = 25  # scenes per task of the renderer

# Folders of real pairs under the one that is named, and the encoding of their depth. Left out are
# disparities, of which no AbsRel in depth exists, and what needs a reader of its own.
REAL = {
    "esanet_kinect2": "png-10000",
    "fastdepth_nyu": "npy-m",
    "icl_nuim": "png-5000",
    "kitti": "png-256",
    "kitti_road_u16": "png-mm",
    "nyu_rel_u16": "png-relative",
    "nyu_sync": "png-mm",
    "pgm16_rgbd": "pgm-mm",
    "phoxi_npy": "npy-m",
    "redwood": "png-mm",
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
    cache: Path,
    kind: str,
    *,
    count: int,
    seed: int,
    size: int,
    poor_cameras: bool = False,
    processes: int = 1,
) -> Scenes:
    """Scenes of a kind or mixture, shorter side ``size``; rendered where the cache has none.

    With ``poor_cameras`` each is taken with a camera that no training scene is taken with.
    """
    cameras = "-poor" if poor_cameras else ""
    file = cache / f"{kind}{cameras}-{size}px-seed{seed}-{count}.npz"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        render_chunk = partial(_render_chunk, kind, seed=seed, size=size, poor=poor_cameras)
        rendered = _render_all(render_chunk, count, processes)
        scratch = file.with_suffix(".tmp.npz")
        np.savez(scratch, **{f.name: getattr(rendered, f.name) for f in dataclasses.fields(Scenes)})
        scratch.replace(file)
    with np.load(file) as arrays:
        return Scenes(**arrays)


def real_pairs(folder: Path) -> Iterator[Pair]:
    """The real pairs found in a folder of data sets, named in `REAL`, each image once."""
    seen: set[bytes] = set()
    for name, encoding in REAL.items():
        if not (folder / name).is_dir():
            continue
        pairs = DataSet(uri=str(folder / name), layout="pairs", truth=encoding)
        for item in read_data_set(pairs):
            if not isinstance(item, Member) or item.truth is None or item.data in seen:
                continue
            seen.add(item.data)
            truth, image = item.truth, decode_rgb(item.data)
            yield Pair(f"{name}/{item.path}", image, truth.values_HW, str(truth.geometry))


def _render_all(render_chunk: Callable[[range], Scenes], count: int, processes: int) -> Scenes:
    chunks = [range(i, min(i + CHUNK, count)) for i in range(0, count, CHUNK)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(render_chunk, chunks))
    return Scenes(
        **{
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in dataclasses.fields(Scenes)
        }
    )


def _render_chunk(kind: str, indices: range, *, seed: int, size: int, poor: bool) -> Scenes:
    images, depths, classes, kinds = [], [], [], []
    for index in indices:
        rng = np.random.default_rng([seed, index, zlib.crc32(kind.encode())])
        name = one_of(rng, MIXTURES.get(kind, (kind,)))
        scene = SCENES[name](rng)
        if poor:
            scene = dataclasses.replace(scene, film=_poor_film(rng))
        picture = render(scene, width=size * 4 // 3, height=size, rng=rng)
        images.append(picture.rgb_HW3)
        depths.append(picture.depth_HW)
        classes.append(_classes(scene, width=size * 4 // 3, height=size))
        kinds.append(name)
    return Scenes(np.stack(images), np.stack(depths), np.stack(classes), np.array(kinds))


def _poor_film(rng: np.random.Generator) -> Film:
    """Wrong exposure and white balance, a soft lens and a noisy sensor, each far beyond a scene's.

    (Scenes vary by 0.4 stops and 6 % of tint, with noise of 0.7 %.)
    """
    return Film(
        stops=rng.normal(0, 1.2),
        tint=np.exp(rng.normal(0, 0.25, 3)).astype(np.float32),
        vignette=rng.uniform(0, 0.8),
        blur=1.0,
        noise=rng.uniform(0.01, 0.08),
        quality=95,
    )


def _classes(scene: Scene, *, width: int, height: int) -> NDArray[np.uint8]:
    """Pattern and shape at every pixel, uint8 H x W x 2."""
    solids = scene.solids
    index_HW = raycast.cast(scene.view.camera(width=width, height=height), solids).solid_HW
    table = [(_PATTERNS.index(s.material.pattern), _SHAPES.index(s.shape)) for s in solids]
    table.append((len(_PATTERNS), len(_SHAPES)))
    return np.array(table, np.uint8)[np.where(index_HW == NOTHING, len(solids), index_HW)]

"""`factory predict`: try a model on some images.

Beside each other, per image: ``NAME.npy``, the map as float32; ``NAME.png``, 16 bits, with what
its codes mean in PNG text; and ``NAME_colour.png`` for the eye, bright is near.

`pipeline.depth_codes` says what the codes of the 16-bit PNG are.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.colour import colourise
from jobs.config import PredictConfig
from jobs.console import Reporter
from jobs.errors import ConfigError, JobError
from jobs.models import ModelLocation, ResolvedModel, fetch_model, resolve_model
from jobs.workspace import open_workspace
from model.depth_model import DepthModel, load_depth_model
from model.geometry import to_disparity
from pipeline.depth_codes import depth_png, to_codes
from pipeline.images import decode_rgb
from pipeline.storage import Store

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")


@dataclass(frozen=True, slots=True)
class Target:
    """An image, and the path of its results without their endings."""

    image: Path
    stem: Path

    def outputs(self) -> tuple[Path, Path, Path]:
        """Float map, 16-bit map, colours."""
        endings = (".npy", ".png", "_colour.png")
        array, depth, colour = (self.stem.with_name(self.stem.name + e) for e in endings)
        return array, depth, colour


def predict(config: PredictConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Predict images; see `PredictConfig`, and design §3 for the summary's key.

    Raises:
        ConfigError: An image that is not there, or results that would overwrite something.
        JobError: Not one image could be predicted.
    """
    reporter = reporter or Reporter.silent()
    targets = find_targets(config.images, Path(config.out))
    found = _resolved(config)
    model = load_depth_model(
        found.reference, device="auto", precision=config.precision, side=config.size
    )
    found.location.check(model.sha256)
    written: list[str] = []
    skipped: list[dict[str, str]] = []
    with reporter.progress(f"predict with {config.model}", total=len(targets)) as bar:
        for target in targets:
            try:
                image_HWC = decode_rgb(target.image.read_bytes())
                values_HW = model.predict(image_HWC, upsampling=config.upsampling)
            except (ValueError, OSError) as error:  # ImageDecodeError is a ValueError too
                reporter.warn(f"{target.image}: {error}")
                skipped.append({"image": str(target.image), "reason": str(error)})
            else:
                files = write_prediction(values_HW, model, target, upsampling=config.upsampling)
                written += map(str, files)
            bar.advance()
    if not written:
        raise JobError(
            f"not one of {len(targets)} images could be predicted: {skipped[0]['reason']}"
        )
    return {"written": written, "skipped": skipped, "geometry": model.geometry}


def find_targets(images: Sequence[str], out: Path) -> list[Target]:
    """Every image that is named or lies in a folder that is named, and where its results go.

    Below ``out``, files of a folder keep their place in it. Results are named as the image without
    its ending, or with it where two images would else share a name.

    Raises:
        ConfigError: All problems at once.
    """
    out = out.expanduser()
    found: list[tuple[Path, Path]] = []
    problems = [] if images else ["name at least one image or folder"]
    for name in images:
        path = Path(name).expanduser()
        inside = [(path, Path(path.name))] if path.is_file() else list(_images_in(path, out))
        if not inside:
            what = "holds no images" if path.is_dir() else "there is no such file or folder"
            problems.append(f"{name}: {what}")
        if path.resolve() == out.resolve():
            problems.append(f"{name}: is read, so the results must go into another folder")
        found += inside
    targets = list(_named(found, out))
    problems += _collisions(targets)
    if problems:
        raise ConfigError(problems)
    return targets


def write_prediction(
    values_HW: NDArray[np.float32], model: DepthModel, target: Target, *, upsampling: str
) -> tuple[Path, Path, Path]:
    """Write the three files of a map that the model made; ``upsampling`` stands in the text."""
    array, depth, colour = target.outputs()
    array.parent.mkdir(parents=True, exist_ok=True)
    np.save(array, values_HW)
    codes = to_codes(values_HW, geometry=model.geometry)
    more = {"model_sha256": model.sha256, "upsampling": upsampling}
    depth.write_bytes(depth_png(codes, geometry=model.geometry, more=more))
    Image.fromarray(colourise(to_disparity(values_HW, model.geometry))).save(colour)
    return array, depth, colour


def _resolved(config: PredictConfig) -> ResolvedModel:
    """Where the model is; a store is looked into, but not made for one look."""
    store = Store(config.store)
    folder = store.local_path("")
    if config.catalog is None and folder is not None and not folder.exists():
        kind: Literal["url", "plain"] = "url" if "://" in config.model else "plain"
        location = ModelLocation(kind, config.model)
        return ResolvedModel(fetch_model(location, store), location)
    with open_workspace(config) as workspace:
        return resolve_model(config.model, workspace.catalog, workspace.store)


def _images_in(folder: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Images below a folder, in order of name, and their places in it; not earlier results."""
    results = out.resolve()
    for path in sorted(folder.rglob("*")):
        is_image = path.suffix.lower() in SUFFIXES and path.is_file()
        if is_image and results not in path.resolve().parents:
            yield path, path.relative_to(folder)


def _named(found: Sequence[tuple[Path, Path]], out: Path) -> Iterator[Target]:
    shared = Counter(place.with_suffix("") for _, place in found)
    for path, place in found:
        unique = shared[place.with_suffix("")] == 1
        yield Target(path, out / (place.with_suffix("") if unique else place))


def _collisions(targets: Sequence[Target]) -> list[str]:
    """Results that would be written twice, or over an image that is read."""
    read = {target.image.resolve() for target in targets}
    writers: dict[Path, Path] = {}
    problems = []
    for target in targets:
        for output in (path.resolve() for path in target.outputs()):
            if output in read:
                problems.append(f"{output} is an image to predict: write into another folder")
            elif output in writers:
                problems.append(f"{writers[output]} and {target.image} would both write {output}")
            writers[output] = target.image
    return problems

"""Photographs on which an exported model is held against the original."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.predict import SUFFIXES
from jobs.workspace import Workspace
from pipeline.errors import PipelineError
from pipeline.images import decode_rgb
from pipeline.shards import load_bytes, read_image_rows

PHOTOGRAPHS = 6  # each is run through the network twice and more

Image = NDArray[np.uint8]


def photographs(
    named: Sequence[str], workspace: Workspace | None, *, reporter: Reporter
) -> list[Image]:
    """Up to ``PHOTOGRAPHS`` images, uint8 H x W x 3: those that are named, or some of a source.

    Of more that are named, some from beginning to end are taken. What cannot be read is warned of.

    Raises:
        ConfigError: A name without images behind it; or not one image.
    """
    found = (
        _from_files(_spread(_paths(named)), reporter)
        if named
        else _from_catalog(workspace, reporter)
    )
    images = [image for image, _ in zip(found, range(PHOTOGRAPHS), strict=False)]
    if not images:
        raise ConfigError(
            [
                "there are no photographs to hold the exported model against the original: name "
                "some with --images FILE_OR_FOLDER, or ingest a source"
            ]
        )
    return images


def _paths(named: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    problems = []
    for name in named:
        path = Path(name).expanduser()
        inside = [path] if path.is_file() else [p for p in sorted(path.rglob("*")) if _is_image(p)]
        if not inside:
            what = "holds no images" if path.is_dir() else "there is no such file or folder"
            problems.append(f"--images {name}: {what}")
        found += inside
    if problems:
        raise ConfigError(problems)
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _spread(paths: Sequence[Path]) -> list[Path]:
    """Some from beginning to end, and then the others, in case some cannot be read."""
    step = -(-len(paths) // PHOTOGRAPHS)
    return [path for start in range(step) for path in paths[start::step]]


def _from_files(paths: Iterable[Path], reporter: Reporter) -> Iterator[Image]:
    for path in paths:
        try:
            yield decode_rgb(path.read_bytes())
        except (ValueError, OSError) as error:
            reporter.warn(f"{path}: {error}")


def _from_catalog(workspace: Workspace | None, reporter: Reporter) -> Iterator[Image]:
    """Of the first source that has images which can be read."""
    if workspace is None:
        return
    for source in workspace.catalog.sources():
        if source.withdrawn_at is not None:
            continue
        for shard in workspace.catalog.image_shards(source.name):
            try:
                for record in read_image_rows(workspace.store, shard.key, truth=False):
                    yield decode_rgb(load_bytes(record))
            except (PipelineError, ValueError, OSError) as error:
                reporter.warn(f"source {source.name}: {error}")

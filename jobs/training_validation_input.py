"""What a run is validated on: chosen before it starts, and the same when it is taken up again."""

from collections.abc import Sequence

from jobs.errors import ConfigError
from jobs.run_files import RunFiles
from jobs.workspace import Workspace
from pipeline.training_input import TrainingShard

PINNED = "validation.json"


def check_validation(
    names: Sequence[str], workspace: Workspace, *, labelled: Sequence[str], pseudo: Sequence[str]
) -> None:
    """Refuse sources without truth, without images, or that are trained on.

    Raises:
        CatalogMissingError: No such source or label set.
        ConfigError: Naming each of them.
    """
    if not names:
        return
    catalog = workspace.catalog
    labels = {row.shard.source for each in pseudo for row in catalog.label_shards(each)}
    problems = []
    for name in names:
        said = f"--validation {name}:"
        if catalog.source(name).role == "unlabelled":
            problems.append(f"{said} the source is unlabelled, there is nothing to compare with")
        elif name in labelled or name in labels:
            problems.append(f"{said} the model trains on this source, so the score says nothing")
        elif not catalog.image_shards(name):
            problems.append(f"{said} the source has no images yet: ingest some first")
    if problems:
        raise ConfigError(problems)


def validation_shards(
    names: Sequence[str], workspace: Workspace, files: RunFiles
) -> tuple[TrainingShard, ...]:
    """The shards of those sources, as they were when the run began."""
    pinned = files.read_json(PINNED)
    if pinned is None:
        shards = [shard for name in names for shard in workspace.catalog.image_shards(name)]
        pinned = {"shards": [[shard.key, shard.rows] for shard in shards]}
        if names:
            files.write_json(PINNED, pinned)
    return tuple(TrainingShard(key, rows) for key, rows in pinned["shards"])

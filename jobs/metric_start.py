"""What a metric fine-tuning starts from: a relative model, and ground truth in metres.

Both are looked at before any worker starts.
"""

from collections.abc import Sequence

from jobs.errors import ConfigError
from jobs.models import ModelLocation, fetch_model, locate_model
from jobs.training_config import FinetuneMetricConfig
from jobs.workspace import Workspace
from model.metric_depth import METRIC_GEOMETRIES
from model.metric_network import check_metric_init
from pipeline.shards import truth_geometries

_LOOKED_AT = 32  # shards of a source, evenly spaced: one ingest gives all of them one geometry


def locate_metric_start(config: FinetuneMetricConfig, workspace: Workspace) -> ModelLocation:
    """Where the model is that the metric one starts from.

    Raises:
        CatalogMissingError: No such source.
        CheckpointError: No Depth Anything network, or other weights than the catalog has.
        ConfigError: A source whose truth says no metres.
    """
    check_metric_sources(config.labelled, workspace)
    location = locate_model(config.init, workspace.catalog)
    location.check(check_metric_init(fetch_model(location, workspace.store)))
    return location


def check_metric_sources(names: Sequence[str], workspace: Workspace) -> None:
    """Refuse sources whose truth has no known unit; those without any images pass.

    Raises:
        CatalogMissingError: No such source.
        ConfigError: Naming each of them, with its geometry.
    """
    problems = []
    for name in names:
        shards = workspace.catalog.image_shards(name)
        some = shards[:: max(1, len(shards) // _LOOKED_AT)]
        found = set[str]().union(*(truth_geometries(workspace.store, each.key) for each in some))
        if odd := sorted(found - set(METRIC_GEOMETRIES)):
            problems.append(
                f"source {name!r} has ground truth as {', '.join(odd)}: metres cannot be had from "
                f"it, only from {' or '.join(METRIC_GEOMETRIES)}"
            )
    if problems:
        raise ConfigError(problems)

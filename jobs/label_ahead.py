"""What a labelling run is going to do, found out before any Ray starts; nothing is written here.

Whatever can be refused is refused here, by name: a source that is missing, empty or no longer in
the store, a teacher that is none, a label set that was made with another recipe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.config import LabelConfig
from jobs.errors import ConfigError
from jobs.label_actors import ActorPlan, label_precision
from jobs.label_recipe import LabelRecipe, recipe_of
from jobs.models import ModelLocation, locate_model
from jobs.owner import current_owner, is_dead
from jobs.ray_runtime import Resources
from jobs.teachers import TeacherFacts, inspect_teacher
from jobs.workspace import Workspace
from pipeline.catalog import Amount, Catalog, SourceWork
from pipeline.catalog_values import differences
from pipeline.depth_codec import CODECS
from pipeline.errors import CatalogConflictError, CatalogMissingError


@dataclass(frozen=True, slots=True)
class LabelAim:
    """The label set that is to be made or gone on with.

    Attributes:
        is_new: Whether the catalog does not have it yet.
    """

    label_set: str
    is_new: bool
    teacher: TeacherFacts
    location: ModelLocation
    recipe: LabelRecipe


def check_sources(workspace: Workspace, sources: Sequence[str]) -> None:
    """Refuse sources that have nothing to label.

    Raises:
        CatalogMissingError: No source has that name.
        ConfigError: Names those without images.
        WithdrawnError: Names those that were withdrawn.
    """
    workspace.catalog.check_not_withdrawn(sources)
    empty = [name for name in sources if not workspace.catalog.source(name).shards]
    if empty:
        hint = "has no images: ingest something into it first"
        raise ConfigError([f"source {name} {hint}" for name in empty])


def check_images(workspace: Workspace, work: Sequence[SourceWork]) -> None:
    """Refuse sources whose images are wanted and gone from the store, judged by a few shards.

    One shard that is gone fails by name when it is its turn, as any other that cannot be read.

    Raises:
        ConfigError: Names the sources and where their images should be.
    """
    problems = []
    for row in work:
        if not row.left.shards:
            continue
        shards = workspace.catalog.image_shards(row.source)
        some = [shards[0], shards[len(shards) // 2], shards[-1]]
        if not any(workspace.store.exists(shard.key) for shard in some):
            problems.append(
                f"source {row.source}: its images are not there, as {workspace.store.uri}/"
                f"{shards[0].key}: check --store, or restore what was removed there"
            )
    if problems:
        raise ConfigError(problems)


def find_aim(config: LabelConfig, workspace: Workspace, resources: Resources) -> LabelAim:
    """Look at the teacher and at the label set.

    Raises:
        CheckpointError: The teacher is no depth model, or its weights cannot be read.
        CatalogConflictError: The set was made with another recipe.
    """
    location = locate_model(config.teacher, workspace.catalog)
    teacher = inspect_teacher(
        location,
        workspace,
        precision=label_precision(config, resources),
        side=config.size,
        resize=config.resize,
    )
    recipe = recipe_of(teacher, codec=CODECS[config.bits], consistency=config.consistency)
    name = config.label_set or f"{teacher.name}-labels"
    is_new = _is_new(workspace.catalog, name, recipe)
    return LabelAim(name, is_new, teacher, location, recipe)


def other_drivers(catalog: Catalog, label_set: str) -> list[str]:
    """Who else holds leases of the label set and is not known to be dead, in words."""
    owners = [
        owner
        for owner in catalog.live_owners(label_set)
        if owner != current_owner() and not is_dead(owner)
    ]
    return [_in_words(owner) for owner in owners]


def foresee(
    config: LabelConfig, catalog: Catalog, aim: LabelAim, plan: ActorPlan
) -> dict[str, Any]:
    """The summary of a dry run."""
    work = catalog.work_ahead(aim.label_set, config.sources)
    left = sum((row.left for row in work), Amount())
    summary = {
        "dry_run": True,
        "label_set": aim.label_set,
        "is_new": aim.is_new,
        "teacher": aim.teacher.name,
        "teacher_sha256": aim.teacher.sha256,
        "geometry": aim.teacher.label_geometry,
        "recipe": aim.recipe.as_dict(),
        "shards_to_do": left.shards,
        "images_to_do": left.images,
        "limit": config.limit,
        "actors": plan.count,
        "device": plan.device,
        "gpus_per_actor": plan.gpus,
        "cpus_per_actor": plan.cpus,
        "batch_size": config.batch_size,
        "retry": {what: _retried(what, work) for what in config.retry},
        "other_drivers": other_drivers(catalog, aim.label_set),
    }
    return summary | {"sources": [_ahead_of(row) for row in work]}


def _is_new(catalog: Catalog, name: str, recipe: LabelRecipe) -> bool:
    try:
        known = catalog.label_set(name)
    except CatalogMissingError:
        return True
    if known.recipe_hash == recipe.digest():
        return False
    changed = "; ".join(differences(known.recipe, recipe.as_dict()))
    busy = other_drivers(catalog, name)
    now = f" ({' and '.join(busy)} is labelling it right now)" if busy else ""
    raise CatalogConflictError(
        f"label set {name!r} was made with another recipe{now}: {changed}; "
        "use the same settings, or another --label-set"
    )


def _in_words(owner: str) -> str:
    host, _, pid, _, _ = [*owner.rsplit(":", 4), *[""] * 4][:5]
    return f"process {pid} on {host}" if pid else owner


def _retried(what: str, work: Sequence[SourceWork]) -> dict[str, int]:
    amount = sum((getattr(row, what) for row in work), Amount())
    return {"shards": amount.shards, "images": amount.images}


def _ahead_of(row: SourceWork) -> dict[str, Any]:
    return {
        "source": row.source,
        "shards_to_do": row.left.shards,
        "images_to_do": row.left.images,
        "shards_done": row.done.shards,
        "images_done": row.done.images,
        "shards_failed": row.failed.shards,
        "images_quarantined": row.quarantined.images,
    }

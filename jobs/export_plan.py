"""What an export of a label set or source consists of, and whether it may be made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from jobs.card_facts import shown
from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.evaluate_config import ExportConfig
from jobs.licence_policy import check_rehost, in_words, origins_of
from jobs.workspace import Workspace
from pipeline.catalog import Catalog, LabelSetRow, SourceRow
from pipeline.export_samples import Piece
from pipeline.licences import permissions
from pipeline.origins import Origin
from pipeline.records import Role

DataKind = Literal["label-set", "source"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportPlan:
    """What is going to be exported.

    Attributes:
        name: Of the label set or source.
        pixels: Whether the images go with the maps.
        label_set: None where ground truth is exported.
        pieces: In the order in which their shards were committed.
        behind: Sources and models from elsewhere that stand behind it.
        shards_left: Image shards that were to be labelled and are not; 0 for ground truth.
        images_left: Images in them.
    """

    kind: DataKind
    name: str
    format: str
    pixels: bool
    label_set: LabelSetRow | None
    pieces: Sequence[Piece]
    behind: Sequence[Origin]
    shards_left: int = 0
    images_left: int = 0

    @property
    def words(self) -> str:
        """For example ``label set photos-labels``."""
        return f"{self.kind.replace('-', ' ')} {self.name}"

    @property
    def identity(self) -> dict[str, Any]:
        """What a folder says that it is an export of."""
        return {
            "kind": self.kind, "name": self.name, "format": self.format, "images": self.pixels,
        }  # fmt: skip

    @property
    def rows(self) -> int:
        """Images in its shards."""
        return sum(piece.shard.rows for piece in self.pieces)

    @property
    def sources(self) -> list[SourceRow]:
        """Each once, by name."""
        found = {piece.source.name: piece.source for piece in self.pieces}
        return [found[name] for name in sorted(found)]


def plan_export(config: ExportConfig, *, kind: DataKind, catalog: Catalog) -> ExportPlan:
    """The pieces, as the catalog has them now.

    Raises:
        ConfigError: There is nothing to export.
    """
    name, label_set, progress = config.target, None, None
    if kind == "source":
        row = catalog.source(name)
        if row.role == Role.UNLABELLED:
            raise ConfigError([f"source {name} has no ground truth: export one of its label sets"])
        pieces = [Piece(shard, row) for shard in catalog.image_shards(name)]
    else:
        # What a teacher was called may be a path, which means nothing elsewhere.
        label_set = catalog.label_set(name)
        label_set = replace(label_set, teacher=shown(label_set.teacher))
        shards = catalog.label_shards(name)
        rows = {each: catalog.source(each) for each in {shard.shard.source for shard in shards}}
        progress = catalog.progress(name)
        pieces = [Piece(each.shard, rows[each.shard.source], each, label_set) for each in shards]
    plan = ExportPlan(
        kind=kind,
        name=name,
        format=config.format,
        pixels=not config.labels_only,
        label_set=label_set,
        pieces=pieces,
        behind=origins_of(catalog).behind((kind, name)),
        shards_left=progress.pending + progress.leased + progress.failed if progress else 0,
        images_left=progress.images_left if progress else 0,
    )
    if not pieces or (label_set is not None and not label_set.labelled):
        raise ConfigError([f"{plan.words} is empty: there is nothing to export"])
    return plan


def check_terms(plan: ExportPlan, workspace: Workspace, *, reporter: Reporter) -> None:
    """Refuse images that may not be published again, and say what is doubtful or not finished.

    Raises:
        ConfigError: Names every source that forbids it.
    """
    if plan.pixels:
        _check_rehost(plan, workspace.catalog)
        for source in plan.sources:
            if permissions(source.terms, source.licence).rehost == "conditions":
                note = (source.terms or {}).get("note") or f"see {source.licence}"
                reporter.note(f"images of {source.name} may be published on conditions: {note}")
    if doubtful := [each for each in plan.behind if each.commercial != "yes"]:
        said = "; ".join(f"{in_words(each)}: {each.commercial}" for each in doubtful)
        reporter.warn(f"commercial use of the export is not plainly permitted by {said}")
    if left := plan.shards_left:
        reporter.warn(
            f"{plan.words} is not finished: {left:,} of {left + len(plan.pieces):,} shards have no "
            "labels; when they have, export it again into the same folder"
        )


def _check_rehost(plan: ExportPlan, catalog: Catalog) -> None:
    try:
        check_rehost(catalog, [source.name for source in plan.sources])
    except ConfigError as error:
        way_out = ["--labels-only exports the labels without the images"]
        raise ConfigError([*error.problems, *(way_out if plan.label_set else [])]) from error

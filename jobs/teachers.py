"""What the driver must know of a teacher before any actor starts; wrong weights end here."""

import re
from dataclasses import dataclass

from jobs.model_licences import licence_of_model
from jobs.models import ModelLocation, fetch_model
from jobs.workspace import Workspace
from model.depth_model import load_depth_model
from model.geometry import disparity_geometry
from pipeline.ledger import record_model


@dataclass(frozen=True, slots=True)
class TeacherFacts:
    """A teacher as the catalog and the recipe need it.

    Attributes:
        name: In the catalog, or the one it is going to have there.
        is_known: Whether the catalog has it.
        geometry: Of what it predicts.
        label_geometry: Of the labels it makes.
        side: Shorter side at the network's input, pixels.
        multiple: Both sides are multiples of this, pixels.
        resize: ``exact`` or ``buckets``.
        max_distortion: Largest relative change of an aspect by buckets; None for ``exact``.
        precision: ``fp32`` or ``bf16``.
        padded: Whether it sees margins of mirrored image (`model.padding`).
    """

    name: str
    is_known: bool
    sha256: str
    family: str
    geometry: str
    label_geometry: str
    side: int
    multiple: int
    precision: str
    resize: str = "exact"
    max_distortion: float | None = None
    padded: bool = False


def inspect_teacher(
    location: ModelLocation,
    workspace: Workspace,
    *,
    precision: str,
    side: int | None,
    resize: str = "exact",
) -> TeacherFacts:
    """Load a teacher on the CPU and look at it; nothing is written.

    Raises:
        CheckpointError: No depth model, unreadable weights, others than the catalog has, or no
            sizes in buckets for this family.
    """
    reference = fetch_model(location, workspace.store)
    model = load_depth_model(reference, device="cpu", precision="fp32", side=side, resize=resize)
    location.check(model.sha256)
    known = None if location.name else workspace.catalog.find_model(model.sha256)
    name = location.name or (known.name if known else None)
    return TeacherFacts(
        name=name or f"{_slug(location.value)}-{model.sha256[:8]}",
        is_known=name is not None,
        sha256=model.sha256,
        family=model.family,
        geometry=model.geometry,
        label_geometry=disparity_geometry(model.geometry),
        side=model.preprocessing.side,
        multiple=model.preprocessing.multiple,
        precision=precision,
        resize=resize,
        max_distortion=model.preprocessing.max_distortion,
        padded=model.preprocessing.padded,
    )


def enter_teacher(teacher: TeacherFacts, location: ModelLocation, workspace: Workspace) -> None:
    """Enter a teacher from elsewhere into the catalog, unless it is there."""
    if not teacher.is_known:
        workspace.catalog.register_model(
            teacher.name,
            uri=location.value,
            sha256=teacher.sha256,
            family=teacher.family,
            geometry=teacher.geometry,
            kind="imported",
            licence=licence_of_model(location.value),
        )
        record_model(workspace.store, workspace.catalog, teacher.name)


def _slug(reference: str) -> str:
    """The last words of a path, URL or id, as a catalog name."""
    last = reference.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._") or "model"

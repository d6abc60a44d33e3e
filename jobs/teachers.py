"""What the driver must know of a teacher before any actor starts; wrong weights end here."""

import re
from dataclasses import dataclass

from jobs.models import ModelLocation, fetch_model
from jobs.workspace import Workspace
from model.depth_model import load_depth_model
from model.geometry import disparity_geometry


@dataclass(frozen=True, slots=True)
class TeacherFacts:
    """A teacher as the catalog and the recipe need it.

    Attributes:
        name: In the catalog.
        label_geometry: Of the labels it makes.
        side: Shorter side at the network's input, pixels.
        multiple: Both sides are multiples of this, pixels.
        precision: ``fp32`` or ``bf16``.
    """

    name: str
    sha256: str
    family: str
    label_geometry: str
    side: int
    multiple: int
    precision: str


def inspect_teacher(
    location: ModelLocation, workspace: Workspace, *, precision: str, side: int | None
) -> TeacherFacts:
    """Load a teacher on the CPU, and enter it into the catalog where it is not there yet.

    Raises:
        CheckpointError: No depth model, unreadable weights, or others than the catalog has.
    """
    reference = fetch_model(location, workspace.store)
    model = load_depth_model(reference, device="cpu", precision="fp32", side=side)
    location.check(model.sha256)
    name = location.name
    if name is None:
        known = workspace.catalog.find_model(model.sha256)
        name = known.name if known else f"{_slug(location.value)}-{model.sha256[:8]}"
        if known is None:
            workspace.catalog.register_model(
                name,
                uri=location.value,
                sha256=model.sha256,
                family=model.family,
                geometry=model.geometry,
                kind="imported",
            )
    return TeacherFacts(
        name=name,
        sha256=model.sha256,
        family=model.family,
        label_geometry=disparity_geometry(model.geometry),
        side=model.preprocessing.side,
        multiple=model.preprocessing.multiple,
        precision=precision,
    )


def _slug(reference: str) -> str:
    """The last words of a path, URL or id, as a catalog name."""
    last = reference.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._") or "model"

"""What decides what a label says, and nothing else; its hash guards a label set."""

import hashlib
import json
from dataclasses import asdict, dataclass

from jobs.teachers import TeacherFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelRecipe:
    """Everything that changes the value of a label.

    Attributes:
        teacher_sha256: Of the teacher's weights.
        family: Of the teacher, decides its preprocessing.
        geometry: Of the labels: ``disparity_affine_invariant`` or ``disparity_metric``.
        side: Shorter side at the network's input, pixels.
        multiple: Both sides are multiples of this, pixels.
        resize: How sizes are chosen: ``exact`` or ``buckets``.
        max_distortion: Largest relative change of an image's aspect by that choice; None for
            ``exact``, which only rounds to ``multiple``.
        precision: ``fp32`` or ``bf16``.
        codec: See `pipeline.depth_codec`.
        consistency: Whether each row says how well it agrees with the mirrored image.
        padded: Whether the teacher sees margins of mirrored image, which are cut off the labels
            (`model.padding`). It is not among the plain values where it does not: labels from
            before there were margins are the same as ever, and so is the hash of their recipe.

    Batch size, device and threads are not part of it: they decide in which order a device sums,
    which changes less than the precision rounds, and a machine with less memory must be able to
    finish a set.
    """

    teacher_sha256: str
    family: str
    geometry: str
    side: int
    multiple: int
    resize: str
    max_distortion: float | None
    precision: str
    codec: str
    consistency: bool
    padded: bool = False

    def as_dict(self) -> dict[str, object]:
        """Plain values, for the catalog and the footers."""
        values = asdict(self)
        if not self.padded:
            del values["padded"]
        return values

    def digest(self) -> str:
        """Hex sha256 of the recipe, independent of field order."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


def recipe_of(teacher: TeacherFacts, *, codec: str, consistency: bool) -> LabelRecipe:
    """The recipe of labels that this teacher makes."""
    return LabelRecipe(
        teacher_sha256=teacher.sha256,
        family=teacher.family,
        geometry=teacher.label_geometry,
        side=teacher.side,
        multiple=teacher.multiple,
        resize=teacher.resize,
        max_distortion=teacher.max_distortion,
        precision=teacher.precision,
        codec=codec,
        consistency=consistency,
        padded=teacher.padded,
    )

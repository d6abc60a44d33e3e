"""What the catalog answers with. Times are seconds since 1970 by the database's clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.records import ShardRef


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source and what is committed of it.

    Attributes:
        uri: Where it was first ingested from; each ingest run has its own.
        images: Rows of its shards.
        dropped: Images refused, per reason.
        preset: Name of the preset by which it was read, if by one.
        terms: Fields of ``presets.Terms``.
        withdrawn_at: When all of it was withdrawn.
    """

    name: str
    role: str
    uri: str
    layout: str
    licence: str | None
    attribution: str | None
    created_at: float
    preset: str | None = None
    terms: Mapping[str, Any] | None = None
    withdrawn_at: float | None = None
    shards: int = 0
    images: int = 0
    bytes: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IngestLease:
    """The right to add shards to a source; ``epoch`` rises with each holder."""

    run_id: str
    source: str
    owner: str
    epoch: int


@dataclass(frozen=True, slots=True)
class IngestRow:
    """One ingest run of a source.

    Attributes:
        state: ``running``, ``done``, ``failed``, ``stopped``, or ``lost`` to another owner.
        lease_until: When another owner may take over, if it is running.
    """

    run_id: str
    source: str
    epoch: int
    owner: str
    lease_until: float
    state: str
    uri: str
    config: Mapping[str, Any]
    code_version: str
    summary: Mapping[str, Any]
    started_at: float
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model under a name; its weights never change.

    Attributes:
        key: Its folder inside the store; None where ``uri`` names it.
        sha256: Of the weights, hex.
        geometry: What it predicts, a value of ``records.Geometry``.
        run_id: The training run that made it; None for a model from elsewhere.
    """

    name: str
    key: str | None
    uri: str | None
    sha256: str
    family: str
    geometry: str
    kind: str
    licence: str | None
    run_id: str | None
    created_at: float


@dataclass(frozen=True, slots=True)
class LabelSetRow:
    """A label set and what is committed of it."""

    name: str
    teacher: str
    teacher_sha256: str
    recipe: Mapping[str, Any]
    recipe_hash: str
    code_version: str
    created_at: float
    shards: int = 0
    images: int = 0
    bytes: int = 0
    labelled: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkLease:
    """The right to commit the labels of one shard.

    Attributes:
        epoch: Rises with each lease of the shard.
        attempts: Attempts charged so far: above 0, the shard is a suspect.
        previous: Key of the committed label shard that a commit will replace, where quarantined
            rows are tried again.
    """

    label_set: str
    shard: ShardRef
    owner: str
    epoch: int
    attempts: int
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class LabelProgress:
    """Where a label set stands.

    Attributes:
        pending: Shards that can be leased now, those with an expired lease too.
        leased: Shards somebody holds.
        images: In all planned shards; those of done shards are labelled or quarantined.
        images_left: In pending and leased shards.
    """

    pending: int
    leased: int
    done: int
    failed: int
    images: int
    images_left: int
    labelled: int
    quarantined: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Amount:
    """So many shards, and the images in them."""

    shards: int = 0
    images: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.shards + other.shards, self.images + other.images)


@dataclass(frozen=True, slots=True)
class SourceWork:
    """Where one source of a label set stands; each shard is in one of the first five.

    Attributes:
        new: Not planned yet.
        pending: Can be leased now, those with an expired lease too.
        leased: Somebody holds them.
        quarantined: Of the done and failed: shards with quarantined images, and only those images.
            Counted by ``work_ahead`` alone.
    """

    source: str
    new: Amount = Amount()
    pending: Amount = Amount()
    leased: Amount = Amount()
    done: Amount = Amount()
    failed: Amount = Amount()
    quarantined: Amount = Amount()

    @property
    def left(self) -> Amount:
        """What a run that asks for no retry has before it."""
        return self.new + self.pending + self.leased

    @property
    def total(self) -> Amount:
        """All of it."""
        return self.left + self.done + self.failed


@dataclass(frozen=True, slots=True)
class LabelShardRow:
    """A committed label shard and the image shard it labels."""

    label_set: str
    shard: ShardRef
    key: str
    sha256: str
    bytes: int
    rows: int
    labelled: int
    quarantined: Mapping[str, int]
    forward_s: float
    wall_s: float
    committed_at: float


@dataclass(frozen=True, slots=True)
class SnapshotMember:
    """One shard of a snapshot.

    Attributes:
        role: ``labelled`` (ground truth is in the image shard) or ``pseudo`` (in the label shard).
        rows: Images in it.
    """

    role: str
    source: str
    label_set: str | None
    shard_id: str
    rows: int
    image_key: str
    image_sha256: str
    label_key: str | None = None
    label_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """A pinned list of shards; the order of the members follows from their content."""

    snapshot_id: str
    created_at: float
    members: tuple[SnapshotMember, ...]


@dataclass(frozen=True, slots=True)
class RunRow:
    """One training run; ``state`` is ``running``, ``done``, ``failed`` or ``stopped``."""

    run_id: str
    kind: str
    name: str
    state: str
    config: Mapping[str, Any]
    snapshot_id: str | None
    code_version: str
    metrics: Mapping[str, Any]
    started_at: float
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One row of a zero-shot table.

    Attributes:
        source_digest: Of the benchmark's shards (``Catalog.source_digest``).
    """

    model: str
    model_sha256: str
    protocol: str
    version: str
    source: str
    source_digest: str
    images: int
    valid_pixels: int
    metrics: Mapping[str, float | None]
    config: Mapping[str, Any]
    code_version: str
    created_at: float


@dataclass(frozen=True, slots=True)
class DriverRow:
    """A process at work, or that was; what it says is in ``facts``.

    Attributes:
        state: ``running``, ``done``, ``failed`` or ``stopped``; one that was killed is ``running``.
        heartbeat_s: How often it says that it lives, seconds.
        seen_at: When it said so last.
    """

    number: int
    owner: str
    verb: str
    target: str
    state: Literal["running", "done", "failed", "stopped"]
    heartbeat_s: float
    started_at: float
    seen_at: float
    ended_at: float | None
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WorkError:
    """Why a shard was charged last; it may have been given up, or be tried again.

    Attributes:
        errored_at: None where it was before the catalog kept that.
    """

    label_set: str
    source: str
    shard_id: str
    state: str
    attempts: int
    error: str
    errored_at: float | None


@dataclass(frozen=True, slots=True)
class Lately:
    """What was committed of one source within some time.

    Attributes:
        commits: Shards.
        first_at: When the first of them was committed.
    """

    source: str
    commits: int
    images: int
    first_at: float
    last_at: float

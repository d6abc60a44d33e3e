"""What a model card says, gathered from the catalog and the store: lineage, and nothing else.

Whatever is not on record is None, and the card says that it is unknown. Addresses of this store
stay out of it: a card is made to be published, and a path names people and machines.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs.licence_policy import origins_of
from jobs.model_licences import licence_of_model
from jobs.network_numbers import read_architecture
from jobs.run_files import RunFiles
from jobs.workspace import Workspace
from pipeline.catalog import Catalog, EvaluationRow, ModelRow, RunRow, SourceRow
from pipeline.errors import CatalogMissingError
from pipeline.licences import permits
from pipeline.lineage import lineage
from pipeline.origins import MADE_OF_NOTHING, Origin

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@[\w./-]+)?")
_HUB_DATASET = re.compile(
    r"(?:hf://|https://huggingface\.co/)datasets/([\w.-]+/[\w.-]+?)(?:[@/].*)?"
)
_WEIGHT_FILES = (".pth", ".pt", ".bin", ".safetensors")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Images of one source that the model learnt from.

    Attributes:
        label_set: Whose pseudo-labels were learnt; None where it was ground truth.
        digest: Of the image shards that were pinned.
    """

    source: SourceRow
    label_set: str | None
    images: int
    shards: int
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoLabels:
    """A label set that the model learnt from.

    Attributes:
        teacher: As `shown` has it.
        digest: Of the label shards that were pinned.
    """

    name: str
    teacher: str
    teacher_sha256: str
    images: int
    recipe: Mapping[str, Any]
    recipe_hash: str
    code_version: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CardFacts:
    """All that is known of a model.

    Attributes:
        made: ``teacher``, ``student``, ``metric``, or ``imported``.
        licence: Of the weights, as somebody has said.
        reference: Where a model from elsewhere came from, as `shown` has it.
        architecture: Numbers of the network, as `read_architecture` finds them.
        run: The training run that made it.
        settings: What the run wrote down of itself: its options, its recipe, its steps.
        began_with: What its weights began with, by option (``encoder``, ``init``).
        bases: Ids on the Hugging Face hub of the models behind it, one step away.
        behind: Sources and models from elsewhere that stand behind it, however far.
        evaluations: The newest result per protocol and source.
        withdrawn: Sources of which images were withdrawn since it was trained on them.
    """

    name: str
    sha256: str
    family: str
    geometry: str
    made: str
    licence: str | None = None
    reference: str | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    run: RunRow | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    began_with: Mapping[str, str] = field(default_factory=dict)
    bases: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    pseudo: tuple[PseudoLabels, ...] = ()
    behind: tuple[Origin, ...] = ()
    evaluations: tuple[EvaluationRow, ...] = ()
    withdrawn: tuple[str, ...] = ()

    @property
    def trained_here(self) -> bool:
        """Whether its training is on record."""
        return self.run is not None


def gather(workspace: Workspace, name: str) -> CardFacts:
    """All that the catalog and the store know of a model.

    Raises:
        CatalogMissingError: No model has that name.
    """
    catalog = workspace.catalog
    model = catalog.model(name)
    run = catalog.run(model.run_id) if model.run_id else None
    settings = _settings(workspace, run)
    began = _began_with(catalog, run, settings)
    snapshot = _snapshot_node(catalog, run)
    pseudo = tuple(_pseudo(catalog, node) for node in snapshot if node["kind"] == "label-set")
    return CardFacts(
        name=name,
        sha256=model.sha256,
        family=model.family,
        geometry=model.geometry,
        made=model.kind,
        licence=model.licence or (licence_of_model(model.uri) if model.uri else None),
        reference=shown(model.uri) if model.uri else None,
        architecture=read_architecture(workspace.store, model),
        run=run,
        settings=settings,
        began_with={option: shown(_place(catalog, each)) for option, each in began.items()},
        bases=tuple(_bases(catalog, model, [*began.values(), *_teachers(snapshot)])),
        parts=tuple(_parts(catalog, snapshot)),
        pseudo=pseudo,
        behind=tuple(_behind(catalog, name, run, began)),
        evaluations=newest(catalog.evaluations(name), sha256=model.sha256),
        withdrawn=_withdrawn(catalog, run),
    )


def newest(rows: Sequence[EvaluationRow], *, sha256: str) -> tuple[EvaluationRow, ...]:
    """Of these weights, the last result per protocol and source, in the order of their names."""
    last = {
        (row.protocol, row.version, row.source): row for row in rows if row.model_sha256 == sha256
    }
    return tuple(last[key] for key in sorted(last))


def hub_id(reference: str) -> str | None:
    """The id on the Hugging Face hub that a reference is, its revision left out."""
    found = _HUB_ID.fullmatch(reference)
    is_file = reference.endswith(_WEIGHT_FILES) or Path(reference).expanduser().exists()
    return None if found is None or is_file else found[1]


def hub_dataset(source: SourceRow) -> str | None:
    """The id of a source on the hub, where it came from there or has its home there."""
    places = (source.uri, str((source.terms or {}).get("homepage", "")))
    found = (_HUB_DATASET.fullmatch(place) for place in places)
    return next((match[1] for match in found if match), None)


def shown(reference: str) -> str:
    """A reference as others may read it: an id, a name, or the last part of a path or address."""
    if hub_id(reference) or reference.startswith(MADE_OF_NOTHING):
        return reference
    return reference.rstrip("/").rpartition("/")[2] or reference


def _settings(workspace: Workspace, run: RunRow | None) -> Mapping[str, Any]:
    if run is None:
        return {}
    return RunFiles(workspace.store, run.run_id).read_json("config.json") or {"config": run.config}


def _began_with(
    catalog: Catalog, run: RunRow | None, settings: Mapping[str, Any]
) -> dict[str, str]:
    """By option; where it was a path, that path, which may look like an id of the hub."""
    if run is None:
        return {}
    given = {key: str(run.config[key]) for key in ("init", "encoder") if run.config.get(key)}
    start = settings.get("start") or {}
    if start.get("kind") != "plain":
        return given
    return {
        key: reference if _in_catalog(catalog, reference) else str(start["value"])
        for key, reference in given.items()
    }


def _snapshot_node(catalog: Catalog, run: RunRow | None) -> list[dict[str, Any]]:
    """What a run has pinned: sources and label sets with their counts and digests."""
    if run is None or run.snapshot_id is None:
        return []
    return list(lineage(catalog, f"snapshot:{run.snapshot_id}").get("from", ()))


def _parts(catalog: Catalog, snapshot: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    for node in snapshot:
        is_set = node["kind"] == "label-set"
        mentions = [each for each in node["from"] if each["kind"] == "source"] if is_set else [node]
        for mention in mentions:
            yield Part(
                source=catalog.source(mention["name"]),
                label_set=node["name"] if is_set else None,
                images=mention["images"],
                shards=mention["shards"],
                digest=mention["digest"],
            )


def _pseudo(catalog: Catalog, node: Mapping[str, Any]) -> PseudoLabels:
    return PseudoLabels(
        name=node["name"],
        teacher=shown(_place(catalog, node["teacher"])),
        teacher_sha256=node["teacher_sha256"],
        images=node["images"],
        recipe=node["recipe"],
        recipe_hash=node["recipe_hash"],
        code_version=node["code_version"],
        digest=node["digest"],
    )


def _teachers(snapshot: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return (str(node["teacher"]) for node in snapshot if node["kind"] == "label-set")


def _bases(catalog: Catalog, model: ModelRow, references: Sequence[str]) -> Iterator[str]:
    """Each once; of a model from elsewhere, itself: its card is of a copy."""
    places = [model.uri] if model.uri else [_place(catalog, each) for each in references]
    yield from dict.fromkeys(found for place in places if (found := hub_id(place)))


def _in_catalog(catalog: Catalog, reference: str) -> ModelRow | None:
    try:
        return catalog.model(reference)
    except (CatalogMissingError, ValueError):
        return None


def _place(catalog: Catalog, reference: str) -> str:
    """Where a model of the catalog came from, if it came from elsewhere; else its name."""
    known = _in_catalog(catalog, reference)
    return reference if known is None else known.uri or reference


def _behind(
    catalog: Catalog, name: str, run: RunRow | None, began: Mapping[str, str]
) -> Iterator[Origin]:
    """What was a path has the licence that lies beside it, whatever id it looks like."""
    found = {} if run is None else {str(run.config[key]): place for key, place in began.items()}
    for origin in origins_of(catalog).behind(("model", name)):
        place = found.get(origin.name, origin.name)
        if origin.kind == "source" or place == origin.name:
            yield origin
            continue
        licence = licence_of_model(place)
        allowed = permits(licence)
        yield replace(
            origin, name=place, licence=licence, commercial=allowed.commercial,
            rehost=allowed.rehost,
        )  # fmt: skip


def _withdrawn(catalog: Catalog, run: RunRow | None) -> tuple[str, ...]:
    gone = catalog.withdrawn_members(run.snapshot_id) if run and run.snapshot_id else []
    return tuple(sorted({source for source, _, _ in gone}))

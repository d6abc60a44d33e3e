"""Model references: what people write, and where the files are.

A reference is a name in the catalog, a local directory, an fsspec URL, a Hugging Face id, or an
original ``FILE.pth#variant``. Only the driver talks to the catalog, so a reference is *located*
there, and *fetched* where the model is loaded, which may be another machine.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.errors import NOT_FROM_A_DEPTH_MODEL, CheckpointError
from pipeline.catalog import Catalog
from pipeline.errors import CatalogMissingError
from pipeline.storage import Store, model_prefix


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """Where a model is, in words that another machine understands.

    Attributes:
        kind: ``store`` (a prefix in the store), ``url`` (any fsspec URL) or ``plain`` (a path or
            a Hugging Face id, used as it is).
        name: The catalog's name of the model, None where it has none.
        sha256: What the catalog says its weights are, None where it has no such model.
    """

    kind: Literal["store", "url", "plain"]
    value: str
    name: str | None = None
    sha256: str | None = None

    def check(self, sha256: str) -> None:
        """Refuse weights that are not those the catalog has under this name.

        Raises:
            CheckpointError: They are others.
        """
        if self.sha256 not in (None, sha256):
            raise CheckpointError(
                f"model {self.name}: the weights at {self.value} have sha256 {sha256}, "
                f"the catalog has {self.sha256}"
            )


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model whose files are at hand."""

    reference: str
    location: ModelLocation


def locate_model(reference: str, catalog: Catalog) -> ModelLocation:
    """Say where a model is; names in the catalog win over paths of the same name."""
    if "://" in reference:
        return ModelLocation("url", reference)
    try:
        model = catalog.model(reference)
    except (CatalogMissingError, ValueError):
        return ModelLocation("plain", _absolute(reference))
    if model.uri:
        kind: Literal["url", "plain"] = "url" if "://" in model.uri else "plain"
        return ModelLocation(kind, model.uri, model.name, model.sha256)
    return ModelLocation("store", model.key or model_prefix(model.name), model.name, model.sha256)


def locate_encoder(reference: str, catalog: Catalog) -> ModelLocation:
    """Say where an encoder is; encoders are no models of the catalog.

    Raises:
        CheckpointError: It is the name of one, and no path.
    """
    if "://" in reference:
        return ModelLocation("url", reference)
    place = _absolute(reference)
    if place == reference and locate_model(reference, catalog).name:
        raise CheckpointError(f"{reference}: {NOT_FROM_A_DEPTH_MODEL}")
    return ModelLocation("plain", place)


def fetch_model(location: ModelLocation, store: Store) -> str:
    """Bring the files to this machine where they are not; a path or id for `load_depth_model`.

    Raises:
        CheckpointError: There is nothing at that address.
    """
    if location.kind == "plain":
        return location.value
    if location.kind == "store":
        return str(_at_hand(store, location.value))
    address, _, variant = location.value.partition("#")
    root, _, last = address.rstrip("/").rpartition("/")
    if not root.partition("://")[2]:
        raise CheckpointError(f"{address}: names no folder or file in a store")
    try:
        found = _at_hand(Store(root), last)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    return f"{found}#{variant}" if variant else str(found)


def resolve_model(reference: str, catalog: Catalog, store: Store) -> ResolvedModel:
    """Locate and fetch in one step, for commands that run the model themselves."""
    location = locate_model(reference, catalog)
    return ResolvedModel(fetch_model(location, store), location)


def _absolute(reference: str) -> str:
    """A path that is there, so that it means the same from another folder; else as it is."""
    file, mark, variant = reference.partition("#")
    path = Path(file).expanduser()
    return f"{path.absolute()}{mark}{variant}" if file and path.exists() else reference


def _at_hand(store: Store, key: str) -> Path:
    """Where the files lie on this machine: in a local store as they are, else a copy of them."""
    local = store.local_path(key)
    if local is None:
        return _download(store, key)
    if not local.exists():
        raise CheckpointError(f"there is nothing at {local}")
    return local


def _download(store: Store, key: str) -> Path:
    """Fetch a folder or a single file once, and again when it was written again.

    A half-finished download is never taken for whole.
    """
    if not store.exists(key):
        raise CheckpointError(f"there is nothing at {store.uri}/{key}")
    folder = _cache_folder(f"{store.uri}/{key}\0{store.fingerprint(key)}")
    target = folder / Path(key).name
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder))
    try:
        if store.is_file(key):
            (scratch / "it").write_bytes(store.get(key))
        else:
            store.get_folder(key, scratch / "it")
        (scratch / "it").rename(target)
    except OSError:
        if not target.exists():  # somebody else may have finished first
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _cache_folder(address: str) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "pseudo-label-factory" / "models" / hashlib.sha256(address.encode()).hexdigest()

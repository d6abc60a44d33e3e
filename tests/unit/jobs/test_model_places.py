"""Where models lie: the same from every folder, fetched once, and again when they change."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jobs.models import ModelLocation, fetch_model, locate_encoder, locate_model
from model.errors import CheckpointError
from pipeline.catalog import Catalog
from pipeline.storage import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that is not on this machine, as far as anybody can tell."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Store(f"memory://{uuid4().hex}")


def test_a_path_means_the_same_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "teacher").mkdir()
    (tmp_path / "weights.pth").touch()
    monkeypatch.chdir(tmp_path)
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.sqlite") as catalog:
        assert locate_model("teacher", catalog).value == str(tmp_path / "teacher")
        assert locate_model("weights.pth#v2-s", catalog).value == f"{tmp_path}/weights.pth#v2-s"
        assert locate_encoder("./teacher", catalog).value == str(tmp_path / "teacher")
        for name in ("facebook/dinov2-small", "scratch:tiny"):
            assert locate_encoder(name, catalog).value == name


def test_a_name_in_the_catalog_leads_to_where_its_model_lies(tmp_path: Path) -> None:
    facts = {"sha256": "a" * 64, "family": "dpt", "geometry": "depth_metric", "kind": "imported"}
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.sqlite") as catalog:
        catalog.register_model("trained", key="models/trained", **facts)
        catalog.register_model("folder", uri="/models/x", **facts)
        catalog.register_model("far", uri="s3://bucket/x", **facts)
        found = {name: locate_model(name, catalog) for name in ("trained", "folder", "far")}
    assert [found[name].kind for name in found] == ["store", "plain", "url"]
    assert found["far"] == ModelLocation("url", "s3://bucket/x", "far", "a" * 64)


def test_a_model_of_the_catalog_is_no_encoder(tmp_path: Path, monkeypatch: Any) -> None:
    facts = {"sha256": "a" * 64, "family": "dpt", "geometry": "depth_metric", "kind": "teacher"}
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.sqlite") as catalog:
        catalog.register_model("dinov2-mine", key="models/dinov2-mine", **facts)
        with pytest.raises(CheckpointError, match=r"dinov2-mine: is a depth model.*never from its"):
            locate_encoder("dinov2-mine", catalog)
        (tmp_path / "dinov2-mine").mkdir()  # a folder of that name may well be one
        monkeypatch.chdir(tmp_path)
        assert locate_encoder("dinov2-mine", catalog).value == f"{tmp_path}/dinov2-mine"


def test_other_weights_than_the_registered_ones_are_refused() -> None:
    ModelLocation("plain", "/models/x").check("b" * 64)
    ModelLocation("plain", "/models/x", "x", "b" * 64).check("b" * 64)
    with pytest.raises(CheckpointError, match="the catalog has aaa"):
        ModelLocation("plain", "/models/x", "x", "a" * 64).check("b" * 64)


@pytest.mark.parametrize("kind", ["store", "url"])
def test_a_model_written_again_is_fetched_again(store: Store, kind: str) -> None:
    value = "models/it" if kind == "store" else f"{store.uri}/models/it"
    location = ModelLocation(kind, value)  # type: ignore[arg-type]
    for content in (b"first", b"again"):  # of one length: size alone does not tell
        store.put("models/it/config.json", content)
        fetched = Path(fetch_model(location, store))
        assert (fetched / "config.json").read_bytes() == content
        assert fetch_model(location, store) == str(fetched)


def test_local_urls_are_read_in_place(tmp_path: Path, store: Store) -> None:
    (tmp_path / "teacher").mkdir()
    address = f"file://{tmp_path}/teacher"
    assert fetch_model(ModelLocation("url", address), store) == str(tmp_path / "teacher")


@pytest.mark.parametrize(
    "address",
    [
        "memory://nothing/here",
        "weird://bucket/model",
        "weird://x",
        "s3://x",
        "file:///nothing/here",
    ],
)
def test_an_address_with_nothing_behind_it_is_refused(store: Store, address: str) -> None:
    with pytest.raises(CheckpointError):
        fetch_model(ModelLocation("url", address), store)

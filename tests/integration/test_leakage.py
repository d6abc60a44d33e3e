"""Leaks as `evaluate` tells them: a student on the images that it was trained on."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from jobs.config import CatalogConfig
from jobs.evaluate import evaluate
from jobs.evaluate_config import EvaluateConfig
from jobs.workspace import Workspace, open_workspace
from tests.whole_store import fill_whole_store

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    fill_whole_store(folder / "store", folder / "raw")
    return folder / "store"


def opened(store: Path) -> AbstractContextManager[Workspace]:
    return open_workspace(CatalogConfig(store=str(store)))


def results(store: Path, model: str, **options: Any) -> dict[str, dict[str, Any]]:
    """Results by source; small maps, and in this process."""
    config = EvaluateConfig(
        store=str(store),
        models=(model,),
        benchmark=("relative@1=rooms", "relative@1=bench"),
        actors=0,
        size=70,
        **options,
    )
    return {row["source"]: row for row in evaluate(config)["results"]}


@pytest.mark.usefixtures("one_thread")
def test_a_student_on_its_own_training_images(store: Path) -> None:
    found = results(store, "student", leakage="near")
    leaks = {source: row["leaks"] for source, row in found.items()}
    assert {name: (row["checked"], row["exact"], row["near"]) for name, row in leaks.items()} == {
        "rooms": ("near", 3, 0),
        "bench": ("near", 0, 0),
    }
    assert all(
        mine == its and source == "rooms" for mine, source, its in leaks["rooms"]["examples"]
    )
    with opened(store) as workspace:
        learnt = sum(workspace.catalog.source(name).images for name in ("photos", "rooms"))
        written = [row.config["leaks"]["exact"] for row in workspace.catalog.evaluations("student")]
    assert leaks["rooms"]["trained_on"] == leaks["bench"]["trained_on"] == learnt
    assert written[-2:] == [3, 0]
    assert "nothing is known of the training of teacher teacher" in leaks["bench"]["why"]


@pytest.mark.usefixtures("one_thread")
def test_the_same_weights_from_a_folder(store: Path) -> None:
    """They are known by their sha256; the hashes made before are found."""
    folder = str(store / "models" / "student")
    found = results(store, folder, leakage="auto")
    assert (found["rooms"]["leaks"]["checked"], found["rooms"]["leaks"]["exact"]) == ("near", 3)
    assert results(store, folder, leakage="none")["rooms"]["leaks"]["checked"] == "none"

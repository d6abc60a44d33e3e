"""The card beside a trained model, in a whole store: read, followed, repaired around."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from jobs.catalog_card import write_card
from jobs.catalog_config import CatalogCardConfig
from jobs.catalog_gc import collect_garbage
from jobs.catalog_verify import verify_catalog
from jobs.catalog_withdraw import withdraw
from jobs.config import CatalogGcConfig, CatalogVerifyConfig
from jobs.model_licences import licence_of_model
from jobs.sample_config import CatalogWithdrawConfig
from model.loading import quiet_transformers
from tests.factories import png
from tests.whole_store import fill_whole_store

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    fill_whole_store(folder / "store", folder / "raw")
    return folder / "store"


def card_now(store: Path) -> str:
    return str(write_card(CatalogCardConfig(store=str(store), ref="student"))["card"])


def test_training_writes_a_card_to_which_results_come_later(store):
    at_first = (store / "models" / "student" / "README.md").read_text(encoding="utf-8")
    now = card_now(store)
    assert "It has not been evaluated" in at_first and "It has not been evaluated" not in now
    before, after = ModelCard(at_first).data, ModelCard(now).data
    assert before.eval_results is None and before.datasets == ["rooms", "photos"]
    (scores,) = {(each.dataset_name, each.dataset_config) for each in after.eval_results}
    assert scores == ("bench", "relative@1")
    assert all(each.metric_value >= 0 for each in after.eval_results)


def test_a_card_is_no_part_of_the_model_and_no_garbage(store):
    card = store / "models" / "student" / "README.md"
    before = card.read_bytes()
    card.write_bytes(before + b"\nWritten by hand.\n")
    try:
        assert verify_catalog(CatalogVerifyConfig(store=str(store)))["problems"] == []
        collect_garbage(CatalogGcConfig(store=str(store)))
        assert card.read_bytes().endswith(b"by hand.\n")
    finally:
        card.write_bytes(before)
    assert licence_of_model(str(card.parent)) is None  # unknown is no licence


def test_what_the_card_says_to_run_runs(store, tmp_path, monkeypatch, one_thread):
    (snippet,) = re.findall(r"```python\n(.*?)```", card_now(store), re.DOTALL)
    (tmp_path / "photo.jpg").write_bytes(png(1, width=80, height=70))
    (tmp_path / "student").symlink_to(store / "models" / "student")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with quiet_transformers():
        exec(snippet, names)
    result = names["result"]
    assert isinstance(result, dict) and result["depth"].size == (80, 70)
    assert isinstance(result["predicted_depth"], torch.Tensor)
    assert result["predicted_depth"].shape == (70, 80)


def test_a_card_says_what_was_withdrawn_since(store, tmp_path):
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    assert "were withdrawn" not in card_now(copy)
    withdraw(CatalogWithdrawConfig(store=str(copy), source="photos", reason="asked for"))
    now = card_now(copy)
    assert "**Images of photos were withdrawn after it was trained on them.**" in now
    assert ModelCard(now).data.datasets == ["rooms", "photos"]  # what it learnt does not change

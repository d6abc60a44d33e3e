"""One image back to its bytes and on to what came of it, over a store made by the real verbs."""

import io
import shutil
import tarfile

import pytest

from jobs.catalog_trace import trace
from jobs.catalog_withdraw import withdraw
from jobs.config import CatalogConfig, IngestConfig
from jobs.errors import ConfigError
from jobs.ingest import ingest
from jobs.sample_config import CatalogTraceConfig, CatalogWithdrawConfig
from jobs.workspace import open_workspace
from pipeline.errors import CatalogMissingError, WithdrawnError
from pipeline.identity import sample_id, sha256_hex
from tests.catalog_factories import register_model
from tests.factories import png
from tests.whole_store import label_pending, open_labels


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`photos` from a tar of six, labelled, of which `student` has learnt; `copies` of two."""
    folder = tmp_path_factory.mktemp("made")
    with tarfile.open(folder / "photos.tar", "w") as tar:
        for index in range(6):
            add(tar, f"a/{index}.png", png(index))
    (folder / "copies").mkdir()
    for index in (1, 40):
        (folder / "copies" / f"{index}.png").write_bytes(png(index))
    where = {"store": str(folder / "store"), "shard_images": 4}
    ingest(IngestConfig(uri=str(folder / "photos.tar"), source="photos", licence="MIT", **where))
    ingest(IngestConfig(uri=str(folder / "copies"), source="copies", by_reference=True, **where))
    with open_workspace(CatalogConfig(store=str(folder / "store"))) as workspace:
        open_labels(workspace)
        workspace.catalog.plan_work("labels", ["photos"])
        label_pending(workspace)
        snapshot = workspace.catalog.pin_snapshot(labelled=[], pseudo=["labels"]).snapshot_id
        run = workspace.catalog.begin_run(
            "student", name="student", config={}, snapshot_id=snapshot, code_version="1"
        )
        register_model(workspace.catalog, "student", run_id=run)
    return folder


def add(tar, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


@pytest.fixture
def ask(made):
    def query(ref, *, store=made / "store", **options):
        return trace(CatalogTraceConfig(store=str(store), ref=ref, **options))

    return query


@pytest.fixture
def folder(made, tmp_path):
    """A copy that may be harmed; what was ingested by reference stays where it was."""
    shutil.copytree(made / "store", tmp_path / "store")
    return tmp_path


def test_an_image_leads_back_to_its_bytes(ask, made):
    (sample,) = ask("photos/a/3.png")["samples"]
    assert (sample["source"], sample["path"], sample["licence"]) == ("photos", "a/3.png", "MIT")
    archive = (made / "photos.tar").read_bytes()
    start, length = sample["offset"], sample["length"]
    assert archive[start : start + length] == png(3)
    assert sample["original"].startswith(f"bytes={start}-{start + length - 1} of ")
    assert sample["sha256"] == sha256_hex(png(3))
    assert sample["file"] == str(made / "photos.tar")
    with open_workspace(CatalogConfig(store=str(made / "store"))) as workspace:
        (run,) = workspace.catalog.ingests("photos")
    assert (sample["ingest_run"], sample["code_version"]) == (run.run_id, run.code_version)
    assert sample["ingested_from"] == str(made / "photos.tar")


def test_it_leads_on_to_labels_and_models(ask):
    found = ask("photos/a/1.png")
    (label,) = found["labels"]
    assert (label["label_set"], label["teacher"], label["status"], label["row"]) == (
        "labels", "teacher", "labelled", 1,
    )  # fmt: skip
    assert found["models"] == ["student"]
    (label,) = ask("photos/a/0.png")["labels"]
    assert (label["status"], label["reason"]) == ("quarantined", "decode_failed")
    elsewhere = ask("copies/40.png")
    assert (elsewhere["labels"], elsewhere["models"]) == ([], [])


def test_every_name_of_an_image_leads_to_it(ask, made):
    wanted = ask("photos/a/5.png")["samples"]
    place = f"{wanted[0]['shard']}:{wanted[0]['row']}"
    (made / "on-disk.png").write_bytes(png(5))
    refs = [sample_id("photos", "a/5.png"), sha256_hex(png(5)), place, str(made / "on-disk.png")]
    for ref in refs:
        assert ask(ref)["samples"] == wanted, ref
    assert ask("a/5.png", source="photos")["samples"] == wanted


def test_bytes_are_found_in_every_source(ask):
    found = ask(sha256_hex(png(1)))
    assert [(each["source"], each["path"]) for each in found["samples"]] == [
        ("copies", "1.png"), ("photos", "a/1.png"),
    ]  # fmt: skip
    (only,) = ask(sha256_hex(png(1)), source="photos")["samples"]
    assert only["source"] == "photos"


@pytest.mark.parametrize(
    ("ref", "said"),
    [("nowhere/1.png", "copies, photos"), ("sha256:12", "hexadecimal"), ("s" + "0" * 19, "image")],
)
def test_a_reference_that_means_nothing_is_refused(ask, ref, said):
    with pytest.raises(ConfigError, match=said):
        ask(ref)


def test_an_image_that_is_nowhere_is_missing(ask):
    with pytest.raises(CatalogMissingError, match="looked through 2 shards"):
        ask("photos/a/9.png")
    with pytest.raises(CatalogMissingError, match="all sources"):
        ask("0" * 32)
    shard = ask("photos/a/5.png")["samples"][0]["shard"]
    with pytest.raises(ConfigError, match="no row 2"):
        ask(f"{shard}:2")


def test_the_original_is_read_again_on_request(ask, made):
    assert ask("photos/a/3.png", check=True)["problems"] == []
    assert ask("copies/40.png", check=True)["problems"] == []
    file = made / "copies" / "40.png"
    before = file.read_bytes()
    try:
        file.write_bytes(png(41))
        whats = [each["problem"] for each in ask("copies/40.png", check=True)["problems"]]
        assert len(whats) == 2  # the original, and the shard that only refers to it
        assert "other bytes than were ingested" in whats[0]
        file.unlink()
        assert ask("copies/40.png", check=True)["problems"][0]["problem"] == "the file is gone"
    finally:
        file.write_bytes(before)


def test_a_withdrawn_image_says_when_and_why(ask, folder):
    store = folder / "store"
    config = CatalogWithdrawConfig(
        store=str(store), source="photos", reason="asked", sample=("a/1.png",)
    )
    withdraw(config)
    gone = ask("photos/a/1.png", store=store)
    assert gone["samples"] == []
    (withdrawn,) = gone["withdrawn"]
    assert (withdrawn["path"], withdrawn["detail"], withdrawn["source"]) == (
        "a/1.png", "asked", "photos",
    )  # fmt: skip
    both = ask(sha256_hex(png(1)), store=store)
    assert [each["source"] for each in both["samples"]] == ["copies"]
    assert len(both["withdrawn"]) == 1
    assert ask("photos/a/0.png", store=store)["samples"][0]["ingest_run"]


def test_of_a_source_that_was_withdrawn_it_is_said(ask, folder):
    withdraw(CatalogWithdrawConfig(store=str(folder / "store"), source="photos", reason="asked"))
    with pytest.raises(WithdrawnError, match=r"'photos' was withdrawn on .*: asked"):
        ask("photos/a/1.png", store=folder / "store")

"""Benchmark images among those that a model, or one behind it, was trained on."""

import shutil
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs import duplicates_hashing
from jobs.catalog_gc import collect_garbage
from jobs.catalog_withdraw import withdraw
from jobs.config import CatalogConfig, CatalogGcConfig
from jobs.console import Reporter
from jobs.duplicates import find_duplicates
from jobs.duplicates_config import CatalogDuplicatesConfig
from jobs.evaluation_result import Leaks
from jobs.leakage import find_leaks
from jobs.leakage_examples import UNREADABLE
from jobs.sample_config import CatalogWithdrawConfig
from jobs.workspace import Workspace, open_workspace
from pipeline.errors import CatalogMissingError
from pipeline.identity import sample_id
from pipeline.image_hashes import hashed_shards, hashes_key
from pipeline.images import ImageDecodeError
from pipeline.perceptual_hash import perceptual_hash
from pipeline.records import ImageRecord
from pipeline.shards import load_bytes, read_image_rows
from tests.catalog_factories import label_all, open_label_set, register_model, sha256
from tests.pictures import commit_pictures, encoded, picture

WIDTH, HEIGHT = 160, 120
BLACK = encoded(Image.new("RGB", (WIDTH, HEIGHT)), "PNG")


def shown(seed: int) -> Image.Image:
    return picture(seed, width=WIDTH, height=HEIGHT)


def png(seed: int) -> bytes:
    return encoded(shown(seed), "PNG")


def smaller(seed: int) -> bytes:
    small = shown(seed).resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.LANCZOS)
    return encoded(small, quality=75)


def opened(store: Path) -> AbstractContextManager[Workspace]:
    return open_workspace(CatalogConfig(store=str(store)))


def train(
    workspace: Workspace, name: str, *, labelled: Any = (), pseudo: Any = (), **config: Any
) -> None:
    catalog = workspace.catalog
    snapshot = catalog.pin_snapshot(labelled=labelled, pseudo=pseudo).snapshot_id
    run = catalog.begin_run(
        "student", name=name, config=config, snapshot_id=snapshot, code_version="1"
    )
    catalog.finish_run(run, state="done", metrics={})
    register_model(catalog, name, run_id=run)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """truth → teacher → labels of web → student; metric began as the student, on rooms.

    Of the benchmark's images, `teacher.png` is in truth, `twice.png` in two shards of web,
    `small.png` there as a smaller JPEG, and `clean.png` is nowhere.
    """
    folder = tmp_path_factory.mktemp("made") / "store"
    truth = {"t0.png": png(0), "seen.png": png(10), "t1.png": png(1), "t2.png": png(2)}
    web = {
        "a.png": png(3), "copy.png": png(11), "black.png": BLACK, "b.png": png(4),
        "copy-again.png": png(11), "small.jpg": smaller(12),
    }  # fmt: skip
    bench = {
        "teacher.png": png(10), "twice.png": png(11), "small.png": png(12), "clean.png": png(13),
        "dark.png": encoded(Image.new("RGB", (WIDTH, HEIGHT + 1)), "PNG"),
    }  # fmt: skip
    commit_pictures(folder, "truth", truth, role="labelled")
    commit_pictures(folder, "web", web, role="unlabelled")
    commit_pictures(folder, "rooms", {"r.png": png(20)}, role="labelled")
    commit_pictures(folder, "bench", bench, role="benchmark", rows=2)
    with opened(folder) as workspace:
        train(workspace, "teacher", labelled=["truth"], encoder="scratch:tiny")
        open_label_set(workspace.catalog, "labels")
        label_all(workspace.catalog, "labels", ["web"])
        train(workspace, "student", pseudo=["labels"])
        train(workspace, "metric", labelled=["rooms"], init="student")
        train(workspace, "apart", labelled=["rooms"])
        register_model(workspace.catalog, "bought", key=None, uri="/x", kind="imported")
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "store"))


def find(
    store: Path,
    model: str,
    check: str,
    *,
    source: str = "bench",
    among: Collection[str] | None = None,
) -> Leaks:
    with opened(store) as workspace:
        return find_leaks(
            workspace, model=model, source=source, check=check, reporter=Reporter.silent()
        ).among(among)


def ids(*names: str) -> tuple[str, ...]:
    return tuple(sample_id("bench", f"{name}.png") for name in names)


def take_out(store: Path, source: str, *samples: str, clean: bool) -> None:
    reason = "its owner asked"
    withdraw(CatalogWithdrawConfig(store=str(store), source=source, reason=reason, sample=samples))
    if clean:
        collect_garbage(CatalogGcConfig(store=str(store)))


def test_the_same_bytes_through_every_model_behind(store: Path) -> None:
    found = find(store, "metric", "exact")
    assert found.exact == ids("teacher", "twice")
    assert (found.near, found.checked, found.trained_on) == ((), "exact", 4 + 6 + 1)
    assert found.examples[0] == ("teacher.png", "truth, through teacher", "seen.png")
    assert found.examples[1][:2] == ("twice.png", "web, through student")
    assert found.examples[1][2] in {"copy.png", "copy-again.png"}
    assert found.why == "only bytes were compared, as asked"
    assert find(store, "student", "exact").examples[1][1] == "web"
    assert find(store, "teacher", "exact").exact == ids("teacher")
    assert find(store, sha256("teacher"), "exact") == find(store, "teacher", "exact")
    assert find(store, "apart", "exact").exact == ()
    with opened(store) as workspace:
        assert not hashed_shards(workspace.store, "bench")  # nobody looked at an image


def test_what_looks_alike(store: Path) -> None:
    found = find(store, "metric", "near")
    assert (found.checked, found.why) == ("near", "")
    assert found.exact == ids("teacher", "twice")
    assert found.near == ids("small")
    assert found.examples[2] == ("small.png", "web, through student", "small.jpg")


@pytest.mark.parametrize("model", ["metric", "student", "teacher", "apart"])
def test_as_comparing_every_row_with_every_row(store: Path, model: str) -> None:
    sources = {
        "metric": ("rooms", "web", "truth"), "student": ("web", "truth"), "teacher": ("truth",),
        "apart": ("rooms",),
    }[model]  # fmt: skip
    with opened(store) as workspace:
        rows = {name: rows_of(workspace, name) for name in (*sources, "bench")}
    learnt = [row for name in sources for row in rows[name]]
    exact = [row for row in rows["bench"] if any(row.sha256 == other.sha256 for other in learnt)]
    hashes = [hashed for row in learnt if (hashed := looks_of(row)) is not None]
    near = [
        row
        for row in rows["bench"]
        if row not in exact
        and (mine := looks_of(row)) is not None
        and any((mine ^ other).bit_count() <= 4 for other in hashes)
    ]
    found = find(store, model, "near")
    assert found.exact == tuple(row.sample_id for row in exact)
    assert found.near == tuple(row.sample_id for row in near)
    assert found.trained_on == len(learnt)


def rows_of(workspace: Workspace, source: str) -> list[ImageRecord]:
    shards = workspace.catalog.image_shards(source)
    return [row for shard in shards for row in read_image_rows(workspace.store, shard.key)]


def looks_of(row: ImageRecord) -> int | None:
    try:
        return perceptual_hash(load_bytes(row))
    except ImageDecodeError:
        return None


def test_auto_looks_where_nobody_has_to_look_at_training_images(store: Path) -> None:
    found = find(store, "student", "auto")
    assert (found.checked, found.near) == ("exact", ())
    assert "4 of 4 training shards" in found.why
    assert "factory catalog duplicates web truth --near" in found.why
    find_duplicates(CatalogDuplicatesConfig(store=str(store), sources=("web", "truth"), near=True))
    found = find(store, "student", "auto")
    assert (found.checked, found.near, found.why) == ("near", ids("small"), "")
    assert find(store, "metric", "auto").checked == "exact"  # rooms has not been looked at


def test_only_those_that_a_protocol_takes_count(store: Path) -> None:
    found = find(store, "metric", "near", among=ids("twice", "small", "clean"))
    whole = find(store, "metric", "near")
    assert (found.exact, found.near) == (ids("twice"), ids("small"))
    assert found.examples == whole.examples[1:]
    assert (found.checked, found.trained_on) == (whole.checked, whole.trained_on)
    assert find(store, "metric", "near", among=()).examples == ()


def test_a_source_that_chose_checkpoints_is_said_and_not_counted(store: Path) -> None:
    with opened(store) as workspace:
        train(workspace, "picked", labelled=["rooms"], validation=["bench"])
    found = find(store, "picked", "near")
    assert (found.exact, found.near) == ((), ())
    assert (found.why, found.validated) == ("", ("picked",))
    assert find(store, "picked", "near", source="truth").validated == ()


def test_hashes_are_made_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = find(store, "metric", "near")
    monkeypatch.setattr(duplicates_hashing.HashEngine, "label", None)
    assert find(store, "metric", "near") == first


def test_nothing_is_known_of_a_model_from_elsewhere(store: Path) -> None:
    found = find(store, "bought", "near")
    assert found == Leaks(checked="none", why="nothing is known of the training of model bought")
    assert find(store, "some/model", "exact").checked == "none"


def test_a_student_of_an_unknown_teacher_is_checked_as_far_as_is_known(store: Path) -> None:
    with opened(store) as workspace:
        open_label_set(workspace.catalog, "theirs", teacher="bought")
        label_all(workspace.catalog, "theirs", ["web"])
        train(workspace, "pupil", pseudo=["theirs"], encoder="facebook/dinov2-small")
    found = find(store, "pupil", "near")
    assert (found.checked, found.exact, found.near) == ("near", ids("twice"), ids("small"))
    said = "nothing is known of the training of encoder facebook/dinov2-small, teacher bought"
    assert found.why == said


def test_a_benchmark_that_was_trained_on_is_leaked_as_a_whole(store: Path) -> None:
    with opened(store) as workspace:
        train(workspace, "cheat", labelled=["truth"])
    found = find(store, "cheat", "near", source="truth")
    assert len(found.exact) == found.trained_on == 4
    assert found.near == ()
    assert found.examples[0] == ("t0.png", "truth", "t0.png")


@pytest.mark.parametrize("clean", [False, True])
def test_what_was_withdrawn_since_was_learnt_from_all_the_same(store: Path, clean: bool) -> None:
    for name in ("copy.png", "copy-again.png"):
        take_out(store, "web", name, clean=clean)
    take_out(store, "truth", "t0.png", clean=clean)
    found = find(store, "student", "exact")
    assert found.exact == ids("teacher", "twice")
    assert found.trained_on == 4 + 6
    assert found.examples[1][0::2] in {
        ("twice.png", name) for name in ("copy.png", "copy-again.png")
    }
    looked = find(store, "student", "near")
    assert (looked.exact, looked.near) == (found.exact, ids("small"))
    said = "3 images are gone or damaged: their bytes alone count"
    assert looked.why == (said if clean else "")


def test_what_went_with_its_whole_source_is_said(store: Path) -> None:
    reason = "its owner asked"
    withdraw(CatalogWithdrawConfig(store=str(store), source="web", reason=reason))
    assert find(store, "student", "exact").exact == ids("teacher", "twice")
    collect_garbage(CatalogGcConfig(store=str(store)))
    found = find(store, "student", "exact")
    assert (found.exact, found.trained_on) == (ids("teacher"), 4)
    assert "6 images were withdrawn since, and nothing is known of them" in found.why


def test_a_shard_that_cannot_be_read_is_named(store: Path) -> None:
    find(store, "student", "near")
    with opened(store) as workspace:
        shard = workspace.catalog.image_shards("truth")[0]
        workspace.store.put(shard.key, b"no shard")
    found = find(store, "student", "exact")
    assert (found.exact, found.trained_on) == (ids("twice"), 1 + 6)
    assert f"cannot be read: {shard.key} (" in found.why
    looked = find(store, "student", "near")  # its hashes are there
    assert looked.exact == ids("teacher", "twice")
    assert looked.examples[0] == ("teacher.png", "truth, through teacher", UNREADABLE)
    assert looked.why == ""


def test_damaged_hashes_leave_the_bytes(store: Path) -> None:
    find(store, "student", "near")
    with opened(store) as workspace:
        for shard in workspace.catalog.image_shards("web"):
            workspace.store.put(hashes_key("web", shard.shard_id), b"no hashes")
    found = find(store, "student", "near")
    assert (found.exact, found.near) == (ids("teacher", "twice"), ())
    assert "6 images are gone or damaged" in found.why


def test_examples_are_few_and_the_same_bytes_come_first(store: Path) -> None:
    pictures = {f"{seed}.png": png(seed) for seed in range(100, 130)}
    commit_pictures(store, "many", pictures, role="labelled", rows=7)
    small = {f"{seed}.jpg": smaller(seed) for seed in range(100, 115)}
    commit_pictures(store, "test", small | dict(list(pictures.items())[15:]), role="benchmark")
    with opened(store) as workspace:
        train(workspace, "big", labelled=["many"])
    found = find(store, "big", "near", source="test")
    assert (len(found.exact), len(found.near), len(found.examples)) == (15, 15, 20)
    assert all(mine == its for mine, _, its in found.examples[:15])
    assert all(mine.split(".")[0] == its.split(".")[0] for mine, _, its in found.examples)


def test_an_unknown_benchmark(store: Path) -> None:
    with pytest.raises(CatalogMissingError, match="nosuch"):
        find(store, "student", "exact", source="nosuch")

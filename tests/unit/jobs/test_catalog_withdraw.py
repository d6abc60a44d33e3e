"""The verb that withdraws, killed at every point, over a store of real shards."""

import csv

import pytest

from jobs import withdrawals
from jobs.catalog_withdraw import withdraw
from jobs.config import CatalogConfig
from jobs.errors import ConfigError
from jobs.sample_config import CatalogWithdrawConfig
from jobs.workspace import open_workspace
from pipeline import withdrawn
from pipeline.catalog import Catalog
from pipeline.errors import CatalogConflictError, CatalogMissingError, WithdrawnError
from pipeline.identity import sample_id, sha256_hex
from pipeline.shards import read_image_rows
from pipeline.storage import Store
from pipeline.withdrawn import withdrawn_samples
from tests.catalog_factories import begin_ingest, label_all, open_label_set, register_model, sha256
from tests.factories import image_shard, png

REASON = "the owner asked for it"
PER_SHARD = 4


@pytest.fixture
def store(tmp_path):
    """`pictures` has three shards of four images, labelled; `student` has learnt from them."""
    with open_workspace(CatalogConfig(store=str(tmp_path / "store"))) as workspace:
        catalog = workspace.catalog
        catalog.register_source("pictures", role="unlabelled", uri="/raw", layout="images")
        lease = begin_ingest(catalog, "pictures")
        for start in range(0, 3 * PER_SHARD, PER_SHARD):
            shard = image_shard(workspace.store, range(start, start + PER_SHARD))
            catalog.commit_image_shard(lease, shard, dropped={})
        catalog.finish_ingest(lease, {})
        open_label_set(catalog, "labels")
        label_all(catalog, "labels", ["pictures"])
        snapshot = catalog.pin_snapshot(labelled=[], pseudo=["labels"]).snapshot_id
        run = catalog.begin_run(
            "student", name="student", config={}, snapshot_id=snapshot, code_version="1"
        )
        catalog.finish_run(run, state="done", metrics={})
        register_model(catalog, "student", run_id=run)
        open_label_set(
            catalog, "second", teacher="student", teacher_sha256=sha256("student"),
            recipe_hash="c" * 64,
        )  # fmt: skip
    return str(tmp_path / "store")


def ask(store, **options):
    return withdraw(CatalogWithdrawConfig(store=store, source="pictures", reason=REASON, **options))


def paths(store):
    with open_workspace(CatalogConfig(store=store)) as workspace:
        shards = workspace.catalog.image_shards("pictures")
        return sorted(row.path for s in shards for row in read_image_rows(workspace.store, s.key))


def path(index):
    return f"{index:05d}.png"


def all_but(*gone):
    return [path(index) for index in range(3 * PER_SHARD) if index not in gone]


def test_samples_go_by_path_id_and_bytes(store):
    words = (path(0), sample_id("pictures", path(1)), sha256_hex(png(9)))
    done = ask(store, sample=words)
    assert paths(store) == all_but(0, 1, 9)
    assert (done["samples"], done["shards"], done["shards_replaced"]) == (3, 2, 2)
    assert done["labels_lost"] == [{"label_set": "labels", "shards": 2, "images": 8}]
    assert done["problems"] == []


def test_what_must_be_made_again_is_named_to_the_last(store):
    done = ask(store, sample=(path(0),))
    assert done["models_to_remake"] == ["student"]
    assert done["label_sets_to_remake"] == ["second"]


def test_a_list_in_a_file(store, tmp_path):
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path"], *([path(index)] for index in range(PER_SHARD))])
    done = ask(store, samples=str(tmp_path / "list.csv"), sample=(path(5),))
    assert paths(store) == all_but(0, 1, 2, 3, 5)
    assert (done["shards"], done["shards_replaced"]) == (2, 1)


def test_samples_that_are_not_there_are_named_and_the_others_go(store):
    done = ask(store, sample=(path(0), "nowhere.png"))
    assert paths(store) == all_but(0)
    assert done["problems"] == [{"sample": "path:nowhere.png", "problem": "not in source pictures"}]


def test_an_empty_list_is_never_the_whole_source(store, tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ConfigError, match="lists no sample"):
        ask(store, samples=str(tmp_path / "empty.txt"))
    with pytest.raises(ConfigError, match="--reason"):
        withdraw(CatalogWithdrawConfig(store=store, source="pictures", reason=" "))
    assert paths(store) == all_but()


def test_the_same_again_finds_it_done(store):
    ask(store, sample=(path(0), sha256_hex(png(1))))
    again = ask(store, sample=(path(0), sha256_hex(png(1)), path(2)))
    assert (again["samples"], again["already_withdrawn"], again["problems"]) == (1, 2, [])
    assert paths(store) == all_but(0, 1, 2)


@pytest.mark.parametrize("options", [{}, {"sample": (path(0), path(1), path(2), path(3), path(9))}])
def test_a_dry_run_says_the_same_and_changes_nothing(store, options):
    with open_workspace(CatalogConfig(store=store)) as workspace:
        before = set(workspace.store.list()), workspace.catalog.image_shards("pictures")
        foreseen = ask(store, dry_run=True, **options)
        now = set(workspace.store.list()), workspace.catalog.image_shards("pictures")
        assert now == before
        assert workspace.catalog.withdrawals() == []
    done = ask(store, **options)
    assert foreseen | {"dry_run": False} == done


def test_a_source_goes_as_a_whole_and_is_refused_from_then_on(store):
    done = ask(store)
    assert (done["samples"], done["shards"], done["shards_replaced"]) == (12, 3, 0)
    assert done["labels_lost"] == [{"label_set": "labels", "shards": 3, "images": 12}]
    assert done["models_to_remake"] == ["student"]
    assert paths(store) == []
    for options in ({}, {"sample": (path(0),)}):
        with pytest.raises(WithdrawnError, match=REASON):
            ask(store, **options)


def test_names_are_checked(store):
    with pytest.raises(CatalogMissingError, match="elsewhere"):
        withdraw(CatalogWithdrawConfig(store=store, source="elsewhere", reason=REASON))
    with open_workspace(CatalogConfig(store=store)) as workspace:
        begin_ingest(workspace.catalog, "pictures", owner="there:7")
    with pytest.raises(CatalogConflictError, match="there:7"):
        ask(store)


def test_shards_withdrawn_since_the_caller_looked_still_name_what_was_in_them(store):
    with open_workspace(CatalogConfig(store=store)) as workspace:
        looked_at = workspace.catalog.image_shards("pictures")
    ask(store, sample=[path(0)])
    gone = {sample_id("pictures", path(1)): ("near_duplicate", "like another")}
    with open_workspace(CatalogConfig(store=store)) as workspace:
        done = withdrawals.withdraw_samples(
            workspace, "pictures", gone, reason="copies", shards=looked_at
        )
        assert done.samples == 1
        known = withdrawn_samples(workspace.store, workspace.catalog.withdrawn_objects("pictures"))
    assert paths(store) == all_but(0, 1)
    assert known.reason(sample_id("pictures", path(0)), sha256_hex(png(0))) == "withdrawn"
    assert known.reason(sample_id("pictures", path(1)), sha256_hex(png(1))) == "near_duplicate"


def test_later_ingests_are_told_what_must_not_come_back(store):
    ask(store, sample=(path(0),))
    with open_workspace(CatalogConfig(store=store)) as workspace:
        keys = workspace.catalog.withdrawn_objects("pictures")
        known = withdrawn_samples(workspace.store, keys)
    assert known.refuses(sample_id("pictures", path(0)), sha256_hex(png(5)))
    assert known.refuses(sample_id("pictures", "copy.png"), sha256_hex(png(0)))


class Killed(BaseException):
    """As by SIGKILL: nobody tidies up behind it."""


def dies_at(monkeypatch, place, name, *, turn, before):
    """The call of that turn does its work or not, and nothing is done after it."""
    real, calls = getattr(place, name), []

    def call(*args, **kwargs):
        calls.append(name)
        if len(calls) < turn:
            return real(*args, **kwargs)
        if not before:
            real(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(place, name, call)


KILLS = [
    (withdrawn, "_put_samples", 1, True),
    (Store, "put", 2, False),
    (withdrawals, "replace_shard", 2, False),
    (Catalog, "withdraw_shard", 1, True),
    (Catalog, "withdraw_shard", 1, False),
    (Catalog, "withdraw_shard", 2, True),
    (withdrawals, "record_source", 1, True),
    (withdrawals, "record_label_set", 1, True),
]


@pytest.mark.parametrize(("place", "name", "turn", "before"), KILLS)
def test_killed_at_any_point_the_same_command_goes_on(store, place, name, turn, before):
    samples = (path(0), path(4), path(5), path(8))
    with pytest.MonkeyPatch.context() as patch:
        dies_at(patch, place, name, turn=turn, before=before)
        patch.setattr(Catalog, "finish_ingest", lambda *args, **kwargs: None)
        with pytest.raises(Killed):
            ask(store, sample=samples)
    done = ask(store, sample=samples)
    assert done["samples"] + done["already_withdrawn"] == 4
    assert done["problems"] == []
    assert paths(store) == all_but(0, 4, 5, 8)
    with open_workspace(CatalogConfig(store=store)) as workspace:
        assert sum(row.samples for row in workspace.catalog.withdrawals()) == 4
        keys = workspace.catalog.withdrawn_objects("pictures")
        assert len(withdrawn_samples(workspace.store, keys).ids["withdrawn"]) == 4
        assert workspace.catalog.source("pictures").images == 8


@pytest.mark.parametrize("before", [True, False])
def test_a_whole_source_killed_beside_its_commit_goes_on(store, before):
    with pytest.MonkeyPatch.context() as patch:
        dies_at(patch, Catalog, "withdraw_source", turn=1, before=before)
        patch.setattr(Catalog, "finish_ingest", lambda *args, **kwargs: None)
        with pytest.raises(Killed):
            ask(store)
    if before:
        assert ask(store)["samples"] == 12
    else:
        with pytest.raises(WithdrawnError):
            ask(store)
    with open_workspace(CatalogConfig(store=store)) as workspace:
        assert workspace.catalog.source("pictures").withdrawn_at is not None
        assert b'"withdrawn_at": null' not in workspace.store.get("sources/pictures/source.json")

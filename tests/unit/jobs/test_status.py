"""`factory status` against catalogs whose rows are known; time is moved by hand."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import update

from jobs import cli
from jobs.errors import ConfigError
from jobs.owner import current_owner
from jobs.status import status, watch
from jobs.status_config import StatusConfig
from jobs.status_view import KEYS, show_each, status_block
from pipeline.catalog import Catalog
from pipeline.catalog_tables import database_now, drivers, label_shards
from pipeline.errors import CatalogMissingError, CatalogVersionError
from tests.catalog_factories import (
    begin_ingest,
    fill_source,
    image_shard,
    manifest,
    open_label_set,
    register_model,
)

FAR = "far:ns:41:1:nonce"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def catalog(catalog_url):
    with Catalog.open(catalog_url) as catalog:
        yield catalog


def look(url: str, *names: str, **options) -> dict:
    return status(StatusConfig(catalog=url, names=names, **options))


def begin(catalog: Catalog, verb: str, target: str, *, owner: str = FAR, **facts) -> int:
    row = catalog.begin_driver(verb, target, owner=owner, heartbeat_s=10.0, facts=facts)
    return row.number


def move(catalog: Catalog, table, column, seconds: float, *which) -> None:
    """Date something back."""
    with catalog.write() as connection:
        connection.execute(update(table).where(*which).values({column: database_now() - seconds}))


def half_labelled(catalog: Catalog, url: str) -> list:
    """Four shards of ten images, of two sources; two are labelled, a minute ago."""
    for name in ("street", "wood"):
        fill_source(catalog, name, 2)
    open_label_set(catalog, "by-t")
    catalog.plan_work("by-t", ["street", "wood"])
    leases = catalog.lease("by-t", owner=FAR, limit=2, ttl_s=600.0)
    for lease in leases:
        catalog.commit_label_shard(lease, manifest(lease, empty=1))
    move(catalog, label_shards, "committed_at", 60)
    return leases


def test_a_label_set_under_way(catalog, catalog_url):
    half_labelled(catalog, catalog_url)
    facts = {"actors": {"ready": 2, "starting": 1, "lost": 0}, "device": "H200"}
    for owner in (FAR, "near:ns:42:1:n"):
        begin(
            catalog, "label", "by-t", owner=owner, working_s=100.0, actor_s=1800.0,
            gpus_per_actor=1.0, **facts,
        )  # fmt: skip
    found = look(catalog_url, cost_per_gpu_hour=3.0)
    (record,) = found["label_sets"]
    assert (record["images"], record["done_images"], record["left_images"]) == (40, 20, 20)
    assert record["quarantined"] == {"empty": 2}
    assert record["images_per_s"] == pytest.approx(0.2, rel=0.2)  # 20 images in 100 s
    assert record["eta_s"] == pytest.approx(100, rel=0.2)
    assert (record["gpu_hours"], record["cost"]) == (1.0, 3.0)
    assert record["actors"] == {"ready": 4, "starting": 2, "lost": 0}
    assert (record["drivers"], record["devices"]) == (2, ["H200"])
    street, wood = record["sources"]
    assert (street["done_images"], street["quarantined_images"], wood["left_images"]) == (20, 2, 20)
    assert wood["images_per_s"] is None and wood["eta_s"] is None
    assert found["waiting"] == []
    assert {each["pid"] for each in found["drivers"]} == {41, 42}


def test_what_was_committed_before_this_run_is_in_no_rate(catalog, catalog_url):
    half_labelled(catalog, catalog_url)
    begin(catalog, "label", "by-t", working_s=20.0)
    (record,) = look(catalog_url)["label_sets"]
    assert record["images_per_s"] is None and record["eta_s"] is None


def test_work_that_nobody_does_waits_with_the_command_that_goes_on(catalog, catalog_url):
    half_labelled(catalog, catalog_url)
    (waiting,) = look(catalog_url)["waiting"]
    assert waiting["command"].startswith(
        "factory label wood --teacher teacher --label-set by-t --catalog "
    )
    number = begin(catalog, "label", "by-t", command="factory label wood --teacher t --bits 12")
    catalog.end_driver(number, state="stopped", facts={"command": "factory label wood --bits 12"})
    (waiting,) = look(catalog_url)["waiting"]
    assert waiting["command"].startswith("factory label wood --bits 12 --catalog ")
    assert (waiting["why"], waiting["left_images"]) == ("it was stopped", 20)


def test_a_driver_of_older_code_is_seen_by_its_leases(catalog, catalog_url):
    half_labelled(catalog, catalog_url)
    catalog.lease("by-t", owner=FAR, limit=1, ttl_s=600.0)
    assert look(catalog_url)["waiting"] == []


def test_silent_and_gone_drivers_are_told_apart(catalog, catalog_url):
    half_labelled(catalog, catalog_url)
    number = begin(catalog, "label", "by-t", command="factory label wood", working_s=50.0)
    move(catalog, drivers, "seen_at", 45, drivers.c.number == number)
    found = look(catalog_url)
    (driver,) = found["drivers"]
    assert (driver["state"], found["label_sets"][0]["drivers"]) == ("silent", 0)
    assert 45 <= driver["seen_s_ago"] < 60
    assert found["waiting"][0]["why"] == "its driver has not been heard of"
    assert "not heard of for 4" in shown(found) and "dead, or away" in shown(found)
    host, namespace, *_ = current_owner().rsplit(":", 4)
    begin(catalog, "label", "by-t", owner=f"{host}:{namespace}:999999999:1:n")
    found = look(catalog_url)
    assert [each["state"] for each in found["drivers"]] == ["silent", "gone"]
    assert "process 999999999" in shown(found) and "is no more" in shown(found)


def test_an_ingest_under_way_counts_what_it_committed(catalog, catalog_url):
    catalog.register_source("street", role="unlabelled", uri="/data", layout="images")
    lease = begin_ingest(catalog, "street")
    for number in range(3):
        catalog.commit_image_shard(lease, image_shard("street", number), dropped={"torn": 2})
    begin(catalog, "ingest", "street", doing={"title": "ingest", "done": 36, "total": None})
    (record,) = look(catalog_url)["ingests"]
    assert (record["images"], record["dropped_images"], record["looked_images"]) == (30, 6, 36)
    assert record["state"] == "running" and record["images_per_s"] > 0
    assert look(catalog_url)["waiting"] == []


def test_an_ingest_that_failed_waits(catalog, catalog_url):
    catalog.register_source("street", role="unlabelled", uri="/data", layout="images")
    lease = begin_ingest(catalog, "street")
    number = begin(catalog, "ingest", "street", command="factory ingest /data --source street")
    facts = {"command": "factory ingest /data --source street", "error": "SourceError: torn"}
    catalog.end_driver(number, state="failed", facts=facts)
    catalog.finish_ingest(lease, {"error": "torn"}, state="failed")
    found = look(catalog_url)
    assert found["waiting"][0]["command"].startswith("factory ingest /data --source street")
    assert found["waiting"][0]["what"] == "ingest of street"
    assert [each["error"] for each in found["errors"]] == ["SourceError: torn"]


def test_a_training_run_as_its_workers_said_last(catalog, catalog_url):
    run = catalog.begin_run("student", name="small", config={}, code_version="1")
    training = {
        "step": 30, "steps": 120, "loss": 0.25, "images_per_s": 64.0, "seconds_left": 90.0,
        "data_wait_share": 0.05, "learning_rate": 1e-5, "validation": None,
    }  # fmt: skip
    begin(
        catalog, "train-student", "small", run=run, training=training, workers=4,
        gpus_per_actor=1.0, working_s=900.0, device="H200",
    )  # fmt: skip
    found = look(catalog_url, cost_per_gpu_hour=2.0)
    (record,) = found["trainings"]
    assert (record["step"], record["steps"], record["loss"]) == (30, 120, 0.25)
    assert (record["eta_s"], record["images_per_s"], record["data_wait_share"]) == (90, 64, 0.05)
    assert (record["gpu_hours"], record["cost"]) == (1.0, 2.0)
    assert "25%, step 30 of 120" in shown(found) and "4 workers, H200" in shown(found)
    catalog.finish_run(run, state="stopped", metrics={})
    (record,) = look(catalog_url)["trainings"]
    assert (record["state"], record["step"], record["eta_s"]) == ("stopped", 30, None)


def test_a_training_whose_driver_ended_without_telling_its_run_is_not_at_work(catalog, catalog_url):
    """The catalog was away for a moment when it failed, or nobody got as far as a new driver."""
    run = catalog.begin_run("student", name="small", config={}, code_version="1")
    number = begin(catalog, "train-student", "small", run=run, command="factory train-student")
    catalog.end_driver(number, state="failed", facts={"run": run, "command": "factory x"})
    found = look(catalog_url)
    assert [each["state"] for each in found["trainings"]] == ["failed"]
    assert found["waiting"][0]["command"].startswith("factory x --catalog ")


def test_an_evaluation_says_how_many_images_are_scored(catalog, catalog_url):
    begin(catalog, "evaluate", "a b", doing={"title": "evaluate a, b", "done": 5, "total": 20})
    found = look(catalog_url)
    (record,) = found["evaluations"]
    assert (record["models"], record["done_images"], record["images"]) == ("a b", 5, 20)
    assert "25%, 5 of 20 images" in shown(found)


def test_what_has_no_section_of_its_own_says_how_far_it_is_and_of_what(catalog, catalog_url):
    doing = {"title": "export", "done": 5, "total": 20, "unit": "parts"}
    begin(catalog, "export", "by-t", doing=doing)
    found = look(catalog_url)
    assert (found["drivers"][0]["done"], found["drivers"][0]["unit"]) == (5, "parts")
    assert "25%, 5 of 20 parts" in shown(found)


def test_errors_come_newest_first_and_once(catalog, catalog_url):
    half_labelled(catalog, catalog_url)
    (lease,) = catalog.lease("by-t", owner=FAR, limit=1, ttl_s=60.0)
    catalog.charge(lease, "ShardCorruptError: torn", max_attempts=3)
    shard = lease.shard.shard_id
    now = catalog.now()
    warnings = [
        {"at": now + 5, "text": f"shard {shard}: ShardCorruptError: torn (attempt 1 of 3; …)"},
        {"at": now + 6, "text": "the catalog does not answer"},
        {"at": now - 50, "text": "old"},
    ]
    begin(catalog, "label", "by-t", warnings=warnings)
    found = look(catalog_url)["errors"]
    assert [each["error"] for each in found] == [
        "warning: the catalog does not answer", "ShardCorruptError: torn", "warning: old",
    ]  # fmt: skip
    assert found[1]["what"] == f"label set by-t, shard {shard} of wood (attempt 1)"


def test_names_choose_label_sets_sources_and_runs(catalog, catalog_url):
    half_labelled(catalog, catalog_url)
    fill_source(catalog, "room", 1)
    open_label_set(catalog, "by-u")
    catalog.plan_work("by-u", ["room"])
    catalog.begin_run("student", name="small", config={}, code_version="1")
    assert [each["label_set"] for each in look(catalog_url)["label_sets"]] == ["by-t", "by-u"]
    chosen = look(catalog_url, "wood")
    assert [each["label_set"] for each in chosen["label_sets"]] == ["by-t"]
    assert [each["source"] for each in chosen["label_sets"][0]["sources"]] == ["wood"]
    assert [each["source"] for each in chosen["ingests"]] == ["wood"]
    assert chosen["trainings"] == []
    assert [each["name"] for each in look(catalog_url, "small")["trainings"]] == ["small"]
    with pytest.raises(CatalogMissingError, match="'nobody'"):
        look(catalog_url, "wood", "nobody")


def test_a_set_that_is_done_is_shown_by_name_only(catalog, catalog_url):
    half_labelled(catalog, catalog_url)
    for lease in catalog.lease("by-t", owner=FAR, limit=9, ttl_s=60.0):
        catalog.commit_label_shard(lease, manifest(lease))
    assert look(catalog_url)["label_sets"] == []
    (record,) = look(catalog_url, "by-t")["label_sets"]
    assert (record["left_images"], record["eta_s"]) == (0, 0.0)


def test_nothing_at_all(catalog, catalog_url):
    found = look(catalog_url)
    assert found.keys() >= KEYS and not any(found[key] for key in KEYS)
    assert "nothing runs, and nothing waits" in shown(found)


def test_looking_writes_nothing(catalog, catalog_url):
    half_labelled(catalog, catalog_url)
    catalog.lease("by-t", owner=FAR, limit=1, ttl_s=-1.0)  # expired: a look leaves it as it is
    begin(catalog, "label", "by-t")

    def rows() -> list:
        with catalog.read() as connection:
            tables = ("work", "drivers", "label_shards")
            return [list(connection.exec_driver_sql(f"SELECT * FROM {name}")) for name in tables]

    before = rows()
    look(catalog_url)
    assert rows() == before


def test_a_catalog_that_is_not_there_is_not_made(tmp_path, database_url):
    with pytest.raises(ConfigError, match="there is no store at"):
        status(StatusConfig(store=str(tmp_path / "store")))
    with pytest.raises(ConfigError, match="there is no catalog at"):
        look(f"sqlite:///{tmp_path / 'none.sqlite'}")
    with pytest.raises(ConfigError, match="remote store"):
        status(StatusConfig(store="s3://bucket/x"))
    with pytest.raises(ConfigError, match="must be sqlite"):
        look("mysql://x/y")
    assert [each.name for each in tmp_path.iterdir() if "none" in each.name] == []
    if "postgres" in database_url:
        with pytest.raises(ConfigError, match="has no such tables"):
            look(database_url)


def test_a_catalog_of_another_version_is_neither_read_nor_migrated(catalog, catalog_url, capfd):
    sql = "UPDATE catalog_version SET version_num = '{}'"
    for version, said in (("0002", "an older version.*factory catalog sources"), ("9", "newer")):
        with catalog.write() as connection:
            connection.exec_driver_sql(sql.format(version))
        with pytest.raises(CatalogVersionError, match=said):
            look(catalog_url)
        assert cli.run(["status", "--catalog", catalog_url]) == 2
        assert "What to do" not in capfd.readouterr().err, "the message itself says it"
    with catalog.read() as connection:
        version = connection.exec_driver_sql("SELECT version_num FROM catalog_version").scalar()
    assert version == "9"


def shown(found: dict, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(status_block(found))
    return out.getvalue()


def test_what_is_shown_fits_80_columns_and_steers_no_terminal(catalog, catalog_url):
    half_labelled(catalog, catalog_url)
    begin(catalog, "label", "by-t\x1b[2J", command="factory label wood " + "x" * 200)
    begin(catalog, "label", "by-t", warnings=[{"at": 1.0, "text": "\x1b[31mred " + "y" * 900}])
    text = shown(look(catalog_url), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text and "\\x1b[2J" in text


def test_names_of_any_kind_are_shown_on_a_line(catalog, catalog_url):
    target = f"models/a\nlabel photos  100%\r{'b' * 5000}"
    number = begin(catalog, "evaluate", target)
    move(catalog, drivers, drivers.c.started_at, -3600.0, drivers.c.number == number)
    found = look(catalog_url)
    assert [each["age_s"] for each in found["drivers"]] == [0.0]
    lines = shown(found, width=80).splitlines()
    assert not any(line.startswith("label photos") for line in lines)
    assert len(lines) < 30 and max(map(len, lines)) <= 80


def test_watching_shows_one_look_after_another_in_a_pipe(catalog, catalog_url):
    half_labelled(catalog, catalog_url)
    looks = watch(StatusConfig(catalog=catalog_url, interval_s=0.2))
    two = [next(looks), next(looks)]
    looks.close()
    out = io.StringIO()
    show_each(iter(two), out)
    assert out.getvalue().count("label by-t by teacher") == 2 and "\x1b" not in out.getvalue()
    assert two[0]["at"] <= two[1]["at"]


def test_the_command_prints_one_object_and_says_what_is_wrong_with_2(
    catalog, catalog_url, capfd, tmp_path
):
    register_model(catalog, "m")
    assert cli.run(["status", "--catalog", catalog_url, "--json"]) == 0
    assert json.loads(capfd.readouterr().out).keys() >= KEYS
    assert cli.run(["status", "--store", str(tmp_path / "no"), "--json"]) == 2
    assert json.loads(capfd.readouterr().out)["kind"] == "ConfigError"
    assert cli.run(["status", "nobody", "--catalog", catalog_url]) == 2


def test_watched_by_a_program_there_is_a_line_each_time_and_ctrl_c_is_no_failure(tmp_path):
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    Catalog.open(url).close()
    command = [sys.executable, "-m", "jobs.cli", "status", "--catalog", url, "--watch"]
    command += ["--interval", "0.2", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        os.kill(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert all(json.loads(line).keys() >= KEYS for line in [*lines, *rest.splitlines()])


def test_a_reader_that_leaves_ends_the_watch_quietly(tmp_path):
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    Catalog.open(url).close()
    command = f"{sys.executable} -m jobs.cli status --catalog {url} --watch --interval 0.2"
    line = ["bash", "-c", f"{command} --json | head -n 1"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout).keys() >= KEYS and done.stderr == ""


def test_a_look_is_quick_beside_a_writer_that_holds_the_lock(tmp_path):
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    with Catalog.open(url) as catalog, catalog.write():
        began_s = time.monotonic()
        assert look(url)["drivers"] == []
        assert time.monotonic() - began_s < 3

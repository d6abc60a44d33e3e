"""The store and ingest on S3, over HTTP to a server of their own."""

import io
import subprocess
import sys
from pathlib import Path

import boto3
import fsspec
import numpy as np
import pytest
from PIL import Image

from jobs.config import IngestConfig
from jobs.ingest import ingest
from pipeline import filesystems, remote_files
from pipeline.errors import StorageError, StoreFullError
from pipeline.raw_files import read_range
from pipeline.shards import load_bytes, read_image_rows, row_group_rows, shard_footer
from pipeline.storage import Store
from pipeline.store_layout import describe
from tests.faulty_s3 import FaultyS3, s3_server

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
SECRET = "never-to-be-shown"


@pytest.fixture(scope="module")
def server():
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(server, monkeypatch, request) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.filesystem("s3").clear_instance_cache()  # it does not notice another endpoint
    name = f"b-{abs(hash(request.node.nodeid)):x}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def store(bucket) -> Store:
    return Store(f"s3://{bucket}/factory")


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(value).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def image_shards(store: Store, source: str) -> list[str]:
    return [key for key in store.list(f"sources/{source}") if describe(key).kind == "image_shards"]


def test_objects(store):
    store.put("a/b.bin", b"0123456789")
    assert store.get("a/b.bin") == b"0123456789" and store.size("a/b.bin") == 10
    assert store.exists("a/b.bin") and store.is_file("a/b.bin") and not store.is_file("a")
    with store.open("a/b.bin") as file:
        file.seek(-3, 2)
        assert file.read() == b"789"
    store.delete("a/b.bin")
    store.delete("a/b.bin")
    assert not store.exists("a/b.bin")
    with pytest.raises(FileNotFoundError, match=r"a/b\.bin in s3://"):
        store.get("a/b.bin")


def test_exclusive_creation_has_one_winner(store, tmp_path):
    store.put("claim", b"first", exclusive=True)
    with pytest.raises(FileExistsError, match="claim in s3://"):
        store.put("claim", b"second", exclusive=True)
    (tmp_path / "file").write_bytes(b"third")
    with pytest.raises(FileExistsError, match="claim in s3://"):
        store.put_file(tmp_path / "file", "claim", exclusive=True)
    assert store.get("claim") == b"first"
    store.put_file(tmp_path / "file", "claim")
    assert store.get("claim") == b"third"


def test_large_objects_go_up_in_parts(store, tmp_path):
    data = np.random.default_rng(0).bytes(120 << 20)
    (tmp_path / "large").write_bytes(data)
    store.put_file(tmp_path / "large", "large", exclusive=True)
    assert store.size("large") == len(data)
    with store.open("large") as file:
        file.seek(100 << 20)
        assert file.read(1000) == data[100 << 20 : (100 << 20) + 1000]
    (tmp_path / "large").write_bytes(data[:-1] + b"~")
    with pytest.raises(FileExistsError):
        store.put_file(tmp_path / "large", "large", exclusive=True)


def test_listing_sees_what_others_wrote(store, bucket):
    store.put("labels/b", b"")
    assert list(store.list("labels")) == ["labels/b"]
    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="factory/labels/a/1", Body=b"x")
    client.put_object(Bucket=bucket, Key="factory/labels-not/a", Body=b"x")
    assert list(store.list("labels")) == ["labels/a/1", "labels/b"]
    assert store.size("labels/a/1") == 1
    client.put_object(Bucket=bucket, Key="factory/labels/a/1", Body=b"xyz")
    assert store.size("labels/a/1") == 3
    assert list(store.list("nothing")) == []


def test_folders(store, tmp_path):
    (tmp_path / "m" / "sub").mkdir(parents=True)
    (tmp_path / "m" / "config.json").write_text("{}")
    (tmp_path / "m" / "sub" / "weights").write_bytes(b"w" * 10_000)
    store.put_folder(tmp_path / "m", "models/m")
    store.get_folder("models/m", tmp_path / "back")
    assert (tmp_path / "back" / "sub" / "weights").read_bytes() == b"w" * 10_000


def test_a_bucket_is_never_made_by_mistake(bucket):
    store = Store("s3://misspelt-bucket/factory")
    with pytest.raises((FileNotFoundError, StorageError), match="misspelt-bucket"):
        store.put("k", b"v")
    names = [each["Name"] for each in boto3.client("s3").list_buckets()["Buckets"]]
    assert "misspelt-bucket" not in names


def test_a_server_that_does_not_answer_is_a_storage_error(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(StorageError, match=f"k in s3://{bucket}") as caught:
        Store(f"s3://{bucket}").get("k")
    assert SECRET not in str(caught.value)
    fsspec.filesystem("s3").clear_instance_cache()


def test_a_store_works_in_another_process(store):
    store.put("k", b"from the parent")
    code = (
        "import sys; from pipeline.storage import Store; s = Store(sys.argv[1]); "
        "s.put('back', s.get('k') + b' and the child')"
    )
    subprocess.run([sys.executable, "-c", code, store.uri], cwd=ROOT, check=True)
    assert store.get("back") == b"from the parent and the child"


def test_ingest_from_s3_to_s3(bucket, store, tmp_path):
    client = boto3.client("s3")
    for number in range(20):
        key = f"raw/{number % 3}/{number:02d}.png"
        client.put_object(Bucket=bucket, Key=key, Body=png(number))
    client.put_object(Bucket=bucket, Key="raw/", Body=b"")  # what consoles make of a folder
    client.put_object(Bucket=bucket, Key="raw/readme.txt", Body=b"text")
    config = IngestConfig(
        uri=f"s3://{bucket}/raw",
        source="photos",
        store=store.uri,
        catalog=f"sqlite:///{tmp_path}/catalog.sqlite",
        shard_images=8,
    )
    summary = ingest(config)
    assert (summary["samples_in"], summary["kept"], summary["shards"]) == (21, 20, 3)
    assert summary["dropped"] == {"not_an_image": 1}
    keys = image_shards(store, "photos")
    assert [sum(row_group_rows(store, key)) for key in keys] in ([8, 8, 4], [8, 4, 8], [4, 8, 8])
    assert {shard_footer(store, key)["source"] for key in keys} == {"photos"}
    rows = [row for key in keys for row in read_image_rows(store, key)]
    assert sorted(row.data for row in rows) == sorted(png(number) for number in range(20))
    assert all(read_range(row.uri, row.offset, row.length) == row.data for row in rows)
    again = ingest(config)
    assert (again["already_present"], again["shards_written"]) == (20, 0)


def test_references_into_s3(bucket, store, tmp_path):
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(5):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(png(number))
            archive.addfile(info, io.BytesIO(png(number)))
    boto3.client("s3").put_object(Bucket=bucket, Key="sa.tar", Body=buffer.getvalue())
    config = IngestConfig(
        uri=f"s3://{bucket}/sa.tar",
        source="sa",
        store=str(tmp_path / "store"),
        by_reference=True,
    )
    assert ingest(config)["by_reference"] == 5
    local = Store(config.store)
    rows = [row for key in image_shards(local, "sa") for row in read_image_rows(local, key)]
    assert [load_bytes(row) for row in rows] == [png(number) for number in range(5)]


@pytest.fixture(scope="module")
def faulty(server):
    with FaultyS3(server) as proxy:
        yield proxy


@pytest.fixture
def bad(bucket, faulty, monkeypatch) -> Store:
    """The store behind a network that can go bad, and short pauses."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", faulty.url)
    monkeypatch.setattr(remote_files, "FIRST_PAUSE_S", 0.01)
    faulty.heal()
    yield Store(f"s3://{bucket}/factory")
    faulty.heal()


CURABLE = ("slow_down", "internal", "unavailable", "dropped", "lost", "truncated", "slow")


@pytest.mark.parametrize("fault", CURABLE)
def test_operations_get_through_faults_that_pass(bad, faulty, tmp_path, fault):
    data = np.random.default_rng(1).bytes(200_000)
    (tmp_path / "file").write_bytes(data)
    for act in (
        lambda: bad.put("k", data),
        lambda: bad.put_file(tmp_path / "file", "file"),
        lambda: bad.get("k") == data or pytest.fail("other bytes"),
        lambda: bad.size("k") == len(data) or pytest.fail("another size"),
        lambda: bad.is_file("k") or pytest.fail("not there"),
        lambda: list(bad.list()) == ["file", "k"] or pytest.fail("another list"),
        lambda: bad.delete("file"),
    ):
        faulty.fail(fault)
        act()
    assert faulty.done[fault] == 7
    assert not bad.exists("file")


@pytest.mark.parametrize("fault", ["lost", "dropped", "internal", "truncated"])
def test_an_exclusive_put_whose_answer_was_lost_is_ours(bad, faulty, tmp_path, fault):
    faulty.fail(fault, method="PUT", times=2)
    bad.put("claim", b"mine", exclusive=True)
    assert bad.get("claim") == b"mine"
    (tmp_path / "file").write_bytes(b"mine too")
    faulty.fail(fault, method="PUT", times=2)
    bad.put_file(tmp_path / "file", "claim too", exclusive=True)
    assert bad.get("claim too") == b"mine too"


def test_an_exclusive_put_that_meets_another_object_is_refused_also_when_repeated(bad, faulty):
    bad.put("claim", b"theirs", exclusive=True)
    for fault in ("dropped", "lost"):
        faulty.fail(fault, method="PUT")
        with pytest.raises(FileExistsError, match="claim in s3://"):
            bad.put("claim", b"mine!!", exclusive=True)
    assert bad.get("claim") == b"theirs"


def test_reading_through_a_file_gets_through_and_is_never_short(bad, faulty):
    data = np.random.default_rng(2).bytes(5 << 20)
    bad.put("k", data)
    for fault in (*CURABLE, "short"):
        with bad.open("k") as file:
            file.seek(1000)
            faulty.fail(fault, method="GET")
            assert file.read(3 << 20) == data[1000 : 1000 + (3 << 20)], fault
            faulty.fail(fault, method="GET")
            assert file.read() == data[1000 + (3 << 20) :], fault
        assert faulty.done[fault], fault


def test_ranges_end_where_their_object_does(bad, faulty, monkeypatch):
    bad.put("k", b"0123456789")
    uri = f"{bad.uri}/k"
    monkeypatch.setattr(remote_files, "FIRST_PAUSE_S", 100.0)  # where anything waits, it is seen
    assert [read_range(uri, *place) for place in ((3, 4), (8, 4), (10, 4), (99, 4))] == [
        b"3456", b"89", b"", b""
    ]  # fmt: skip
    monkeypatch.setattr(remote_files, "FIRST_PAUSE_S", 0.01)
    faulty.fail("truncated", method="GET")
    assert read_range(uri, 2, 20) == b"23456789"
    assert faulty.done["truncated"] == 1


def test_short_data_that_says_it_is_whole_is_noticed(bad, faulty):
    bad.put("k", b"0123456789")
    faulty.fail("short", method="GET", times=2)
    assert bad.get("k") == b"0123456789"
    faulty.fail("short", method="GET", times=100)
    with pytest.raises(StorageError, match=r"k in s3://.*checksum"):
        bad.get("k")
    with bad.open("k") as file, pytest.raises(StorageError, match=r"checksum|5 bytes came"):
        file.read()


def test_stalled_and_dripping_bodies_are_given_up(bad, faulty, monkeypatch):
    monkeypatch.setattr(filesystems, "READ_TIMEOUT_S", 0.5)
    monkeypatch.setattr(remote_files, "SILENT_S", 2.0)
    impatient = Store(bad.uri)
    impatient.put("k", b"x" * 1000)
    for fault in ("stalled", "dripping"):
        faulty.fail(fault, method="GET")
        assert impatient.get("k") == b"x" * 1000
        assert faulty.done[fault] == 1


@pytest.mark.parametrize("fault", ["internal", "dropped", "truncated"])
def test_giving_up_is_bounded_and_names_key_store_and_cause(bad, faulty, monkeypatch, fault):
    bad.put("k", b"x" * 1000)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    impatient = Store(bad.uri)
    faulty.heal()
    faulty.fail(fault, method="GET", times=1000)
    with pytest.raises(StorageError, match=r"k in s3://") as caught:
        impatient.get("k")
    assert caught.value.__cause__ is not None
    assert SECRET not in str(caught.value)
    # One loop or the other, never one inside the other. (aiohttp repeats once what it sent on a
    # connection that had been used before, and tells nobody.)
    tries = remote_files.TRIES if fault == "truncated" else 2
    assert tries <= faulty.asked("GET") <= 2 * tries


@pytest.mark.parametrize("fault", ["full", "quota"])
def test_a_full_store_has_a_name_of_its_own(bad, faulty, fault):
    faulty.fail(fault, method="PUT", times=1000)
    with pytest.raises(StoreFullError, match=r"k in s3://"):
        bad.put("k", b"x")
    assert faulty.asked("PUT") == 1


def test_a_network_that_is_gone_is_not_an_object_that_is_gone(bad, faulty, monkeypatch):
    bad.put("k", b"x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    impatient = Store(bad.uri)
    faulty.fail("internal", method="HEAD", times=1000)
    faulty.fail("internal", method="GET", times=1000)
    for ask in (impatient.exists, impatient.is_file, impatient.fingerprint):
        with pytest.raises(StorageError):
            ask("k")


def test_uploads_in_parts_get_through(bad, faulty, tmp_path):
    data = np.random.default_rng(3).bytes(105 << 20)
    (tmp_path / "large").write_bytes(data)
    faulty.fail("slow_down", method="PUT", key="partNumber=2")
    faulty.fail("lost", method="POST", key="uploadId=")  # completed, and nobody heard it
    bad.put_file(tmp_path / "large", "large", exclusive=True)
    assert bad.size("large") == len(data)
    assert faulty.done == {"slow_down": 1, "lost": 1}


def test_everything_gets_through_a_bad_day(bad, faulty):
    faulty.at_random(slow_down=0.04, internal=0.03, dropped=0.04, lost=0.04, truncated=0.05)
    objects = {f"k{n}": np.random.default_rng(n).bytes(1000 * n) for n in range(40)}
    for key, data in objects.items():
        bad.put(key, data, exclusive=True)
    assert {key: bad.get(key) for key in bad.list()} == objects
    assert sum(faulty.done.values()) > 20

"""The store and ingest on S3, over HTTP to a server of their own."""

import io
import subprocess
import sys
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from jobs.config import IngestConfig
from jobs.ingest import ingest
from pipeline.errors import StorageError
from pipeline.raw_files import read_range
from pipeline.shards import load_bytes, read_image_rows, row_group_rows, shard_footer
from pipeline.storage import Store

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
SECRET = "never-to-be-shown"


@pytest.fixture(scope="module")
def server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server, monkeypatch, request) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
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
    import fsspec

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
    keys = [key for key in store.list("sources/photos") if "/dropped/" not in key]
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
    rows = [row for key in local.list("sources/sa") for row in read_image_rows(local, key)]
    assert [load_bytes(row) for row in rows] == [png(number) for number in range(5)]

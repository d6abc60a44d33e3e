"""Label sets handed on to S3, over HTTP to a server of their own."""

import boto3
import duckdb
import fsspec
import pytest

from jobs.evaluate_config import ExportConfig
from jobs.export import export
from pipeline.storage import Store
from tests.faulty_s3 import s3_server
from tests.report_stores import fill_store

pytestmark = pytest.mark.integration


@pytest.fixture
def bucket(monkeypatch):
    with s3_server() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never-to-be-shown")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").clear_instance_cache()  # it does not notice another endpoint
        boto3.client("s3").create_bucket(Bucket="exports")
        yield "s3://exports"


def objects(uri):
    store = Store(uri)
    return {key: store.get(key) for key in store.list()}


@pytest.mark.parametrize("format", ["hf", "png16"])
def test_a_bucket_gets_what_a_folder_gets(bucket, tmp_path, format):
    fill_store(tmp_path / "store")
    where = {"target": "labels", "format": format, "store": str(tmp_path / "store")}
    here = export(ExportConfig(out=str(tmp_path / "out"), labels_only=True, **where))
    there = export(ExportConfig(out=f"{bucket}/{format}", labels_only=True, **where))
    assert {**there, "out": here["out"]} == here
    assert objects(f"{bucket}/{format}") == objects(str(tmp_path / "out"))
    again = export(ExportConfig(out=f"{bucket}/{format}", labels_only=True, **where))
    assert again["shards_reused"] == again["shards"] == 2
    assert objects(f"{bucket}/{format}") == objects(str(tmp_path / "out"))
    rows = duckdb.sql(f"from read_parquet('{tmp_path}/out/*/*.parquet') select sample_id")
    assert len(rows.fetchall()) == here["kept"] == 10

"""`factory doctor` against a real S3 server, a real PostgreSQL and a real Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from jobs.doctor_checks import OK
from jobs.doctor_config import DoctorConfig
from jobs.doctor_ray import ray_checks
from tests.faulty_s3 import FaultyS3, s3_server

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
SECRET = "never-to-be-shown"
BUCKET = "doctored"


@pytest.fixture(scope="module")
def server():
    with s3_server() as url:
        keys = {"aws_access_key_id": "somebody", "aws_secret_access_key": SECRET}
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
        client.create_bucket(Bucket=BUCKET)
        yield url, client


def examined(endpoint: str, *flags: str, folder: Path) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status and checks by name; stdout is one object, and no secret is anywhere."""
    environment = os.environ | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "doctor", "--json", *flags],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert SECRET not in done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["problems"] == sum(e["verdict"] == "problem" for e in answer["checks"])
    return done.returncode, {each["name"]: each for each in answer["checks"]}


def objects(client) -> int:
    return int(client.list_objects_v2(Bucket=BUCKET)["KeyCount"])


def test_a_store_on_s3_and_a_catalog_in_postgresql(server, postgres_catalog_url, tmp_path):
    url, client = server
    flags = ("--store", f"s3://{BUCKET}/factory", "--catalog", postgres_catalog_url)
    status, checks = examined(url, *flags, "--deadline-s", "90", folder=tmp_path)
    wrong = {name: each for name, each in checks.items() if each["verdict"] == "problem"}
    # Extras are read from what was installed, which may be older than this code.
    assert set(wrong) <= {"extras"}, wrong
    assert status == (1 if wrong else 0)
    assert "credentials by env" in checks["store"]["found"]
    assert checks["store objects"]["found"].startswith("written, listed, read, not overwritten")
    assert checks["catalog"]["found"].partition(", ")[2].startswith("PostgreSQL")
    assert checks["catalog clock"]["verdict"] == "ok"
    assert objects(client) == 0 and list(tmp_path.iterdir()) == []


def test_a_bucket_that_is_not_there_and_a_server_that_never_answers(server, tmp_path):
    url, client = server
    status, checks = examined(url, "--store", "s3://no-such-bucket/x", folder=tmp_path)
    assert status == 1 and "make the bucket" in checks["store objects"]["advice"]
    assert "needs one that is named" in checks["catalog"]["found"]
    with FaultyS3(url) as proxy:
        proxy.fail("stalled", method="GET", times=100)
        flags = ("--store", f"s3://{BUCKET}/x", "--deadline-s", "8")
        status, checks = examined(proxy.url, *flags, folder=tmp_path)
    assert status == 1 and checks["store"]["found"] == "no answer within 8 s"
    assert objects(client) == 0


def test_ray_starts(ray_session):
    checks = ray_checks(DoctorConfig(start_ray=True))
    assert [check.verdict for check in checks] == [OK, OK]
    assert checks[-1].found == "1 x (2 CPUs, 0 GPUs)"

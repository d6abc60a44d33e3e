"""Nothing that is stored holds a credential, or text that a database refuses."""

import json
import math

import numpy as np
import pytest

from pipeline.catalog_values import (
    counts,
    differences,
    storable,
    storable_text,
    without_credentials,
)
from pipeline.records import Role


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://me:hunter2@db:5432/x", "postgresql+psycopg://me:***@db:5432/x"),
        ("postgresql://me:hun/ter2?#@db/x", "postgresql://me:***@db/x"),
        ("postgresql://db/x?user=me&password=hunter2", "postgresql://db/x?user=me&password=***"),
        ("s3://AKIA:hunter2@bucket/a", "s3://AKIA:***@bucket/a"),
        ("s3://AKIA:hun@ter2@bucket/a", "s3://AKIA:***@bucket/a"),
        ("https://hunter2@host/a", "https://***@host/a"),
        ("https://h/a?X-Amz-Signature=hunter2&x=1", "https://h/a?X-Amz-Signature=***&x=1"),
        ("az://c/a?sv=1&sig=hunter2#f", "az://c/a?sv=1&sig=***#f"),
        ("cannot open ftp://me:hunter2@h/a: refused", "cannot open ftp://me:***@h/a: refused"),
    ],
)
def test_credentials_are_masked(text, shown):
    assert without_credentials(text) == shown
    assert without_credentials(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "/data/a:b@c.jpg",
        "s3://bucket/a:b/c@2x.jpg",
        "http://host:8080/img@2x.png",
        "https://host/a?x=1&keyboard=3",
        "sqlite:////tmp/catalog.sqlite",
        "postgresql+psycopg://me@db/x",
    ],
)
def test_what_is_no_credential_stays(text):
    assert without_credentials(text) == text


def test_configurations_are_masked_at_any_depth():
    config = {"catalog": "postgresql://a:b@c/d", "s3": [{"secret_access_key": "x", "token": "y"}]}
    expected = {
        "catalog": "postgresql://a:***@c/d",
        "s3": [{"secret_access_key": "***", "token": "***"}],
    }
    assert storable(config) == expected
    assert storable({"num_tokens": 5, "tokenizer": "bert"}) == {
        "num_tokens": 5,
        "tokenizer": "bert",
    }


def test_stored_json_is_strict_json():
    value = {
        "nan": math.nan,
        "inf": np.float32(np.inf),
        "number": np.int64(3),
        "flag": np.bool_(True),
        "role": Role.LABELLED,
        "list": (1, 2.5, None),
    }
    expected = {
        "nan": None,
        "inf": None,
        "number": 3,
        "flag": True,
        "role": "labelled",
        "list": [1, 2.5, None],
    }
    assert storable(value) == expected
    assert json.loads(json.dumps(storable(value), allow_nan=False)) == expected


def test_text_that_no_database_takes_is_spelled_out():
    assert storable_text("a\0b") == "a\\x00b"
    assert storable_text("bad\udcff.jpg") == "bad\\udcff.jpg"
    assert storable_text("x" * 10, limit=4) == "xxxx"


def test_counts_hold_only_what_was_counted():
    assert counts({"truncated": 2, "tiny": 0}) == {"truncated": 2}


def test_differences_name_the_nested_key_and_both_values():
    old = {"side": 518, "codec": {"bits": 16, "name": "jxl"}, "gone": 1}
    new = {"side": 518, "codec": {"bits": 12, "name": "jxl"}}
    assert differences(old, new) == ["codec.bits: 16 → 12", "gone: 1 → None"]

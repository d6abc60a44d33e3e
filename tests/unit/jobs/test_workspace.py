"""Opening a store and a catalog: what cannot be one is wrong usage, said with its flag."""

from pathlib import Path

import pytest

from jobs.catalog_queries import query_catalog
from jobs.config import CatalogConfig, Common
from jobs.errors import ConfigError
from jobs.workspace import check_store_exists, open_workspace


@pytest.mark.parametrize(
    "catalog", ["nonsense", "mysql://host/x", "sqlite:////dev/null/x/y.sqlite"]
)
def test_a_catalog_that_can_be_none_is_wrong_usage(tmp_path: Path, catalog: str) -> None:
    config = Common(store=str(tmp_path), catalog=catalog)
    with pytest.raises(ConfigError, match="--catalog"), open_workspace(config):
        pass


def test_a_store_that_cannot_be_made_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in ("file", "file/below"):
        config = Common(store=str(tmp_path / place))
        with pytest.raises(ConfigError, match="--store"), open_workspace(config):
            pass


def test_asking_a_store_that_is_not_there_does_not_make_it(tmp_path: Path) -> None:
    where = tmp_path / "typo"
    with pytest.raises(ConfigError, match="no store at"):
        query_catalog(CatalogConfig(store=str(where)))
    assert not where.exists()
    check_store_exists(Common(store="s3://bucket/store", catalog="postgresql+psycopg://db/x"))
    with open_workspace(Common(store=str(where))):
        check_store_exists(Common(store=str(where)))


def test_a_catalog_on_a_disk_that_takes_no_writing_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_workspace(Common(store=str(tmp_path))):
        pass
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    message = f"--catalog: {tmp_path} cannot be written, and SQLite needs that"
    with pytest.raises(ConfigError, match=message), open_workspace(Common(store=str(tmp_path))):
        pass

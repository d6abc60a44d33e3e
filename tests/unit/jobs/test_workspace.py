"""Opening a store and a catalog: what cannot be one is wrong usage, said with its flag."""

from pathlib import Path

import pytest

from jobs.config import Common
from jobs.errors import ConfigError
from jobs.workspace import open_workspace


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

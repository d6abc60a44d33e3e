"""The demo's steps where an earlier run of it has been."""

import io
from pathlib import Path
from typing import Any

import pytest

from jobs import demo
from jobs.config import Common, DemoConfig
from jobs.console import LineReporter
from jobs.workspace import open_workspace


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_what_is_trained_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    trained: list[Any] = []
    monkeypatch.setattr(demo, f"train_{kind}", lambda config, reporter: trained.append(config.name))
    heard = io.StringIO()
    line = demo._Line(DemoConfig(out=str(tmp_path)), LineReporter(heard))
    getattr(line, f"train_{kind}")()
    assert trained == [f"demo-{kind}"]
    with open_workspace(Common(store=line.store)) as workspace:
        workspace.catalog.register_model(
            f"demo-{kind}",
            key=f"models/demo-{kind}",
            sha256="0" * 64,
            family="depth_anything",
            geometry="disparity_affine_invariant",
            kind=kind,
        )
    getattr(line, f"train_{kind}")()
    assert trained == [f"demo-{kind}"]
    assert "already" in heard.getvalue()

"""The built wheel, installed by itself, gives a working `factory`."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def test_the_wheel_carries_all_that_the_command_needs(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    # A copy: building in the tree would leave folders there.
    tree = tmp_path / "tree"
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True
    )
    for name in listed.stdout.decode().strip("\0").split("\0"):
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    built = subprocess.run([*build, str(tree)], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        names = archive.namelist()
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]

    script = "import sys; from jobs.cli import main; sys.argv[0] = 'factory'; main()"
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def factory(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", script, *words],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "ingest" in factory("--help")
    uri = "synthetic://clutter?n=2&seed=0&width=64&height=48"
    store = ["--store", str(tmp_path / "store")]
    factory("ingest", uri, "--source", "rendered", "--role", "labelled", *store)
    factory("report", "rendered", "--out", str(tmp_path / "page.html"), *store)
    assert "rendered" in factory("catalog", "sources", *store)
    where = subprocess.run(
        [sys.executable, "-c", "import pipeline; print(pipeline.__file__)"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=True,
    )
    assert where.stdout.startswith(str(site)), "the wheel's packages must be the ones that ran"

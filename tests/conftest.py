"""Fixtures shared by all tests: sample data, one Ray for the session, quiet libraries."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["tests.postgres_fixtures", "tests.ray_fixtures"]

ROOT = Path(__file__).resolve().parent.parent

# Set before any test imports the libraries that read them; workers and subprocesses inherit them.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tiny networks are faster in one thread; several wait for each other in a loop that takes the core
# from whoever else tests at the time: six times the work of a training of a dozen steps.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Ray's workers stand back for whatever else runs (nice 15): beside a busy test of the other worker
# of pytest they got a thirtieth of a core, and tests of kills ran into their deadlines.
os.environ.setdefault("RAY_worker_niceness", "0")
for name in ("FACTORY_STORE", "FACTORY_CATALOG", "RAY_ADDRESS"):
    os.environ.pop(name, None)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes in one thread: small tensors are faster so, beside other tests above all."""
    import torch  # heavy, and not for those who test none of it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of sample data beside the repository; tests that need it skip without it."""
    folder = Path(os.environ.get("FACTORY_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no sample data at {folder} (set FACTORY_SAMPLE_DATA to its folder)")
    return folder

"""One private local Ray for the whole test session: starting one costs seconds."""

from collections.abc import Iterator

import pytest

from tests.warm_workers import warm_process, warm_workers


@pytest.fixture(scope="session")
def warm() -> Iterator[None]:
    """Workers of every Ray that is started `warm_workers` have the heavy imports behind them."""
    with warm_process():
        yield


@pytest.fixture(scope="session")
def ray_session(warm: None) -> Iterator[None]:
    """A two-CPU Ray that verbs called in this process find already running and use."""
    from jobs.ray_runtime import ray_cluster

    with warm_workers(), ray_cluster(None, num_cpus=2):
        yield

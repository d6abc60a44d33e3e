"""One private local Ray for the whole test session: starting one costs seconds."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A two-CPU Ray that verbs called in this process find already running and use."""
    from jobs.ray_runtime import ray_cluster

    with ray_cluster(None, num_cpus=2):
        yield

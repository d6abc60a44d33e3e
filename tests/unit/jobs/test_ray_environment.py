"""What goes to workers on other machines, and that it is not shown on its way."""

import os
from unittest import mock

import pytest
from ray import cloudpickle

from jobs.ray_environment import worker_environment

SECRET = "never-to-be-shown"


@pytest.fixture
def variables() -> dict[str, str]:
    return {"AWS_SECRET_ACCESS_KEY": SECRET, "FACTORY_CATALOG": "postgresql://x", "HOME": "/root"}


def test_a_worker_has_the_credentials_and_not_the_catalogs_password(
    variables: dict[str, str],
) -> None:
    with mock.patch.dict(os.environ, variables, clear=True):
        environment = worker_environment()
    assert SECRET not in repr(environment)
    hook = cloudpickle.loads(cloudpickle.dumps(environment.pop("worker_process_setup_hook")))
    assert environment == {}, "all that Ray shows"
    with mock.patch.dict(os.environ, {"PATH": "/bin"}, clear=True):
        hook()
        assert dict(os.environ) == {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": SECRET}


def test_a_process_without_credentials_hands_on_nothing(variables: dict[str, str]) -> None:
    with mock.patch.dict(os.environ, {"HOME": variables["HOME"]}, clear=True):
        assert worker_environment() == {}

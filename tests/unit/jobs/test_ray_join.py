"""What a cluster that does not let somebody in comes to be, for a person."""

import pytest
from ray.exceptions import AuthenticationError

from jobs.errors import ConfigError
from jobs.ray_join import explained


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AuthenticationError("no token was found"), "asks for a token: set RAY_AUTH_MODE=token"),
        (ConnectionError("Failed to connect\nto it"), r"connect to it; if .* RAY_AUTH_TOKEN"),
        (RuntimeError("Version mismatch"), "cannot join 10.0.0.1:6379: Version mismatch"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(error: Exception, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught, explained("10.0.0.1:6379"):
        raise error
    assert caught.value.__cause__ is error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(KeyError), explained("10.0.0.1:6379"):
        raise KeyError("a")

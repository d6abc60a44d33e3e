"""What is wrong when a cluster does not let this process in, said so that one can do something.

Ray says of a wrong token only that it could not connect, after twenty seconds of warnings.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from jobs.errors import ConfigError

TOKEN = (
    "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's token or RAY_AUTH_TOKEN_PATH to "
    "a file with it"
)


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Joining the cluster at ``address`` in here fails with a sentence that says what to do.

    Raises:
        ConfigError: No token, another's token, another version of Ray or Python, or nobody there.
    """
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ConfigError([f"--ray: the cluster at {address} asks for a token: {TOKEN}"]) from error
    except ConnectionError as error:
        problem = f"--ray: {' '.join(str(error).split())}"
        advice = f"if it asks for a token (InvalidAuthToken above), {TOKEN}"
        raise ConfigError([f"{problem}; {advice}"]) from error
    except RuntimeError as error:
        raise ConfigError([f"--ray: cannot join {address}: {error}"]) from error

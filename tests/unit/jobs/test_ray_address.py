"""A Ray that is not there is said at once."""

import socket

import pytest

from jobs.errors import ConfigError
from jobs.ray_runtime import check_answers


def test_an_address_where_nobody_listens_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "auto"):
            check_answers(address)
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "ray://127.0.0.1:99999"):
        with pytest.raises(ConfigError, match="--ray: nothing answers"):
            check_answers(address)
